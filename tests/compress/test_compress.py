"""From a teacher to a certified network, in an environment of thirty steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import points
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.compression.candidates import Baseline
from prunekit.compression.picture import draw
from prunekit.compression.result import Compressed
from prunekit.compression.run import compress, write
from prunekit.compression.settings import FIRST_SEED, CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.compression.teacher import Teacher
from prunekit.compression.trial import best_of
from prunekit.compression.workers import WorkerPool
from prunekit.environments import Spaces, make_environment
from prunekit.errors import InputError
from prunekit.export.onnx import read_metadata
from prunekit.policy.artifact import load
from prunekit.rollouts import episode_return
from prunekit.stats.betting import Paired
from prunekit.stats.certificate import Verdict

pytestmark = pytest.mark.xdist_group("compress")

SEARCH = SearchSettings(
    starts=((), (8,), (12, 12)),
    first_steps=600,
    steps=300,
    lesson_steps=300,
    teacher_episodes=20,
    selection_episodes=15,
)
SETTINGS = CompressSettings(search=SEARCH, episodes=300)
DICE = np.random.default_rng(0)


def compressed(
    env_id: str, respond: Any, settings: CompressSettings = SETTINGS, workers: int = 1, engine: str | None = None
) -> Compressed:
    return compress(
        Task(env_id=env_id, teacher_of=partial(teacher_of, respond=respond)), settings, workers=workers, engine=engine
    )


def teacher_of(spaces: Spaces, respond: Any) -> Teacher:
    return Teacher(name="the controller", spaces=spaces, respond=respond)


@pytest.fixture(scope="module")
def steered() -> Compressed:
    return compressed(points.CONTINUOUS, points.steer)


def test_a_simple_controller_becomes_a_tiny_network(steered: Compressed) -> None:
    result = steered
    assert result.certified
    assert result.chosen.parameters <= 10
    bound = result.certificate.lower_bound
    assert bound is not None
    assert bound >= 0.95


def test_discrete_actions_of_a_teacher_that_tells_only_its_choice() -> None:
    result = compressed(points.DISCRETE, points.push)
    assert result.certified
    assert result.chosen.parameters < 60


def test_nothing_is_searched_that_could_not_be_smaller(steered: Compressed) -> None:
    assert steered.points[0].hidden == ()
    assert steered.points[0].good
    assert len(steered.points) <= 2  # nothing has fewer weights than the linear network, which is good at once


def test_selection_and_certificate_use_different_seeds(steered: Compressed) -> None:
    result = steered
    assert max(result.certificate.seeds) < FIRST_SEED
    searches = [replace(SEARCH, seed=number) for number in range(1000)]
    searched = [seed for one in searches for seed in (*one.selection_seeds, *one.confirmation_seeds)]
    assert min(searched) > FIRST_SEED
    assert len(set(searched)) == len(searched)
    with pytest.raises(InputError, match="first_seed"):
        CompressSettings(first_seed=FIRST_SEED)


def test_the_files_hold_policy_and_certificate(steered: Compressed, tmp_path: Path) -> None:
    result = steered
    onnx, pt, card, certificate = write(result, tmp_path)
    assert card == tmp_path / "README.md"
    data = json.loads(certificate.read_text())
    assert data["certified"] is True
    assert data["certificate"]["seeds"] == list(result.certificate.seeds)
    assert data["certificate"]["returns"]["small"] == pytest.approx(result.certificate.episodes.small, abs=1e-4)
    assert data["certificate"]["lower_bound"] == result.certificate.lower_bound
    for metadata in (read_metadata(onnx.read_bytes()), load(pt).provenance):
        assert metadata["certificate"] == data["certificate"]
        assert metadata["env"] == {"id": points.CONTINUOUS, "kwargs": {}}
    session = onnxruntime.InferenceSession(onnx)

    def act(observation: Any) -> Any:
        return session.run(["action"], {"obs": observation[None]})[0][0]

    seeds = result.certificate.seeds[:10]
    again = [episode_return(make_environment(points.CONTINUOUS), act, seed) for seed in seeds]
    assert again == pytest.approx(result.certificate.episodes.small[:10], abs=1e-4)


def test_a_title_that_is_no_text_can_stand_over_a_picture(steered: Compressed, tmp_path: Path) -> None:
    for path in draw(steered, "bad\udcff.pt", tmp_path):
        assert path.stat().st_size > 1_000


def test_the_same_seed_gives_the_same_network() -> None:
    settings = replace(SETTINGS, search=replace(SEARCH, starts=((8,),)))
    first, second = (compressed(points.CONTINUOUS, points.steer, settings) for _ in range(2))
    assert [point.parameters for point in first.points] == [point.parameters for point in second.points]
    assert first.certificate.episodes.small.tolist() == second.certificate.episodes.small.tolist()


def test_with_steps_workers_find_what_one_finds_whatever_the_batches(tmp_path: Path) -> None:
    """Fine-tuning included, and where a budget of steps ends it early."""
    search = replace(SEARCH, starts=((6,), (12,)), first_steps=60, steps=20, refinements=0, recoveries=0)
    settings = CompressSettings(
        search=replace(search, lesson_steps=20, teacher_episodes=5, tuning_steps=2048, tuning_warmup=2048),
        episodes=60,
        steps=16_000,
        seconds=1e-3,
    )
    task = Task(env_id=f"points:{points.CONTINUOUS}", teacher_of=partial(teacher_of, respond=points.steer))
    one, two, single = (
        compress(task, settings, workers=workers, max_batch=batch) for workers, batch in ((1, 16), (2, 16), (1, 1))
    )
    assert any(point.tuned for point in one.points)
    assert one.to_json() == two.to_json() == single.to_json()
    contents = [[path.read_bytes() for path in write(result, tmp_path)] for result in (one, two, single)]
    assert contents[0] == contents[1] == contents[2]


def test_a_budget_of_steps_ends_the_search() -> None:
    settings = replace(SETTINGS, search=replace(SEARCH, starts=((8,), (12, 12))))
    few, many = (compressed(points.DISCRETE, points.push, replace(settings, steps=steps)) for steps in (2_000, 60_000))
    assert len(few.points) < len(many.points)
    with pytest.raises(InputError, match="`steps` must be at least 1, got 0"):
        CompressSettings(steps=0)
    with pytest.raises(InputError, match="`steps` must be at most 1,000,000,000,000"):
        CompressSettings(steps=10**5_000)


def test_a_student_that_learned_nothing_is_not_certified() -> None:
    search = replace(SEARCH, starts=((8,),), first_steps=1, refinements=0, recoveries=0, tuning=False)
    result = compressed(points.CONTINUOUS, points.steer, replace(SETTINGS, search=search))
    assert not result.certified
    assert result.certificate.verdict is Verdict.BELOW
    assert len(result.points) == 1
    assert "no network was shown to be good enough to be certified at 0.95" in result.failure
    assert result.failure.endswith("; give it more `minutes` or a lower `keep`")


def test_without_time_the_best_so_far_is_what_comes_out() -> None:
    result = compressed(points.CONTINUOUS, points.steer, replace(SETTINGS, seconds=1e-3))
    assert [point.hidden for point in result.points] == [SEARCH.starts[0]]
    assert result.certificate.verdict is Verdict.UNDECIDED
    assert len(result.certificate.episodes) == 1
    assert "in 1 fresh episode, too few for a lower bound; give it more `minutes`" in result.failure
    good = replace(result, points=(replace(result.points[0], retention=1.0),))
    assert "lower `keep`" not in good.failure, "time was short, and nothing else"


def test_a_file_elsewhere_on_the_machine_is_named_without_its_folders(steered: Compressed) -> None:
    for name, published in (("/home/somebody/agent.zip", "agent.zip"), ("runs/agent.zip", "runs/agent.zip")):
        found = replace(steered, teacher=replace(steered.teacher, name=name))
        assert found.to_json()["teacher"]["name"] == published
        assert "somebody" not in str(found.provenance)


@pytest.mark.parametrize(
    ("env_id", "respond"),
    [
        (points.CONTINUOUS, lambda seen: -points.steer(seen)),
        (points.POINTLESS, points.steer),
        (points.CONTINUOUS, lambda seen: np.sin(1e6 * seen[:, :1].astype(np.float64))),
    ],
    ids=["worse", "no spread", "random"],
)
def test_a_teacher_no_better_than_random(env_id: str, respond: Any) -> None:
    with pytest.raises(InputError, match=r"the controller: earns .* not clearly more than the random policy's"):
        compressed(env_id, respond)


def test_a_teacher_that_draws_its_answer() -> None:
    with pytest.raises(InputError, match="the controller: gives different answers to the same observation"):
        compressed(points.CONTINUOUS, lambda seen: DICE.uniform(-1.0, 1.0, (len(seen), 1)))


def test_a_teacher_that_answers_nan() -> None:
    with pytest.raises(InputError, match=r"the controller: the answer to observation .* is not finite"):
        compressed(points.CONTINUOUS, lambda seen: np.full((len(seen), 1), np.nan))


@pytest.mark.parametrize(("changes", "words"), [({"keep": 1.2}, "`keep`"), ({"seed": -1}, "`seed`")])
def test_settings_out_of_range(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(SEARCH, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"episodes": 10}, "`episodes` must be at least 20"),
        ({"episodes": 2 * 10**9}, "`episodes` must be at most 498500000"),
        ({"seconds": 0.0}, "`minutes`"),
    ],
)
def test_too_little_for_a_certificate(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        CompressSettings(**changes)


def test_a_busy_machine_is_named(steered: Compressed) -> None:
    cut_short = replace(steered, certificate=replace(steered.certificate, verdict=Verdict.UNDECIDED), core_share=0.43)
    assert "a worker had only 43% of a core" in cut_short.busy
    assert replace(cut_short, is_timed=False).busy == "", "no clock has a say"
    assert replace(cut_short, core_share=0.97).busy == ""
    assert cut_short.failure.endswith("fresh episodes; give it more `minutes`")


def test_what_was_undecided_at_the_limit_of_episodes_needs_more_of_them(steered: Compressed) -> None:
    undecided = replace(steered, certificate=replace(steered.certificate, verdict=Verdict.UNDECIDED))
    at_limit = replace(undecided, episodes_allowed=len(steered.certificate.episodes), own_copy_wanted=1.0)
    assert at_limit.failure.endswith("fresh episodes; give it more `episodes`")


def test_failures_beyond_their_limit_are_named(steered: Compressed) -> None:
    entry = steered.certificate
    crashed = entry.episodes.small.copy()
    crashed[:3] = -1e6
    claim = replace(entry.claim, max_failures=0.01)
    limited = replace(
        entry,
        claim=claim,
        verdict=Verdict.UNDECIDED,
        episodes=replace(entry.episodes, small=crashed),
    )
    words = f"and 3 of its episodes earned less than {claim.clip_range.low:g}"
    assert words in replace(steered, certificate=limited).failure


def test_the_share_of_a_core_is_that_of_the_work(steered: Compressed) -> None:
    assert 0.0 < steered.core_share <= 1.1
    with WorkerPool(Task(env_id=points.CONTINUOUS, teacher_of=partial(teacher_of, respond=points.steer)), 1) as pool:
        assert pool.core_share == 1.0
        waiting = pool.returns_of("random")
        play = pool.worker.play

        def slow(*given: Any, **named: Any) -> Any:
            time.sleep(0.2)
            return play(*given, **named)

        pool.worker.play = slow  # type: ignore[method-assign]
        waiting(0)
        assert pool.core_share < 0.5


def test_the_range_is_that_of_teacher_and_random_policy_in_the_selection(steered: Compressed) -> None:
    before = steered.chosen.played
    clip_range = steered.certificate.claim.clip_range
    assert clip_range.low < min(before.teacher.min(), before.random.min())
    assert clip_range.high > max(before.teacher.max(), before.random.max())


def test_best_is_not_one_lucky_episode(steered: Compressed) -> None:
    many = next(point for point in steered.points if len(point.played) >= 10)
    single = Paired(small=many.played.small[:1], teacher=many.played.teacher[:1], random=many.played.random[:1])
    few = replace(many, played=single, retention=1.3)
    baseline = Baseline(teacher=many.played.teacher, random=many.played.random)
    assert best_of([few, many], baseline) is many
    assert best_of([few], baseline) is few


def test_best_is_not_a_lucky_handful(steered: Compressed) -> None:
    some = steered.points[0]
    baseline = Baseline(teacher=np.full(80, 100.0), random=np.zeros(80))
    uneven = np.tile([60.0, 110.0, 110.0, 110.0], 20)
    handful, whole = (replace(some, played=baseline.paired(list(uneven[:count]))) for count in (8, 80))
    better = replace(some, played=baseline.paired(list(uneven + 1.0)))
    assert best_of([handful, whole], baseline) is whole
    assert best_of([whole, better], baseline) is better


def test_of_equally_good_networks_the_smallest_is_best(steered: Compressed) -> None:
    some = steered.points[0]
    small, large = replace(some, parameters=10), replace(some, parameters=100)
    baseline = Baseline(teacher=some.played.teacher, random=some.played.random)
    assert best_of([large, small], baseline) is best_of([small, large], baseline) is small


@given(keep=st.floats(0.0, 1.0, exclude_min=True))
def test_what_keeps_everything_is_good_enough_whatever_is_to_be_kept(keep: float) -> None:
    search = SearchSettings(keep=keep)
    assert keep <= search.enough <= search.safe <= 1.0
    assert search.enough < 1.0 or keep > 0.999
    if keep <= 0.95:
        assert (search.enough, search.safe) == pytest.approx((keep + search.margin, keep + search.safety))


@pytest.mark.parametrize("name", ["first_steps", "teacher_episodes", "selection_episodes"])
def test_a_search_of_nothing(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        replace(SEARCH, **{name: 0})
    with pytest.raises(InputError, match="confirmation_episodes must be at least 0"):
        SearchSettings(confirmation_episodes=-1)
    with pytest.raises(InputError, match="starts"):
        SearchSettings(starts=())


WITH_WORKERS = """
import signal, sys, time
from functools import partial
import points, test_compress
from prunekit.compression.task import Task
from prunekit.compression.workers import WorkerPool
signal.signal(signal.SIGHUP, lambda *_: None)
teacher_of = partial(test_compress.teacher_of, respond=points.steer)
with WorkerPool(Task(env_id=points.CONTINUOUS, teacher_of=teacher_of), 2) as crew:
    crew.returns_of("teacher")(0)
    print(*(worker.process.pid for worker in crew._executor._workers), flush=True)
    sys.stdin.readline()
    print(crew.returns_of("teacher")(1), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see whether a process is running")
def test_workers_end_with_the_main_process_and_not_with_the_terminal() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    main = subprocess.Popen(
        [sys.executable, "-c", WITH_WORKERS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )
    assert main.stdin is not None
    assert main.stdout is not None
    workers = main.stdout.readline().split()
    assert len(workers) == 2
    os.killpg(main.pid, signal.SIGHUP)  # as from a terminal that closes
    main.stdin.write("\n")
    main.stdin.flush()
    assert float(main.stdout.readline())
    assert all(running(worker) for worker in workers)
    main.kill()
    main.communicate()
    until = time.monotonic() + 20.0
    while any(running(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(running(worker) for worker in workers)


def running(worker: str) -> bool:
    stat = Path(f"/proc/{worker}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
