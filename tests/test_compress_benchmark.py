"""The benchmark of the search: what counts as done, what it took, and which search it was."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import record
from compress import interleaved
from compressing.collecting import (
    collect_published,
    collect_runs,
    collect_speed,
    found_or_committed,
    in_short,
    made_again,
    minutes_apart,
    open_of,
    smallest_not_shown,
)
from compressing.measuring import run_measured
from compressing.runs import Asked, Search, carry_out, entry_of, is_of, put_aside, search_in
from highlights import held_out_sentences
from search_notes import is_earlier, not_run, others, searches
from search_tables import (
    held_out_table,
    parts_table,
    published_compressions_table,
    speed_table,
)

PRESENT = Search(digest="present", commit="bbb2222", after_failure="new")
EARLIER = Search(digest="earlier", commit="aaa1111", after_failure="new")
VERSIONS = dict.fromkeys(("gymnasium", "mujoco", "stable-baselines3", "torch", "onnxruntime"), "1")
HEAD = {
    "command": "python benchmarks/compress.py", "date": "2026-01-01", "versions": VERSIONS, "keep": 0.95, "cores": 2,
    "search": {"digest": "present", "commit": "bbb2222"}, "held_out_environments": ["Swimmer-v5", "Ant-v5"],
}  # fmt: skip
MACHINE = {"wall_seconds": 60.0, "cpu_seconds": 90.0, "others_cores": 0.1}


def certificate(parameters: int = 20, certified: bool = True) -> dict[str, Any]:
    tested = {
        "size": "4",
        "verdict": "certified",
        "retention": 0.98,
        "lower_bound": 0.95,
        "episodes": 3,
        "selection": [1.0],
    }
    frontier = [
        {"hidden": [units], "parameters": count, "retention": 0.97, "episodes": 80, "good": good}
        for units, count, good in ((64, 300, True), (3, 15, True), (2, 10, False))
    ]
    return {
        "teacher": {"name": "/far/away/dlr/Swimmer-v3.zip", "size": {"hidden": [64, 64], "parameters": 4866}},
        "certified": certified, "hidden": [4], "parameters": parameters, "tuned": False, "certificate": {},
        "tested": [{**tested, "returns": {name: [1.0, 2.0, 3.0] for name in ("small", "dense", "random")}}],
        "frontier": frontier, "failures": ["/far/away/dlr/Swimmer-v3.zip failed"], "seconds": 60.0, "core_share": 0.5,
        "environment_steps": 7, "versions": VERSIONS,
    }  # fmt: skip


def asked(folder: Path, search: Search = PRESENT, **others: Any) -> Asked:
    return Asked(env_id="Swimmer-v5", seed=1, teacher=Path("/far/away/zip"), folder=folder, search=search, **others)


def done(folder: Path, search: Search, minutes: float = 5.0) -> Asked:
    found = asked(folder, search, minutes=minutes)
    folder.mkdir(parents=True)
    beginning = {"env": "Swimmer-v5", "seed": 1, "minutes": minutes, "search": vars_of(search), "begun": "2026-01-01"}
    (folder / "asked.json").write_text(json.dumps(beginning))
    (folder / "measured.json").write_text(json.dumps(MACHINE))
    (folder / "certificate.json").write_text(json.dumps(certificate()))
    return found


def vars_of(search: Search) -> dict[str, Any]:
    return asdict(search)


def entry(folder: Path, search: Search = PRESENT) -> dict[str, Any]:
    found = entry_of(done(folder, search))
    assert found is not None
    return found


def test_a_search_is_its_code_and_not_its_words(tmp_path: Path) -> None:
    file = tmp_path / "prunekit" / "compression" / "search.py"
    file.parent.mkdir(parents=True)
    digests = []
    for text in (
        "def f() -> int:\n    return 1\n",
        '"""Words."""\ndef f() -> int:\n    """Too."""\n    return 1  # one\n',
    ):
        file.write_text(text)
        digests.append(search_in(tmp_path).digest)
    file.write_text("def f() -> int:\n    return 2\n")
    changed = search_in(tmp_path).digest
    assert digests[0] == digests[1] != changed
    file.with_name("result.py").write_text("SHOWN = True\n")
    assert search_in(tmp_path).digest == changed, "what is shown decides nothing"


def test_what_is_tested_after_a_failure_has_a_digest_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "prunekit" / "compression" / "confirm.py"
    file.parent.mkdir(parents=True)
    found = []
    for number, other in ((1, 1), (2, 1), (1, 2)):
        file.write_text(f"def dependable() -> int:\n    return {number}\n\n\ndef g() -> int:\n    return {other}\n")
        found.append(search_in(tmp_path))
    assert found[0].digest == found[1].digest != found[2].digest
    assert found[0].after_failure == found[2].after_failure != found[1].after_failure


@pytest.mark.parametrize(
    ("verdicts", "counts"), [(["certified"], True), (["undecided", "certified"], False), (["undecided"], True)]
)
def test_runs_without_a_failed_first_test_count_whatever_comes_after_one(
    tmp_path: Path, verdicts: list[str], counts: bool
) -> None:
    found = entry(tmp_path / "run")
    found["tested"] = [{"verdict": one} for one in verdicts]
    assert is_of(found, asked(tmp_path / "run"))
    known = {**found, "search": {"digest": "present", "commit": "bbb2222", "after_failure": "old"}}
    assert is_of(known, asked(tmp_path / "run")) == counts
    assert not is_of({**known, "tested": [{"verdict": "undecided"}] * 2}, asked(tmp_path / "run"))
    del known["tested"]
    assert not is_of(known, asked(tmp_path / "run"))


def test_an_entry_names_no_place_of_the_machine(tmp_path: Path) -> None:
    found = entry(tmp_path / "run")
    assert "/far" not in json.dumps(found)
    assert found["teacher"]["name"] == "dlr/trpo/Swimmer-v3_1/Swimmer-v3.zip"
    assert "selection" not in found["tested"][0]
    assert found["machine"] == MACHINE


def test_only_the_same_search_in_the_same_minutes_is_done(tmp_path: Path) -> None:
    found = entry(tmp_path / "run")
    assert is_of(found, asked(tmp_path / "run"))
    assert not is_of(found, asked(tmp_path / "run", EARLIER))
    assert not is_of(found, asked(tmp_path / "run", minutes=0.3))
    assert not is_of({name: value for name, value in found.items() if name != "search"}, asked(tmp_path / "run"))
    assert carry_out(asked(tmp_path / "run")) == ""  # nothing is run


def test_a_run_of_another_search_is_put_aside_and_one_that_was_cut_off_is_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        done(tmp_path / "run", EARLIER)
        put_aside(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "earlier").iterdir()) == ["run-earlier-0", "run-earlier-1"]
    (tmp_path / "run").mkdir()
    put_aside(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("own", [PRESENT, EARLIER, None])
@pytest.mark.parametrize("committed", [PRESENT, EARLIER, None])
def test_results_are_of_the_present_search_where_there_are_any(
    tmp_path: Path, own: Search | None, committed: Search | None
) -> None:
    if own is not None:
        done(tmp_path / "run", own)
    known = [] if committed is None else [{**entry(tmp_path / "other", committed), "committed": True}]
    found = found_or_committed(asked(tmp_path / "run"), known)
    if own is None and committed is None:
        assert found is None
        return
    assert found is not None
    assert (found["search"]["digest"] == "present") == (PRESENT in (own, committed))
    assert ("committed" in found) == (own is None or (own is EARLIER and committed is PRESENT))


def test_what_is_committed_is_not_done_again(tmp_path: Path) -> None:
    known = entry(tmp_path / "other")
    wanted = asked(tmp_path / "run")
    assert open_of([wanted], [known]) == []
    assert open_of([wanted], []) == [wanted]
    assert open_of([wanted], [{**known, "search": vars_of(EARLIER)}]) == [wanted]
    assert open_of([wanted], [{**known, "seed": 2}]) == [wanted]


def test_runs_that_were_made_again_stay_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done(tmp_path / "run", PRESENT)
    put_aside(tmp_path / "run")
    (found,) = made_again([asked(tmp_path / "run")], PRESENT)
    assert (found["parameters"], [one["size"] for one in found["tested"]]) == (20, ["4"])
    (found,) = made_again([replace(asked(tmp_path / "run"), called="ppo/X.zip")], PRESENT)
    assert found["file"] == "ppo/X.zip"
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    done(tmp_path / "other", PRESENT)
    put_aside(tmp_path / "other")
    for folder, count in (("run", 1), ("run", 1), ("lost", 1), ("other", 2)):
        collect_runs([replace(asked(tmp_path / folder), called=f"ppo/{folder}.zip")], PRESENT)
        assert len(json.loads((tmp_path / "compress.json").read_text())["made_again"]) == count
    assert made_again([asked(tmp_path / "run")], EARLIER) == []


def test_tables_name_runs_that_a_change_after_a_failure_affects(tmp_path: Path) -> None:
    run = entry(tmp_path / "run", replace(PRESENT, after_failure="old"))
    result = {"search": vars_of(PRESENT)}
    assert not is_earlier(result, run)
    assert not is_earlier(result, in_short(run))
    run["tested"] = [{**run["tested"][0], "size": "3", "verdict": "undecided"}, *run["tested"]]
    assert is_earlier(result, run)
    assert is_earlier(result, in_short(run))


def test_a_committed_half_of_a_pair_stands_beside_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    former, present = asked(tmp_path / "former", EARLIER), asked(tmp_path / "present")
    halves = {name: in_short(entry(tmp_path / f"{name} once", EARLIER)) for name in ("former", "present")}
    pair = {"env": "Swimmer-v5", "seed": 1, "minutes_apart": 0.0, **halves}
    (tmp_path / "compress_speed.json").write_text(json.dumps({"pairs": [pair]}))
    done(tmp_path / "present", PRESENT)
    path = collect_speed([(former, present)], PRESENT)
    assert path is not None
    found = json.loads(path.read_text())
    assert found["missing"] == []
    assert [found["pairs"][0][name]["search"]["digest"] for name in ("former", "present")] == ["earlier", "present"]


def test_trials_in_other_minutes_are_no_results(tmp_path: Path) -> None:
    done(tmp_path / "run", PRESENT, minutes=0.3)
    assert found_or_committed(asked(tmp_path / "run"), []) is None


def test_what_was_found_and_not_shown() -> None:
    assert smallest_not_shown(certificate()) == {"hidden": [3], "parameters": 15, "retention": 0.97, "episodes": 80}
    assert smallest_not_shown(certificate(parameters=15)) is None
    nothing = smallest_not_shown(certificate(parameters=15, certified=False))
    assert nothing is not None
    assert nothing["hidden"] == [3]


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are counted on Linux alone")
def test_the_time_of_all_processes_counts(tmp_path: Path) -> None:
    work = "t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    orphan = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', '''import time\n{work}'''])"
    waited = (
        f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', '''import time\n{work}'''])\nsys.exit(3)"
    )
    for program, code in ((orphan, 0), (waited, 3)):
        found, took = run_measured([sys.executable, "-c", program], tmp_path / "log", tmp_path)
        assert found == code
        assert took["cpu_seconds"] is not None
        assert 0.3 <= took["cpu_seconds"] < 5.0


def test_tables_name_earlier_searches_and_what_is_missing(tmp_path: Path) -> None:
    runs = [entry(tmp_path / "a"), {**entry(tmp_path / "b", EARLIER), "seed": 2, "certified": False}]
    result = {**HEAD, "missing": ["Ant-v5-seed0", "Ant-v5-seed1 (no teacher)", "CartPole-v1-seed0"], "held_out": runs}
    text = held_out_table(result)
    assert "| Swimmer-v5, 1 | 4 | 20 |" in text
    assert "Other programs kept at most 0.1 cores busy at the same time." in text
    assert "| Swimmer-v5, 2 (earlier search) | 4 | 20 |" in text
    assert "| yes, 3 | 3 (15) |" in text
    assert "| no, 3 | 3 (15) |" in text
    assert "From an earlier version of the search (aaa1111): Swimmer-v5 seed 2." in text
    assert "Not run yet: Ant-v5 seeds 0, 1 (no teacher)." in text
    assert searches(result, runs[:1]) == " All runs are from one version of the search (commit bbb2222)."
    assert searches(result, runs[1:]) == " All runs are from an earlier version of the search (aaa1111)."
    assert not_run([]) == ""
    assert not_run([f"Ant-v5-seed{seed}" for seed in range(13)]) == " Not run yet: 13 runs."


def test_tables_name_every_commit_of_one_search_and_say_when_nothing_else_ran(tmp_path: Path) -> None:
    run = entry(tmp_path / "a")
    moved = {**run, "search": {**run["search"], "commit": "ccc3333"}, "machine": {**MACHINE, "others_cores": 0.04}}
    assert searches(HEAD, [run, moved]) == (
        " All runs are from one version of the search (commits bbb2222 and ccc3333, whose differences do not affect "
        "these runs)."
    )
    assert others([moved]) == " No other program used a core at the same time."


def test_ratios_are_medians_of_present_over_former(tmp_path: Path) -> None:
    former = in_short(entry(tmp_path / "a", EARLIER))
    present = in_short(entry(tmp_path / "b"))
    pairs = [
        {
            "env": "Swimmer-v5", "seed": seed, "minutes_apart": apart, "former": former,
            "present": {**present, "parameters": size, "machine": {"wall_seconds": wall, "cpu_seconds": 45.0}},
        }
        for seed, (wall, size, apart) in enumerate([(6.0, 10, 1.0), (30.0, 20, 1.0), (600.0, 40, 60.0)])
    ]  # fmt: skip
    text = speed_table({**HEAD, "former": {"commit": "aaa1111"}, "missing": [], "pairs": pairs})
    assert "| all, median |  |  |  | **0.50** | **0.50** | **1.00** |" in text
    assert "The two runs of 1 of the 3 pairs were not made one after the other, and perhaps not on" in text
    assert "larger" not in text
    for pair in pairs:
        pair["present"]["parameters"] = 23
    text = speed_table({**HEAD, "former": {"commit": "aaa1111"}, "missing": [], "pairs": pairs})
    assert "The present search is faster everywhere, but finds larger networks on Swimmer-v5." in text


def test_published_files_are_certified_or_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = replace(done(tmp_path / "a", PRESENT), called="dlr/sac/Swimmer-v3_1/Swimmer-v3.zip")
    refused = replace(asked(tmp_path / "b"), called="dlr/a2c/Ant-v3_1/Ant-v3.zip", env_id="Ant-v5")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "measured.json").write_text(json.dumps(MACHINE))
    (tmp_path / "b" / "log").write_text("...\nprunekit: /far/away/zip: earns 3.0, not more than random\n")
    missing = replace(asked(tmp_path / "c"), called="dlr/ppo/Ant-v3_1/Ant-v3.zip")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    assert collect_published([missing], PRESENT) is None
    path = collect_published([compressed, refused, missing], PRESENT)
    assert path is not None
    text = published_compressions_table(json.loads(path.read_text()))
    assert "| sac, Swimmer-v5 | 2.0 | 4,866 | 20 (4) | 0.980 | 0.950 | 1.0 | yes, 3 |" in text
    assert "| a2c, Ant-v5 |  |  |  |  |  |  | prunekit: Ant-v5: earns 3.0, not more than random |" in text
    assert "1 of 1 certified, seed 1." in text
    assert "Not run yet: 1 file." in text
    assert "/far" not in path.read_text()


def test_runs_one_after_the_other_are_no_minutes_apart() -> None:
    first = {"begun": "2026-01-01T00:00:00Z", "machine": MACHINE}
    second = {"begun": "2026-01-01T00:02:00Z", "machine": MACHINE}
    assert minutes_apart(first, second) == minutes_apart(second, first) == 1.0
    assert minutes_apart(first, None) is minutes_apart({**first, "machine": None}, second) is None


def test_parts_stand_beside_all_of_it(tmp_path: Path) -> None:
    run = in_short(entry(tmp_path / "a"))
    runs = [{**run, "without": ""}, {**run, "without": "fine-tuning", "certified": False}]
    text = parts_table({**HEAD, "missing": ["Ant-v5-seed0"], "runs": runs})
    assert "| all of it | 1 of 1 | 20 | 1.0 min |" in text
    assert "| without fine-tuning | 0 of 1 | - | 1.0 min |" in text
    assert "Not run yet: 1 runs." in text
    assert in_short(runs[1]) == {**run, "certified": False}


def test_pairs_are_made_again_unless_one_was_made_after_the_other(tmp_path: Path) -> None:
    former, present = done(tmp_path / "former", EARLIER), done(tmp_path / "present", PRESENT)
    assert interleaved([(former, present)] * 2, again=True) == [former, present, present, former]
    assert entry_of(former) is not None
    for pair in ((former, present), (replace(former, search=PRESENT), present)):
        assert interleaved([pair], again=False) == list(pair)
    assert entry_of(former) is not None
    interleaved([(replace(former, search=PRESENT), present)], again=True)
    assert entry_of(former) is entry_of(present) is None


def test_what_is_asked_of_the_program(tmp_path: Path) -> None:
    plain = asked(tmp_path / "run").command
    assert plain[1:5] == ["-P", "-m", "prunekit", "compress"]
    assert plain[-6:] == ["--keep", "0.95", "--minutes", "5.0", "--out", str(tmp_path / "run")]
    ablated = replace(asked(tmp_path / "run"), settings='{"refinements": 0}').command
    assert ablated[2].endswith("ablated.py")
    assert ablated[3:5] == ["--settings", '{"refinements": 0}']


def test_held_out_environments_that_stay_large_or_uncertified_are_named() -> None:
    def run(env: str, parameters: int, certified: bool = True) -> dict[str, Any]:
        return {
            "env": env, "parameters": parameters, "certified": certified, "teacher": {"size": {"parameters": 1_000}}
        }  # fmt: skip

    small = [run("Swimmer-v5", 18), run("Swimmer-v5", 20), run("Ant-v5", 122)]
    text = held_out_sentences(small)
    assert text.startswith("Certified results on 2 held-out environments have 18 to 122 parameters. [The table]")
    text = held_out_sentences([*small, run("Hard-v3", 940), run("Hard-v3", 900, False)])
    assert "have 18 to 122 parameters. On Hard-v3 at most 6% of the parameters could be removed." in text
    text = held_out_sentences([*small, run("Hard-v3", 940, False)])
    assert "have 18 to 122 parameters. On Hard-v3 nothing was certified." in text
