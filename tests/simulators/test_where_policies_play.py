"""Where policies play: ids, functions, vector environments and simulators of tensors, and their episodes."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from torch import Tensor

from prunekit import EnvironmentSpec, FailedEpisodeError, InputError, UnusableEnvironmentError
from prunekit.environments import make_environment
from prunekit.errors import CheckError
from prunekit.rollouts import MAX_STEPS, Act, episode_return, random_returns
from prunekit.simulators import spec as spec_module
from prunekit.simulators.batch import Seeding
from prunekit.simulators.spec import environment_spec

CARTPOLE = "CartPole-v1"
SEEDS = range(100, 107)


def leaning(observation: NDArray[Any]) -> int:
    return int(observation[2] > 0.0)


def act_of(_: int) -> Act:
    return leaning


def many(count: int = 3, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: gym.make(CARTPOLE)] * count, autoreset_mode=mode)


@pytest.fixture(scope="module")
def alone() -> list[float]:
    """What the policy earns in one environment after another."""
    with make_environment(CARTPOLE) as environment:
        return [episode_return(environment, leaning, seed) for seed in SEEDS]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("count", [1, 3])
def test_episodes_in_a_vector_are_those_of_one_environment(alone: list[float], mode: AutoresetMode, count: int) -> None:
    episodes = environment_spec(many(count, mode)).episodes()
    returns = episodes.returns(act_of)
    assert episodes.seeding is Seeding.EPISODES
    assert [returns(seed) for seed in SEEDS] == alone
    assert len(set(alone)) > 3


def test_the_random_policy_is_the_same_in_a_vector() -> None:
    with make_environment(CARTPOLE) as environment:
        expected = random_returns(environment, SEEDS)
    random = environment_spec(many()).episodes().random()
    assert [random(seed) for seed in SEEDS] == expected


def test_a_vector_that_takes_one_seed_alone_is_seeded_by_the_batch() -> None:
    episodes = environment_spec(CartPoleVectorEnv(num_envs=4)).episodes()
    assert episodes.seeding is Seeding.BATCHES
    first, again = (episodes.returns(act_of) for _ in range(2))
    assert [first(seed) for seed in range(8)] == [again(seed) for seed in range(8)]


class Deaf(VectorWrapper):
    """Takes seeds, and does not heed them."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.env.reset(options=options)


def test_a_vector_that_does_not_heed_seeds_is_found_out() -> None:
    assert environment_spec(Deaf(CartPoleVectorEnv(num_envs=4))).episodes().seeding is Seeding.NONE


def test_a_wrapper_of_vectors_knows_no_single_environment() -> None:
    spec = environment_spec(VectorWrapper(many()))
    with pytest.raises(UnusableEnvironmentError, match=r"'SyncVectorEnv|'VectorWrapper.*single ones"):
        spec.make()
    assert environment_spec(many()).make().spec is not None


class Walls:
    """A simulator of tensors: slot i ends after i + 2 steps, earns 1 a step, and goes on by itself."""

    num_envs = 3
    single_action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, truncates: bool = False, wraps: Callable[[Tensor], Any] = lambda found: found) -> None:
        self.truncates, self.wraps = truncates, wraps
        self.ages = torch.zeros(3, dtype=torch.int64)
        self.memory = torch.zeros(3, 4)

    def seen(self) -> Any:
        self.memory[:] = self.ages[:, None].float()  # one memory for all observations
        return self.wraps(self.memory)

    def reset(self) -> Any:
        self.ages[:] = 0
        return self.seen(), {"log": None}

    def step(self, actions: Tensor) -> Any:
        assert actions.shape == (3, 2)
        assert actions.dtype == torch.float32
        self.ages += 1
        over = self.ages >= torch.arange(3) + 2
        self.ages[over] = 0
        others: dict[str, Any] = {}
        ends = (torch.zeros_like(over), over) if self.truncates else (over.long(),)
        return self.seen(), torch.ones(3), *ends, others


