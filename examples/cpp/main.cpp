// A policy of prunekit in a program of C++11.
//
//     prunekit export models/CartPole-v1-ppo/compact.onnx --format c --name cartpole --out build
//     gcc -O2 -c build/cartpole.c -o build/cartpole.o
//     g++ -std=c++11 -O2 -Ibuild examples/cpp/main.cpp build/cartpole.o -o build/cartpole && build/cartpole

#include <cartpole.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>

namespace {

using Observation = std::array<float, CARTPOLE_INPUTS>;

// One step of the dynamics of Gymnasium's CartPole-v1.
Observation step(const Observation &now, std::int32_t action)
{
    const float force = action == 1 ? 10.0f : -10.0f;
    const float sine = std::sin(now[2]), cosine = std::cos(now[2]);
    const float pushed = (force + 0.05f * now[3] * now[3] * sine) / 1.1f;
    const float turned = (9.8f * sine - cosine * pushed) / (0.5f * (4.0f / 3.0f - 0.1f * cosine * cosine / 1.1f));
    const float moved = pushed - 0.05f * turned * cosine / 1.1f;
    return {{now[0] + 0.02f * now[1], now[1] + 0.02f * moved, now[2] + 0.02f * now[3], now[3] + 0.02f * turned}};
}

}  // namespace

int main()
{
    Observation observation = {{0.01f, 0.0f, 0.02f, 0.0f}};
    int steps = 0;
    while (steps < 500 && std::fabs(observation[2]) < 0.2095f && std::fabs(observation[0]) < 2.4f) {
        observation = step(observation, cartpole_action(observation.data()));
        ++steps;
    }
    std::printf("the pole stood for %d of 500 steps\n", steps);
    return steps == 500 ? 0 : 1;
}
