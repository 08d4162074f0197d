"""The comparison as a whole, and its JSON against the schema that ``docs/bench.md`` promises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import jsonschema
import numpy as np
import pytest
from draws import falling_now_and_then, steady
from foreign_models import write_product
from gymnasium import spaces as gym_spaces
from simulations import simulated_certificates

from prunekit import ArtifactError, CheckError, InputError
from prunekit.benching.compare import run_bench
from prunekit.benching.figures import DeviceFigures, Place
from prunekit.benching.models import BenchModel, read_model
from prunekit.benching.result import BenchResult
from prunekit.benching.runtimes import OnnxRuntime, Runtime
from prunekit.benching.settings import BenchSettings
from prunekit.devices import devices_named
from prunekit.environments import spaces_of
from prunekit.rollouts import episode_return, random_returns
from prunekit.stats.claim import MIN_EPISODES
from prunekit.stats.clipping import ReturnRange, range_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "bench.md"
# Pushes the cart towards the side to which the pole falls; the second one pushes away from it.
BALANCE = np.asarray([[0.0, 0.0], [-0.2, 0.2], [-1.0, 1.0], [-1.0, 1.0]])
REPETITIONS = 300
FEW = BenchSettings(episodes=12, first_seed=40, calls=100, paced_ticks=2)


class Silent:
    """A device that runs models but can tell nothing of them."""

    name = "silent"

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], BenchSettings]] = []

    def seeds(self, settings: BenchSettings) -> range:
        return settings.seeds

    def runtime(self, model: BenchModel, place: Place) -> Runtime | None:
        return OnnxRuntime(model, place.spaces)

    def figures(
        self, models: Sequence[BenchModel], runtimes: Sequence[Runtime | None], settings: BenchSettings
    ) -> list[DeviceFigures]:
        self.asked.append(([model.path.name for model in models], settings))
        return [DeviceFigures() for _ in models]


def validator() -> jsonschema.Draft202012Validator:
    (block,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    schema = json.loads(block)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def cartpole(path: Path, weight: np.ndarray, env_id: str = "CartPole-v1", **kwargs: Any) -> Path:
    entry = json.dumps({"id": env_id, "kwargs": kwargs})
    return write_product(path, weight, properties={"prunekit.env": entry})


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [cartpole(tmp_path / "good.onnx", BALANCE), cartpole(tmp_path / "bad.onnx", -BALANCE)]


@pytest.fixture
def result(paths: list[Path]) -> BenchResult:
    return run_bench(paths, [Silent()], FEW)


@pytest.fixture
def plain(result: BenchResult) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(result.to_json(), allow_nan=False))
    return data


def test_a_measured_result_is_what_the_page_promises(paths: list[Path]) -> None:
    data = json.loads(json.dumps(run_bench(paths, devices_named(["cpu"]), FEW).to_json(), allow_nan=False))
    validator().validate(data)
    for model in data["models"]:
        figures = model["devices"]["cpu"]
        assert 0.0 < figures["latency_us"]["p50"] <= figures["latency_us"]["p99"]
        assert 0.0 < figures["paced_latency_us"]["p50"] <= figures["paced_latency_us"]["p99"]


def test_a_result_with_nothing_measured_and_nothing_defined_is_too(paths: list[Path]) -> None:
    data = json.loads(json.dumps(run_bench(paths[::-1], [Silent()], FEW).to_json(), allow_nan=False))
    validator().validate(data)
    assert data["models"][0]["devices"]["silent"]["latency_us"] is None
    assert [entry["estimate"] for entry in data["retention"].values()] == [None, None]
    assert all("earns no more than the random policy" in entry["reason"] for entry in data["retention"].values())


def objects_of(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        yield data
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from objects_of(value)


def test_the_schema_forbids_what_it_does_not_name_and_misses_what_is_gone(plain: dict[str, Any]) -> None:
    schema = validator()
    free = (plain["env"]["kwargs"],)
    for entry in objects_of(plain):
        if any(entry is other for other in free):
            continue
        entry["undocumented"] = 1
        assert not schema.is_valid(plain), f"undocumented keys pass beside {list(entry)}"
        del entry["undocumented"]
        if entry is plain["retention"] or "silent" in entry:
            continue
        for key in entry.keys() - {"gymnasium"}:  # which need not be installed
            kept = entry.pop(key)
            assert not schema.is_valid(plain), f"a missing {key} passes"
            entry[key] = kept
    schema.validate(plain)


def test_figures_of_a_result(result: BenchResult, plain: dict[str, Any], paths: list[Path]) -> None:
    good, bad = (model["devices"]["silent"]["return"] for model in plain["models"])
    assert good["seeds"] == bad["seeds"] == list(range(40, 52))
    assert good["episodes"] == len(good["returns"]) == plain["random"]["episodes"] == 12
    assert good["mean"] == pytest.approx(np.mean(good["returns"]))
    for figures in (good, bad):
        assert figures["iqm"] == pytest.approx(np.mean(sorted(figures["returns"])[3:9]))
    assert bad["iqm"] != bad["mean"]
    assert good["mean"] > 150.0 > plain["random"]["mean"] > bad["mean"]
    assert bad["ci95"][0] <= bad["mean"] <= bad["ci95"][1]
    first, second = (plain["retention"][str(path)] for path in paths)
    assert (first["estimate"], first["ci95"]) == (1.0, [1.0, 1.0])
    floor = plain["random"]["mean"]
    assert second["estimate"] == pytest.approx((bad["mean"] - floor) / (good["mean"] - floor))
    assert plain["env"] == {"id": "CartPole-v1", "kwargs": {}, "seeds": "episodes"}
    assert "mujoco" not in plain["host"]["versions"]


def test_the_same_question_has_the_same_answer(result: BenchResult, paths: list[Path]) -> None:
    again = run_bench(paths, [Silent()], FEW)
    assert (again.devices, again.random, again.retentions) == (result.devices, result.random, result.retentions)


def test_every_model_plays_the_same_episodes_and_all_are_measured_together(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[list[float]]] = {}
    act = OnnxRuntime.act

    def watched(self: OnnxRuntime, observation: Any) -> Any:
        seen.setdefault(self._name, []).append(list(observation))
        return act(self, observation)

    monkeypatch.setattr(OnnxRuntime, "act", watched)
    device = Silent()
    result = run_bench(paths, [device], FEW)
    assert list(result.random) == random_returns(gym.make("CartPole-v1"), FEW.seeds)
    starts = [gym.make("CartPole-v1").reset(seed=seed)[0].tolist() for seed in FEW.seeds]
    for path in paths:
        assert [entry for entry in seen[str(path)] if entry in starts] == starts
    assert device.asked == [(["good.onnx", "bad.onnx"], FEW)]


def test_what_is_to_be_kept_is_certified_of_every_other_model(paths: list[Path]) -> None:
    again = cartpole(paths[0].with_name("again.onnx"), BALANCE)
    settings = replace(FEW, episodes=100, keep=0.5)
    result = run_bench([paths[0], again], [Silent()], settings)
    reference, found = result.certificates
    assert reference is None
    assert found is not None
    assert found.certified
    assert MIN_EPISODES <= len(found.episodes) < 100
    assert found.claim.keep == 0.5
    result.require()
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    validator().validate(data)
    (entry,) = data["certificates"].values()
    assert entry["claim"] == found.sentence
    with pytest.raises(CheckError, match=r"at least 0\.5: .*bad\.onnx \(no bound after") as failure:
        run_bench([paths[0], again, paths[1]], [Silent()], settings).require()
    assert "again.onnx" not in str(failure.value)


def test_a_hundred_episodes_show_95_percent_of_models_that_never_differ(paths: list[Path]) -> None:
    result = run_bench([paths[0], paths[0]], [Silent()], replace(FEW, episodes=100, keep=0.95))
    result.require()


def test_the_range_is_fixed_by_other_episodes_or_by_the_user(paths: list[Path]) -> None:
    settings = replace(FEW, episodes=20, keep=0.5)
    (_, found) = run_bench([paths[0], paths[0]], [Silent()], settings).certificates
    assert found is not None
    environment = gym.make("CartPole-v1")
    runtime = OnnxRuntime(read_model(paths[0]), spaces_of(environment))
    seeds = range(60, 80)
    assert seeds == settings.range_seeds
    earned = [episode_return(environment, runtime.act, seed) for seed in seeds]
    assert found.claim.clip_range == range_of(earned, random_returns(environment, seeds))
    own = ReturnRange(low=0.0, high=1.0)
    (_, found) = run_bench([paths[0], paths[0]], [Silent()], replace(settings, clip_range=own)).certificates
    assert found is not None
    assert found.claim.clip_range == own
    assert found.above.happened == 20


def test_too_few_episodes_say_how_many_it_would_take(paths: list[Path]) -> None:
    result = run_bench([paths[0], paths[0]], [Silent()], replace(FEW, episodes=20, keep=0.95))
    with pytest.raises(CheckError, match=r"good\.onnx \(at least 0\.\d+ after 20 episodes; about \d+ `episodes`"):
        result.require()


@pytest.mark.parametrize("limit", [0.02, 0.3])
def test_a_limit_of_failures_is_held_against_their_bound(paths: list[Path], limit: float) -> None:
    settings = replace(FEW, episodes=60, keep=0.1, max_failures=limit, clip_range=ReturnRange(low=1.0, high=600.0))
    result = run_bench([paths[0], paths[0]], [Silent()], settings)
    if limit == 0.3:
        result.require()
        return
    with pytest.raises(CheckError, match=r"0 earned less than 1, so at most 5\.0% do"):
        result.require()


def test_a_share_of_a_single_model_is_refused(paths: list[Path]) -> None:
    with pytest.raises(InputError, match="`keep` compares models with the first one"):
        run_bench(paths[:1], [Silent()], replace(FEW, keep=0.9))


@pytest.mark.parametrize("share", [0.945, 0.9])
@pytest.mark.parametrize("episodes", [20, 30, 60])
def test_a_policy_that_keeps_too_little_seldom_passes_whatever_the_episodes(share: float, episodes: int) -> None:
    """A bootstrap lets one that fails in 5.5% of its episodes pass in a third of all benches of 20."""
    world = steady, falling_now_and_then
    passed = sum(
        simulated_certificates(*world, [share], seed, episodes=episodes)[0].certified for seed in range(REPETITIONS)
    )
    assert passed <= REPETITIONS * 0.05


def test_the_environment_and_its_arguments_come_from_the_files(tmp_path: Path) -> None:
    path = cartpole(tmp_path / "m.onnx", BALANCE, sutton_barto_reward=True)
    result = run_bench([path], [Silent()], FEW)
    assert result.environment == ("CartPole-v1", {"sutton_barto_reward": True})
    assert max(result.random) == -1.0  # that reward is -1 once, at the fall
    assert run_bench([path], [Silent()], FEW, "CartPole-v0").environment == ("CartPole-v0", {})
    for written in ("CartPole-v1", "json:CartPole-v1", "CartPole"):
        assert run_bench([path], [Silent()], FEW, written).environment == result.environment


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda path: write_product(path, BALANCE),
            r"other\.onnx: names no environment; give one with `env` \(.*good\.onnx names CartPole-v1\)",
        ),
        (
            lambda path: cartpole(path, BALANCE, "CartPole-v0"),
            r"other\.onnx was made for CartPole-v0, but .*good\.onnx",
        ),
        (lambda path: cartpole(path, BALANCE, sutton_barto_reward=True), r"other\.onnx was made for CartPole-v1, but"),
    ],
)
def test_models_of_different_environments_are_not_compared(
    paths: list[Path], tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run_bench([paths[0], make(tmp_path / "other.onnx")], [Silent()], FEW)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("CartPole-v1", "environment in its metadata is damaged"),
        ({"kwargs": {}}, "environment in its metadata is damaged"),
        ({"id": 3}, "environment in its metadata is damaged"),
        ({"id": "CartPole-v1", "kwargs": 5}, "environment's arguments in its metadata are damaged"),
        ({"id": "CartPole-v1", "kwargs": {"x": [1]}}, "argument 'x' in its metadata is not a plain value"),
        *(
            ({"id": "Hopper-v5", "kwargs": {name: text}}, f"argument '{name}' in its metadata .*name a file.*`env`")
            for name, text in {
                "xml_file": "../secret.xml",
                "map": "/etc/passwd",
                "model": "secret.xml",
                "dataPath": "secret",
                "env_id": "module:Id-v0",
                "level": "~",
                "name": "a" * 65,
            }.items()
        ),
        *(
            (
                {"id": "Hopper-v5", "kwargs": {name: 10**9}},
                f"argument '{name}' in its metadata is 1000000000, more than",
            )
            for name in ("max_episode_steps", "frame_skip")
        ),
        ({"id": "some_module:CartPole-v1"}, "would import a module.*`env`"),
    ],
)
def test_an_environment_that_a_file_names_badly_is_refused(tmp_path: Path, entry: object, words: str) -> None:
    path = write_product(tmp_path / "odd.onnx", BALANCE, properties={"prunekit.env": json.dumps(entry)})
    with pytest.raises(ArtifactError, match=rf"odd\.onnx: .*{words}"):
        run_bench([path], [Silent()], FEW)


class Leaving(gym.Env[np.ndarray, int]):
    observation_space = gym_spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gym_spaces.Discrete(2)
    closed = 0

    def close(self) -> None:
        type(self).closed += 1


def test_the_environment_is_closed_when_a_model_does_not_fit(tmp_path: Path) -> None:
    gym.register("prunekit-test/Leaving-v0", Leaving)
    try:
        with pytest.raises(InputError, match=r"wide\.onnx"):
            run_bench(
                [write_product(tmp_path / "wide.onnx", np.zeros((5, 2)))], [Silent()], FEW, "prunekit-test/Leaving-v0"
            )
    finally:
        gym.registry.pop("prunekit-test/Leaving-v0")
    assert Leaving.closed == 1