def still(_: int) -> Act:
    return lambda observation: np.full(2, observation[0], np.float32)


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("wraps", [lambda found: found, lambda found: {"policy": found, "critic": None}])
def test_a_simulator_plays_one_episode_in_each_slot(truncates: bool, wraps: Callable[[Tensor], Any]) -> None:
    """Were the first to end taken, the shortest would be taken again and again."""
    episodes = environment_spec(Walls(truncates, wraps)).episodes()
    assert (episodes.name, episodes.seeding, episodes.spaces.observation) == ("Walls", Seeding.NONE, 4)
    returns = episodes.returns(still)
    assert [returns(seed) for seed in range(6)] == [2.0, 3.0, 4.0] * 2


def test_observations_of_a_simulator_are_copies() -> None:
    seen: list[NDArray[Any]] = []

    def watching(_: int) -> Act:
        def act(observation: NDArray[Any]) -> NDArray[Any]:
            seen.append(observation)
            return np.zeros(2, np.float32)

        return act

    environment_spec(Walls()).episodes().returns(watching)(0)
    assert [found[0] for found in seen if found is not None][-1] == 3.0
    assert seen[0][0] == 0.0


@pytest.mark.parametrize(
    ("break_", "words"),
    [
        (lambda walls: setattr(walls, "single_action_space", None), "`actions`"),
        (lambda walls: setattr(walls, "seen", lambda: np.zeros((3, 4))), "ndarray"),
        (lambda walls: setattr(walls, "seen", lambda: torch.zeros(3, 4, 4)), r"\[3, 4, 4\]"),
        (lambda walls: setattr(walls, "seen", lambda: {"critic": torch.zeros(3, 4)}), "none of which is 'policy'"),
        (
            lambda walls: setattr(walls, "seen", lambda: torch.zeros(3, 4 + int(walls.ages.sum() > 0))),
            r"\[3, 5\], but had \[3, 4\]",
        ),
        (lambda walls: setattr(walls, "reset", lambda: 1 / 0), r"failed at its first reset \(ZeroDivisionError"),
        (lambda walls: setattr(walls, "num_envs", 0), "num_envs 0; it must be a positive integer"),
        (lambda walls: setattr(walls, "num_envs", "3"), "num_envs '3'; it must be"),
        (lambda walls: setattr(walls, "step", lambda _: (1, 2)), "step returned"),
        (lambda walls: setattr(walls, "step", lambda _: (walls.seen(), torch.ones(2), torch.ones(3), {})), "rewards"),
        (lambda walls: setattr(walls, "step", lambda _: 1 / 0), "failed at step 1"),
        (
            lambda walls: setattr(walls, "step", lambda _: (walls.seen(), torch.ones(3) / 0, torch.ones(3), {})),
            "reward is not finite at step 1",
        ),
    ],
)
def test_what_a_simulator_does_wrong_is_told(break_: Callable[[Walls], None], words: str) -> None:
    walls = Walls()
    break_(walls)
    with pytest.raises(UnusableEnvironmentError, match=words) as caught:
        environment_spec(walls).episodes().returns(still)(0)
    assert "'Walls'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_actions_of_a_simulator_can_be_told() -> None:
    walls = Walls()
    walls.single_action_space = None  # type: ignore[assignment]
    episodes = EnvironmentSpec(name="walls", vector=walls, actions=gym.spaces.Box(-2.0, 2.0, (2,))).episodes()
    assert episodes.spaces.outputs == 2


def make_pole(limit: int = 20) -> gym.Env[Any, Any]:
    return gym.make(CARTPOLE, max_episode_steps=limit)


def test_a_function_counts_by_its_name_where_it_has_one() -> None:
    spec = environment_spec(make_pole, {"limit": 7})
    assert spec.name == spec.source == f"{__name__}:make_pole"
    assert spec.portable
    episodes = spec.episodes()
    assert episodes.name == spec.name
    assert episodes.returns(act_of)(0) == 7.0
    local = environment_spec(lambda: make_pole(5))
    assert not local.portable
    assert local.episodes().returns(act_of)(0) == 5.0
    assert "<lambda>" in local.episodes().name


