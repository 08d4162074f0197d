"""``prunekit certify``: any two policies, the same seeds, and a verdict that holds whenever it stops."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import gymnasium as gym
import numpy as np
import onnx
import pytest
import torch
from certify_walk import ENV, FAILING, POINTLESS, Walk
from torch import nn

import prunekit
from prunekit.benching.certify import Certified, CertifySettings, Returns, certified
from prunekit.benching.certify_command import Match, _Ahead, _play_of, certify_files
from prunekit.benching.contest import opened
from prunekit.benching.models import read_model
from prunekit.benching.players import Player, episodes_of, integer_player, player_of
from prunekit.disturbances.record import Disturbance
from prunekit.environments import spaces_of
from prunekit.errors import CheckError, FailedEpisodeError, InputError
from prunekit.executors import Event, Executor, Failed, Finished, Job
from prunekit.export.quantize import quantize, run_quantized
from prunekit.export.recording import recorded_observations
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.reference import run_sequence
from prunekit.ops.affine import Affine
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.gru import GRU
from prunekit.rollouts import Act
from prunekit.simulators.spec import environment_spec
from prunekit.stats import ReturnRange
from prunekit.stats.certificate import Verdict

Run = Callable[..., tuple[int, str, str]]


def policy(folder: Path, name: str, weight: float) -> Path:
    """A policy that answers so many times the first value that it sees."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.3, 1.0], [0.1, -0.5]]))
        network[2].weight.copy_(torch.tensor([[weight, -weight, 0.0, 0.0]]))
        for layer in (network[0], network[2]):
            layer.bias.zero_()
    made = prunekit.Policy.from_network(network, actions=Walk.action_space)
    return made.export_onnx(folder / name) if name.endswith(".onnx") else made.save(folder / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("policies")
    weights = {"teacher.onnx": 1.0, "near.pt": 0.98, "blind.pt": 0.0, "wrong.pt": -1.0}
    return {name: policy(folder, name, weight) for name, weight in weights.items()}


def test_a_policy_that_keeps_the_return_is_certified(files: dict[str, Path], tmp_path: Path, run: Run) -> None:
    found, text = tmp_path / "found.json", tmp_path / "found.md"
    words = ["--against", files["teacher.onnx"], "--env", ENV, "--json", found, "--out", text]
    code, out, err = run("certify", files["near.pt"], *words)
    assert (code, err) == (0, "")
    assert "near.pt" in out
    assert "With 95% confidence the policy keeps at least 0.95" in " ".join(out.split())
    told = json.loads(found.read_text())
    assert (told["certified"], told["refuted"], told["form"]) == (True, False, "float32")
    certificate = told["certificate"]
    count = certificate["episodes"]
    assert {len(returns) for returns in certificate["returns"].values()} == {len(certificate["seeds"])} == {count}
    assert certificate["lower_bound"] >= 0.95
    assert certificate["failed"]["episodes"] == 0
    assert certificate["failed"]["upper_bound"] < 0.2
    assert certificate["range"][0] <= certificate["cvar"]["lower_bound"] <= certificate["cvar"]["estimate"]
    assert told["sentence"] in text.read_text()
    assert text.read_text().startswith("# near.pt against teacher.onnx\n")
    code, out, _ = run("certify", files["near.pt"], *words[:4], "-q")
    assert (code, out) == (0, "")


def test_one_that_does_not_is_refuted_at_once(files: dict[str, Path], tmp_path: Path, run: Run) -> None:
    found = tmp_path / "found.json"
    code, _, err = run("certify", files["wrong.pt"], "--against", files["teacher.onnx"], "--env", ENV, "--json", found)
    assert code == 1
    assert "wrong.pt: Refuted, with 95% confidence" in err
    told = json.loads(found.read_text())
    assert (told["certified"], told["refuted"]) == (False, True)
    assert told["certificate"]["episodes"] < 20
    assert told["certificate"]["upper_bound"] < 0.95


def test_a_policy_against_itself_is_told(files: dict[str, Path], tmp_path: Path, run: Run) -> None:
    link = tmp_path / "link.pt"
    link.symlink_to(files["near.pt"])
    code, out, err = run("certify", files["near.pt"], "--against", link, "--env", ENV, "--keep", 0.9)
    assert code == 0, err
    assert out.splitlines()[0] == f"note: {files['near.pt']} was tested against itself: both are the same file"
    code, out, err = run("certify", files["near.pt"], "--against", files["teacher.onnx"], "--env", ENV, "--keep", 0.8)
    assert code == 0, err
    assert "tested against itself" not in out


def test_what_the_budget_does_not_show_says_what_would(files: dict[str, Path], run: Run) -> None:
    words = ["--against", files["teacher.onnx"], "--env", ENV, "--episodes", 20]
    code, _, err = run("certify", files["near.pt"], *words)
    assert code == 1
    assert "Not certified" in err
    assert "Give it more --episodes or --minutes: about" in err


def test_the_same_policies_with_any_number_of_workers(files: dict[str, Path]) -> None:
    match = Match(small=files["near.pt"], teacher=files["teacher.onnx"], env=ENV)
    settings = CertifySettings(episodes=40, seed=3)
    one, two = (certify_files(match, settings, workers=workers).to_json() for workers in (1, 2))
    one.pop("seconds"), two.pop("seconds")
    assert one == two
    assert one["certificate"]["seeds"][0] == 200_300_000


class Broken:
    """Workers of which every one fails with the seed 5."""

    def __init__(self) -> None:
        self.done: list[Event] = []

    def submit(self, job: Job) -> None:
        seed, count = job.argument
        failed = Failed(name=job.name, error="no answer", traceback="")
        self.done.append(failed if seed == 5 else Finished(name=job.name, result=[float(seed)] * count))

    def events(self, _: float) -> list[Event]:
        found, self.done = self.done, []
        return found


def test_what_fails_ahead_fails_in_its_turn() -> None:
    play = _Ahead(cast(Executor, Broken()), 4)
    assert [play(seed, 3) for seed in range(2, 5)] == [(float(seed),) * 3 for seed in range(2, 5)]
    with pytest.raises(CheckError, match="a worker could not play an episode: no answer"):
        play(5, 3)


def test_integers_play_as_the_twin_of_the_c_that_is_exported(files: dict[str, Path]) -> None:
    match = Match(small=files["near.pt"], teacher=files["teacher.onnx"], env=ENV, bits=8)
    found = certify_files(match, CertifySettings(episodes=25))
    assert found.form == "int8 weights, int8 activations"
    exact = certify_files(Match(small=match.small, teacher=match.teacher, env=ENV), CertifySettings(episodes=25))
    ours, floats = found.certificate.episodes.small, exact.certificate.episodes.small
    assert not np.array_equal(ours, floats)
    assert ours == pytest.approx(floats, rel=0.1)
    graph = read_model(match.small).graph
    assert graph is not None
    seen = recorded_observations(graph, ENV, {}, 5)
    player = integer_player(graph, "it", spaces_of(Walk()), seen, 8)
    expected = run_quantized(quantize(graph, seen, 8), seen[:20])[0]
    assert np.array_equal([player.begin()(row) for row in seen[:20]], expected)


def values(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


REMEMBERS = Graph(
    inputs=(Port(name="obs", shape=(2,)),),
    nodes=(
        Node(
            op=GRU(w_x=values(12, 2), w_h=values(12, 4), b_x=values(12), b_h=values(12)),
            inputs=("obs", "memory"),
            outputs=("after",),
        ),
        Node(op=Affine(weight=values(1, 4), bias=values(1)), inputs=("after",), outputs=("outputs",)),
        Node(op=ClipToBounds(low=(-1.0,), high=(1.0,)), inputs=("outputs",),
             outputs=("action",)),
    ),
    outputs=("action", "outputs"),
    states=(State(before="memory", after="after", initial=np.full(4, 0.5, np.float32)),),
)  # fmt: skip


def test_a_policy_with_a_state_begins_every_episode_anew(tmp_path: Path) -> None:
    path = prunekit.Policy(graph=REMEMBERS).save(tmp_path / "remembers.pt")
    player = player_of(read_model(path), spaces_of(Walk()))
    seen = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 2)).astype(np.float32)
    wanted = [found["action"][0] for found in run_sequence(REMEMBERS, [{"obs": row[None]} for row in seen])]
    for _ in range(2):
        act = player.begin()
        assert np.allclose([act(row) for row in seen], wanted, atol=1e-6)
        assert not np.allclose(act(seen[0]), wanted[0], atol=1e-6)


