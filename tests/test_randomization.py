"""Parameters of environments that are drawn per episode: from what, where they are, and how they are put back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.disturbances.environment import DisturbedEnvironment, under
from prunekit.disturbances.randomization import DISTRIBUTIONS, Parameter, Randomization, read_randomization
from prunekit.disturbances.record import Disturbance
from prunekit.environments import make_environment
from prunekit.errors import InputError
from prunekit.rollouts import episode_return, random_returns


def drawn(*parameters: Parameter) -> Disturbance:
    return Disturbance(randomization=Randomization(parameters=parameters))


def test_a_file_says_what_is_drawn_from_what(tmp_path: Path) -> None:
    path = tmp_path / "drawn.toml"
    path.write_text(
        """
[length]
range = [0.25, 1]
["model.body_mass[torso]"]
range = [0.8, 1.2]
distribution = "log-uniform"
relative = true
[model.opt.timestep]
range = [0.001, 0.002]
distribution = "normal"
"""
    )
    assert read_randomization(path) == Randomization(
        parameters=(
            Parameter(path="length", low=0.25, high=1),
            Parameter(path="model.body_mass[torso]", low=0.8, high=1.2, distribution="log-uniform", relative=True),
            Parameter(path="model.opt.timestep", low=0.001, high=0.002, distribution="normal"),
        )
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it names no parameter to randomize"),
        ("length = 3", 'length must be a table with a range, as in ["length"] and range = [0.8, 1.2]'),
        ("[length]", "length: range must be two numbers, as in range = [0.8, 1.2]"),
        ("[length]\nrange = [1, 2, 3]", "length: range must be two numbers"),
        ("[length]\nrange = [true, 2]", "length: range must be two numbers"),
        ("[length]\nrange = [2, 1]", "length: range must be two finite numbers, the smaller one first, not 2 and 1"),
        ("[length]\nrange = [1, inf]", "length: range must be two finite numbers"),
        ("[length]\nrange = [0, 1]\ndistribution = 'log-uniform'", "length: a log-uniform range must be above 0"),
        ("[length]\nrange = [0, 1]\ndistribution = 'beta'", "length: distribution 'beta' is not one of uniform, log-"),
        ("[length]\nrange = [0, 1]\nrelativ = true", "length: relativ is not known; the keys are range, distribution"),
        ("[length]\nrange = [0, 1]\nrelative = 1", "length: relative must be true or false"),
        ("[length", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "drawn.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_randomization(path)
    assert str(refused.value).startswith(f"{path}: {told}")


@given(st.sampled_from(sorted(DISTRIBUTIONS)), st.floats(1e-3, 1e3), st.floats(0.0, 1e3), st.floats(0.0, 1.0))
def test_what_is_drawn_lies_in_its_range_and_grows_with_the_share(
    distribution: str, low: float, width: float, share: float
) -> None:
    parameter = Parameter(path="x", low=low, high=low + width, distribution=distribution)
    value = parameter.value(share)
    assert low <= value <= low + width
    assert parameter.value(0.0) == pytest.approx(low)
    assert parameter.value(share / 2) <= value


def test_distributions_are_what_their_names_say() -> None:
    middle = {name: draw(0.5, 1.0, 4.0) for name, draw in DISTRIBUTIONS.items()}
    assert middle == pytest.approx({"uniform": 2.5, "log-uniform": 2.0, "normal": 2.5})
    shares = np.linspace(0.0, 1.0, 20_001)[:-1]
    normal = np.array([DISTRIBUTIONS["normal"](share, -2.0, 2.0) for share in shares])
    assert normal.std() == pytest.approx(0.880, abs=0.002), "a normal one that is cut off at two deviations"


def test_whole_numbers_stay_whole_and_come_equally_often() -> None:
    parameter = Parameter(path="x", low=1, high=4)
    found = [parameter.value(share, 2) for share in np.linspace(0.0, 1.0, 4001)[:-1]]
    assert [found.count(value) for value in (1, 2, 3, 4)] == pytest.approx([1000] * 4, abs=2)
    assert parameter.value(0.4, 2.0) == pytest.approx(2.2)


def test_parameters_are_those_of_the_seed_and_put_back() -> None:
    inner = make_environment("CartPole-v1")
    before = dict(vars(inner.unwrapped))
    disturbed = DisturbedEnvironment(
        inner,
        drawn(Parameter(path="length", low=0.1, high=2.0), Parameter(path="gravity", low=0.9, high=1.1, relative=True)),
    )

    def found(seed: int) -> tuple[float, float]:
        disturbed.reset(seed=seed)
        pole: Any = inner.unwrapped
        assert pole.polemass_length == pole.masspole * pole.length, "what the constructor computed of it"
        return pole.length, pole.gravity

    lengths = np.array([found(seed) for seed in range(50)])
    assert 0.1 <= lengths[:, 0].min() < 0.3
    assert 1.8 < lengths[:, 0].max() <= 2.0
    assert 0.9 * 9.8 <= lengths[:, 1].min() < lengths[:, 1].max() <= 1.1 * 9.8
    assert found(7) == tuple(lengths[7])
    disturbed.restore()
    after = vars(inner.unwrapped)
    names = ("length", "gravity", "polemass_length", "total_mass", "masspole")
    assert {name: after[name] for name in names} == {name: before[name] for name in names}


def test_an_attribute_of_the_class_is_put_back_as_one() -> None:
    inner = make_environment("Acrobot-v1")
    with under(inner, drawn(Parameter(path="LINK_MASS_1", low=2.0, high=3.0))) as disturbed:
        disturbed.reset(seed=0)
        assert 2.0 <= inner.unwrapped.LINK_MASS_1 <= 3.0
        assert "LINK_MASS_1" in vars(inner.unwrapped)
    assert inner.unwrapped.LINK_MASS_1 == 1.0
    assert "LINK_MASS_1" not in vars(inner.unwrapped)


def test_every_policy_meets_the_same_parameters_and_the_environment_is_as_before() -> None:
    inner = make_environment("CartPole-v1")
    undisturbed = [episode_return(inner, lambda seen: int(seen[2] > 0), seed) for seed in range(5)]
    with under(inner, drawn(Parameter(path="force_mag", low=2.0, high=30.0))) as disturbed:
        first = [episode_return(disturbed, lambda seen: int(seen[2] > 0), seed) for seed in range(5)]
        random_returns(disturbed, range(3))
        again = [episode_return(disturbed, lambda seen: int(seen[2] > 0), seed) for seed in (4, 3, 2, 1, 0)]
    assert again[::-1] == first != undisturbed
    assert [episode_return(inner, lambda seen: int(seen[2] > 0), seed) for seed in range(5)] == undisturbed


def test_arguments_of_the_constructor_are_drawn() -> None:
    pytest.importorskip("Box2D")
    inner = make_environment("LunarLander-v3", {"gravity": -8.0})
    with under(inner, drawn(Parameter(path="kwargs.gravity", low=0.5, high=1.4, relative=True))) as disturbed:
        disturbed.reset(seed=3)
        assert disturbed.unwrapped is not inner.unwrapped
        assert -11.2 <= disturbed.unwrapped.gravity <= -4.0
        assert disturbed.unwrapped.gravity != -8.0
        first = random_returns(disturbed, [3, 4])
        assert random_returns(disturbed, [3, 4]) == first
    assert disturbed.unwrapped is inner.unwrapped
    assert inner.unwrapped.gravity == -8.0


def test_mujoco_models_are_changed_by_name_and_put_back_to_the_bit() -> None:
    mujoco = pytest.importorskip("mujoco")
    inner: Any = make_environment("Hopper-v5")
    model = inner.unwrapped.model

    def content() -> bytes:
        buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
        mujoco.mj_saveModel(model, None, buffer)
        return buffer.tobytes()

    before, torso = content(), float(model.body("torso").mass[0])
    own = episode_return(inner, lambda _: np.zeros(3), 0)
    parameters = [
        Parameter(path="model.body_mass[torso]", low=1.5, high=2.0, relative=True),
        Parameter(path="model.opt.gravity[2]", low=-12.0, high=-11.0),
        Parameter(path="model.geom_friction", low=0.5, high=0.6, relative=True),
        Parameter(path="model.dof_damping[foot_joint]", low=2.0, high=3.0),
        Parameter(path="model.opt.timestep", low=0.001, high=0.0015),
    ]
    friction = model.geom_friction.copy()
    with under(inner, drawn(*parameters)) as disturbed:
        disturbed.reset(seed=0)
        assert 1.5 * torso <= model.body("torso").mass[0] <= 2.0 * torso
        assert model.body_subtreemass[0] == pytest.approx(model.body_mass.sum()), "what was compiled of it"
        assert model.opt.gravity[2] < -10.9
        factors = model.geom_friction[friction > 0] / friction[friction > 0]
        assert np.ptp(factors) < 1e-12
        assert 0.5 <= factors[0] <= 0.6
        assert 2.0 <= model.dof_damping[model.joint("foot_joint").dofadr[0]] <= 3.0
        assert 0.001 <= model.opt.timestep <= 0.0015
        assert episode_return(disturbed, lambda _: np.zeros(3), 0) != own
    assert content() == before
    assert episode_return(inner, lambda _: np.zeros(3), 0) == own


@pytest.mark.parametrize(
    ("environment", "path", "told"),
    [
        (
            "CartPole-v1",
            "lenght",
            "CartPoleEnv has no lenght; did you mean length? there are force_mag, gravity, length",
        ),
        ("CartPole-v1", "kwargs.length", "the environment's constructor has no number length; there are none"),
        ("CartPole-v1", "kinematics_integrator", "is of type str, but only numbers can be randomized"),
        ("CartPole-v1", "isopen", "is true or false, but only numbers"),
        ("CartPole-v1", "length[0]", "length is of type float, which has no entries"),
        ("CartPole-v1", "length.", "is not a path of names"),
        ("CartPole-v1", "_sutton_barto_reward", "is not a path of names"),
        ("Hopper-v5", "model.body_mas", "model has no body_mas; the closest of "),
        ("Hopper-v5", "model.body_mass[torzo]", "there is no body called 'torzo'; did you mean torso? there are foot"),
        ("Hopper-v5", "model.body_mass[9]", "body_mass has the entries 0 to 4, not 9"),
        ("Hopper-v5", "model.opt.gravity", "has 3 values; name one of them, as in model.opt.gravity[0], or write rel"),
        ("Hopper-v5", "model.opt.gravity[z]", "entries of gravity have no names; give a number from 0 to 2"),
        ("Hopper-v5", "kwargs.frame_skp", "has no number frame_skp; did you mean frame_skip? there are"),
    ],
)
def test_an_unknown_parameter_is_refused_with_those_there_are(environment: str, path: str, told: str) -> None:
    inner = make_environment(environment)
    with pytest.raises(InputError) as refused:
        DisturbedEnvironment(inner, drawn(Parameter(path=path, low=1.0, high=2.0)))
    assert str(refused.value).startswith(f"{path}: ")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


class SetsItself(gym.Env[Any, Any]):
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    wind = 0.5

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.wind = 0.5
        return np.zeros(1, np.float32), {}


def test_a_parameter_that_the_environment_sets_itself_is_refused() -> None:
    disturbed = DisturbedEnvironment(SetsItself(), drawn(Parameter(path="wind", low=1.0, high=2.0)))
    with pytest.raises(InputError, match="wind: environment 'SetsItself' sets it itself as an episode begins"):
        disturbed.reset(seed=0)


def test_entries_of_a_configuration_are_parameters() -> None:
    inner = SetsItself()
    inner.config = {"lanes": 3, "speed": {"most": 30.0}}  # type: ignore[attr-defined]
    parameters = (
        Parameter(path="config[lanes]", low=2, high=9),
        Parameter(path="config[speed][most]", low=20, high=25),
    )
    with under(inner, drawn(*parameters)) as disturbed:
        disturbed.reset(seed=1)
        found = inner.config  # type: ignore[attr-defined]
        assert isinstance(found["lanes"], int)
        assert 20.0 <= found["speed"]["most"] <= 25.0
    assert inner.config == {"lanes": 3, "speed": {"most": 30.0}}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"config\[lane\]: config has no 'lane'; did you mean lanes\?"):
        DisturbedEnvironment(inner, drawn(Parameter(path="config[lane]", low=2, high=9)))


def test_an_episode_without_a_seed_goes_on_from_the_last() -> None:
    inner = make_environment("CartPole-v1")
    disturbed = DisturbedEnvironment(inner, drawn(Parameter(path="length", low=0.1, high=2.0)))

    def found() -> list[float]:
        disturbed.reset(seed=5)
        first = [inner.unwrapped.length]
        for _ in range(2):
            disturbed.reset()
            first.append(inner.unwrapped.length)
        return first

    assert found() == found()
    assert len(set(found())) == 3
    assert math.isfinite(sum(found()))