def test_what_is_no_environment_is_told() -> None:
    with pytest.raises(InputError, match="not int"):
        environment_spec(3)
    with pytest.raises(InputError, match="an environment object"):
        environment_spec(gym.make(CARTPOLE))
    with pytest.raises(InputError, match="nothing makes it"):
        EnvironmentSpec(name="none")
    with pytest.raises(InputError, match="`kwargs` are only for an environment"):
        environment_spec(Walls(), {"size": 3})
    with pytest.raises(UnusableEnvironmentError, match=r"returned a vector environment"):
        environment_spec(lambda: many(1)).episodes()


class Endless(VectorEnv[Any, Any, Any]):
    num_envs = 2
    single_observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    single_action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros((2, 3), np.float32), {}

    def step(self, actions: Any) -> Any:
        none = np.zeros(2, np.bool_)
        return np.full((2, 3), np.nan, np.float32), np.zeros(2), none, none, {}


class Long(Endless):
    """Its own limit is beyond the one that others have."""

    spec = gym.envs.registration.EnvSpec("Long-v0", "none:none", max_episode_steps=MAX_STEPS + 1)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.steps = 0
        return super().reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        self.steps += 1
        over = np.full(2, self.steps > MAX_STEPS)
        return np.zeros((2, 3), np.float32), np.ones(2), over, over, {}


def test_an_episode_has_the_environment_s_own_limit_where_that_is_larger() -> None:
    assert environment_spec(Long()).episodes().returns(lambda _: lambda _: 0)(0) == MAX_STEPS + 1


def test_an_observation_that_is_not_finite_is_the_environment_s_fault() -> None:
    def act(observation: NDArray[Any]) -> int:
        if not np.isfinite(observation).all():
            raise InputError("no answer")
        return 0

    with pytest.raises(FailedEpisodeError, match="not finite after 1 steps of the episode with seed 0"):
        environment_spec(Endless()).episodes().returns(lambda _: act)(0)


def test_the_example_of_the_record() -> None:
    assert doctest.testmod(spec_module).failed == 0
    assert doctest.testmod(spec_module).attempted > 0


class Failing(gym.Env[Any, Any]):
    """Rewards are the seed's last digit; that of seed 105 is not finite in the end."""

    observation_space, action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.began, self.steps = seed, 0
        return np.array([(seed or 0) % 10 / 10.0], np.float32), {}

    def step(self, _: Any) -> Any:
        self.steps += 1
        reward = float("nan") if self.began == 105 and self.steps == 2 else float((self.began or 0) % 10)
        return np.zeros(1, np.float32), reward, self.steps == 3, False, {}


@pytest.mark.parametrize("count", [1, 3, 8])
def test_an_episode_that_fails_fails_in_its_turn(count: int) -> None:
    returns = environment_spec(SyncVectorEnv([Failing] * count)).episodes().returns(act_of_one)
    assert [returns(seed) for seed in range(100, 105)] == [0.0, 3.0, 6.0, 9.0, 12.0]
    with pytest.raises(FailedEpisodeError, match="the reward is not finite at step 2 of the episode with seed 105"):
        returns(105)
    assert returns(106) == 18.0


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_policy_without_an_answer_has_none_in_its_turn(count: int) -> None:
    def picky(seed: int) -> Act:
        def act(_: NDArray[Any]) -> int:
            if seed == 104:
                raise CheckError(f"no answer in {seed}")
            return 1

        return act

    returns = environment_spec(SyncVectorEnv([Failing] * count)).episodes().returns(picky)
    assert [returns(seed) for seed in range(100, 104)] == [0.0, 3.0, 6.0, 9.0]
    with pytest.raises(CheckError, match="no answer in 104"):
        returns(104)


def act_of_one(_: int) -> Act:
    return lambda _: 1


def test_a_vector_is_made_with_its_arguments_already() -> None:
    with pytest.raises(
        InputError, match="`kwargs` are only for an environment that prunekit makes; make yours with them"
    ):
        environment_spec(many(), {"sutton_barto_reward": True})