def test_bench_refuses_a_policy_with_a_state_by_name(tmp_path: Path) -> None:
    path = prunekit.Policy(graph=REMEMBERS).save(tmp_path / "remembers.pt")
    with pytest.raises(
        prunekit.InputError, match=r"remembers\.pt: keeps a state, but bench .*; certify and export take it"
    ):
        prunekit.bench([path], env="Pendulum-v1", episodes=1)


def test_every_policy_begins_every_episode_and_plays_the_same_seed() -> None:
    told: list[str] = []

    def player(name: str) -> Player:
        def act(
            observation: np.ndarray[tuple[int], np.dtype[np.float32]],
        ) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
            told.append(f"{name} {observation[1]:.6f}")
            return observation[:1]

        def begin() -> Act:
            told.append(f"{name} begins")
            return act

        return Player(name=name, begin=begin)

    play = episodes_of(environment_spec(Walk).episodes(), player("teacher"), player("small"))
    teacher, random, small = play(5, 3)
    assert told[0] == "teacher begins"
    assert told[11] == "small begins"
    assert [text.split()[1] for text in told[1:11]] == [text.split()[1] for text in told[12:]]
    assert isinstance(random, float)
    assert 0.0 < random < teacher == small  # type: ignore[operator]
    assert play(5, 2) == (teacher, random)


