// Balances a pole on a cart: four sensors, a motor, and a policy that prunekit wrote as the library Cartpole.

#include <cartpole.h>

const uint8_t MOTOR_LEFT = 5, MOTOR_RIGHT = 6;
const unsigned long PERIOD_US = 20000;  // the policy was trained at 50 Hz

float last_position = 0.0f, last_angle = 0.0f;
unsigned long next_us = 0;

float position_m() { return (analogRead(A0) - 512) * (4.8f / 1024.0f); }
float angle_rad() { return (analogRead(A1) - 512) * (0.84f / 1024.0f); }

void setup() {
  pinMode(MOTOR_LEFT, OUTPUT);
  pinMode(MOTOR_RIGHT, OUTPUT);
  last_position = position_m();
  last_angle = angle_rad();
  next_us = micros();
}

void loop() {
  const float position = position_m(), angle = angle_rad();
  const float observation[CARTPOLE_INPUTS] = {
    position, (position - last_position) / 0.02f, angle, (angle - last_angle) / 0.02f
  };
  last_position = position;
  last_angle = angle;

  const int32_t action = cartpole_action(observation);
  digitalWrite(MOTOR_LEFT, action == 0 ? HIGH : LOW);
  digitalWrite(MOTOR_RIGHT, action == 1 ? HIGH : LOW);

  next_us += PERIOD_US;
  while ((long)(micros() - next_us) < 0) {
  }
}