def test_an_output_of_another_name_is_taken_where_it_is_said(files: dict[str, Path], tmp_path: Path, run: Run) -> None:
    model = onnx.load(files["teacher.onnx"])
    for node in model.graph.node:
        node.output[:] = ["answer" if name == "action" else name for name in node.output]
    for output in model.graph.output:
        output.name = "answer" if output.name == "action" else output.name
    path = tmp_path / "renamed.onnx"
    onnx.save(model, path)
    words = ["--against", files["teacher.onnx"], "--env", ENV, "--episodes", 200, "-q"]
    code, _, err = run("certify", path, *words, "--output", "answer")
    assert (code, err) == (0, "")


def test_a_failing_environment_fails_the_policy_under_which_it_does(files: dict[str, Path], run: Run) -> None:
    words = ["--against", files["teacher.onnx"], "--env", FAILING]
    code, _, err = run("certify", files["wrong.pt"], *words)
    assert code == 1
    assert "Not certified: environment" in err
    assert "the joint broke" in err
    code, _, err = run("certify", files["near.pt"], "--against", files["wrong.pt"], "--env", FAILING)
    assert code == 2
    assert "the joint broke" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--env", POINTLESS], ["teacher.onnx", "not clearly more than the random policy's", "--env"]),
        (["--env", ENV, "--range=100,200"], ["returns clipped to [100, 200]", "--range"]),
        ([], ["teacher.onnx: names no environment; give one with --env"]),
        (["--env", "CartPole-v1"], ["near.pt", "--env"]),
        (["--env", ENV, "--keep", "1.5"], ["--keep must lie in (0, 1]"]),
        (["--env", ENV, "--max-failures", "0.01", "--episodes", "100"], ["--max-failures 0.01 needs 306 episodes"]),
        (["--env", ENV, "--episodes", "19"], ["--episodes must be at least 20 for a certificate"]),
        (["--env", ENV, "--episodes", "90001"], ["--episodes must be at most 90,000"]),
        (["--env", ENV, "--minutes", "0"], ["--minutes must be positive"]),
        (["--env", ENV, "--seed", "8000"], ["--seed must lie between 0 and 7999"]),
        (["--env", ENV, "--workers", "0"], ["--workers must be from 1 to 64"]),
        (["--env", ENV, "--fail-below", "nan"], ["--fail-below must be finite"]),
        (["--env", ENV, "--activations", "8"], ["--activations needs --int8"]),
        (["--env", ENV, "--out", "SMALL"], ["is read here and would be overwritten"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_names_it(
    words: list[str], told: list[str], files: dict[str, Path], run: Run
) -> None:
    given = [str(files["near.pt"]) if word == "SMALL" else word for word in words]
    code, _, err = run("certify", files["near.pt"], "--against", files["teacher.onnx"], *given)
    assert code == 2
    assert all(text in err for text in told), err
    assert len(err.splitlines()) == 1


def synthetic(small: Callable[[int], float], **words: float | ReturnRange) -> Certified:
    def play(seed: int, count: int) -> Returns:
        generator = np.random.default_rng(seed)
        return (generator.normal(100.0, 1.0), generator.normal(0.0, 1.0), small(seed))[:count]

    return certified(play, ("small", "teacher"), CertifySettings(**words))  # type: ignore[arg-type]


def falls(seed: int) -> float:
    return 40.0 if np.random.default_rng([seed, 1]).random() < 0.1 else 100.0


def test_failures_are_those_below_what_was_said_and_may_refute() -> None:
    free = synthetic(falls, keep=0.9, failure_return=50.0)
    assert free.certified
    assert 0.0 < free.certificate.failed.happened / len(free.certificate.episodes) < 0.25
    assert free.certificate.below.happened == 0
    assert "it fails, with less than 50, in at most" in free.sentence
    limited = synthetic(falls, keep=0.9, failure_return=50.0, max_failures=0.02)
    assert limited.certificate.refuted
    assert limited.sentence.startswith("Refuted")
    assert "with at most 2.0% of its episodes failing" in limited.sentence
    allowed = synthetic(falls, keep=0.9, failure_return=50.0, max_failures=0.3)
    assert allowed.certified
    assert allowed.certificate.failed.upper <= 0.3


def test_the_range_is_fixed_by_other_episodes_than_the_certificate() -> None:
    played: list[tuple[int, int]] = []

    def play(seed: int, count: int) -> Returns:
        played.append((seed, count))
        return (100.0 + seed % 7, 0.0, 100.0)[:count]

    found = certified(play, ("small", "teacher"), CertifySettings(seed=1))
    ranges = [seed for seed, count in played if count == 2]
    assert ranges == list(range(200_190_000, 200_190_020))
    assert [seed for seed, count in played if count == 3] == list(found.certificate.seeds)
    assert not set(ranges) & set(found.certificate.seeds)
    assert found.certificate.claim.clip_range == ReturnRange(low=-11.0, high=117.0)


def test_an_environment_that_fails_under_the_teacher_decides_nothing() -> None:
    def play(seed: int, count: int) -> Returns:
        if count == 3 and seed % 100 == 30:
            return (FailedEpisodeError("environment 'X' failed"),)
        return (100.0, 0.0, 100.0)[:count]

    found = certified(play, ("small", "teacher"), CertifySettings())
    assert (found.certified, found.certificate.verdict) == (False, Verdict.UNDECIDED)
    assert found.sentence == "Not certified: environment 'X' failed (after 30 fresh episodes)."


def test_wrong_verdicts_are_rare_on_both_sides() -> None:
    """At the threshold it is certified, and refuted just above it, in five of a hundred at most."""
    wrong = {0.95: 0, 0.951: 0}
    for repetition in range(60):
        for kept in wrong:
            generator = np.random.default_rng(repetition)

            def play(_: int, count: int, kept: float = kept, generator: np.random.Generator = generator) -> Returns:
                small = 100.0 if generator.random() < kept else 0.0
                return (100.0, 0.0, small)[:count]

            found = certified(play, ("small", "teacher"), CertifySettings(episodes=150))
            wrong[kept] += found.certified if kept == 0.95 else found.certificate.refuted
    assert max(wrong.values()) <= 7


def test_settings_are_for_who_calls_from_python_too() -> None:
    with pytest.raises(InputError, match="finite"):
        CertifySettings(failure_return=float("inf"))


def test_a_certificate_under_a_disturbance_is_about_that(files: dict[str, Path]) -> None:
    """The teacher too sees the noise: what is kept of its return hardly changes, the return does."""
    settings = CertifySettings(keep=0.8, episodes=60)
    match = Match(small=files["near.pt"], teacher=files["teacher.onnx"], env=ENV)
    plain = certify_files(match, settings)
    noisy = replace(match, disturbance=Disturbance(observation_noise=0.5))
    found = certify_files(noisy, settings)
    assert found.sentence.startswith("Under observation noise 0.5, alike for all policies: With 95% confidence")
    episodes = found.certificate.episodes
    assert episodes.teacher.mean() < plain.certificate.episodes.teacher.mean() - 1.0
    assert found.facts["disturbance"] == {"observation_noise": 0.5, "delay_steps": 0}
    assert found.facts["observation_deviation"] == pytest.approx([3**-0.5] * 2, rel=0.1)
    undisturbed = found.facts["undisturbed_teacher"]
    assert len(undisturbed) == 20
    assert np.mean(undisturbed) == pytest.approx(plain.certificate.episodes.teacher.mean(), rel=0.2)
    known = replace(noisy, deviation=tuple(found.facts["observation_deviation"]))  # as a worker is told
    first = _play_of(pickle.dumps(known))(settings.seeds[0], 3)
    assert first == (episodes.teacher[0], episodes.random[0], episodes.small[0])


def test_a_ladder_ends_where_the_claim_does(files: dict[str, Path], tmp_path: Path, run: Run) -> None:
    """``wrong`` answers by the opposite, and keeps nothing even undisturbed."""
    found, text = tmp_path / "found.json", tmp_path / "found.md"
    words = ["--against", files["teacher.onnx"], "--env", ENV, "--episodes", 60, "--json", found, "--out", text]
    code, out, err = run("certify", files["near.pt"], *words, "--keep", 0.8, "--ladder", "obs=0.05,0.1")
    assert (code, err) == (0, "")
    data = json.loads(found.read_text())["ladder"]
    assert [level["disturbance"]["observation_noise"] for level in data["levels"]] == [0.0, 0.05, 0.1]
    assert data["largest"] == {"observation_noise": 0.1, "delay_steps": 0}
    assert "up to this disturbance: observation noise 0.1 (95% confidence" in " ".join(out.split())
    assert "up to this disturbance: observation noise 0.1" in text.read_text()
    code, out, err = run("certify", files["near.pt"], *words, "--keep", 0.8, "--ladder", "obs=0.05,1e6")
    assert (code, err) == (0, "")
    assert "noise 0.05; under observation noise 1e+06 the teacher earns no more than the random policy" in out
    assert len(json.loads(found.read_text())["ladder"]["levels"]) == 2
    code, _, err = run("certify", files["near.pt"], *words, "--noise", "obs=1e6")
    assert (code, "so there is nothing to keep" in err) == (2, True)
    code, _, err = run("certify", files["wrong.pt"], *words, "--ladder", "obs=0.1")
    assert code == 1
    assert len(json.loads(found.read_text())["ladder"]["levels"]) == 1
    for wrong in (["--ladder", "wind=1"], ["--drop", "2"], ["--randomize", tmp_path / "none.toml"]):
        code, _, err = run("certify", files["near.pt"], *words, *wrong)
        assert (code, err.count("\n")) == (2, 1)


def test_models_that_were_read_are_certified_where_many_step_together(files: dict[str, Path]) -> None:
    """In a vector environment of four, which plays the same episodes as one alone."""
    small, teacher = (read_model(files[name]) for name in ("near.pt", "teacher.onnx"))
    settings = CertifySettings(episodes=24)
    vector = gym.vector.SyncVectorEnv([Walk] * 4)
    contest = opened(environment_spec(vector), lambda _: (small, teacher))
    found = contest.certified(contest.play(), settings)
    vector.close()
    single = opened(environment_spec(Walk), lambda _: (small, teacher))
    alone = single.certified(single.play(), settings)
    single.episodes.close()
    assert found.facts["env"]["seeds"] == "episodes"
    ours, theirs = found.certificate.episodes, alone.certificate.episodes
    assert np.allclose(ours.small, theirs.small)
    assert np.allclose(ours.teacher, theirs.teacher)
