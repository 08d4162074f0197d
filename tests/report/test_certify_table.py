"""The table of ``certify``, as Markdown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench_results import certificate

from prunekit.benching.certify import Certified
from prunekit.disturbances.ladder import Rung
from prunekit.disturbances.record import Disturbance
from prunekit.report.certify_table import (
    certify_table,
    frailty,
    ladder_json,
    ladder_sentence,
    ladder_table,
)
from prunekit.report.markdown import to_markdown
from prunekit.stats.betting import Paired


def test_every_bound_is_named() -> None:
    shown = certificate(100.0, 200)
    found = Certified(small="small.onnx", teacher="agent.zip", form="float32", certificate=shown, seconds=1.0)
    lines = to_markdown(certify_table(found)).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    names, rows = [row[0] for row in cells if row], {row[0]: row[1:] for row in cells if row}
    assert len(set(names)) == len(names)
    assert rows["lower bound of the retention"][0] == f"{shown.lower_bound:.3f}"
    assert rows["upper bound of the retention"][0] == "no bound"
    assert rows["failed, below -10"] == [f"0 of {len(shown.episodes)}"] * 2 + [""]
    assert rows["upper bound of their share"] == [f"{shown.failed.upper:.1%}"] * 2 + [""]
    assert rows["lower bound of this mean"][0] == f"{shown.worst.lower_bound:.2f}"
    assert float(rows["lower bound of the clipped mean"][0]) < float(rows["mean return, clipped to [-10, 110]"][0])


def earning(small: float, teacher: float, noise: float = 0.0, **facts: object) -> Certified:
    episodes = Paired(small=np.full(40, small), teacher=np.full(40, teacher), random=np.full(40, -200.0))
    shown = certificate(100.0, 200)
    claim = replace(shown.claim, under=Disturbance(observation_noise=noise).condition)
    shown = replace(shown, episodes=episodes, claim=claim)
    return Certified(small="s.onnx", teacher="t.zip", form="float32", certificate=shown, seconds=1.0, facts=dict(facts))


def ladder(*levels: tuple[float, float, float]) -> list[Rung[Certified]]:
    return [
        Rung(disturbance=Disturbance(observation_noise=noise), found=earning(small, teacher, noise))
        for noise, small, teacher in levels
    ]


def test_a_ladder_tells_what_the_teacher_itself_keeps() -> None:
    rungs = ladder((0.0, -110.0, -110.0), (0.1, -120.0, -125.0), (0.5, -179.5, -192.1))
    lines = to_markdown(ladder_table(rungs)).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    assert [row[3] for row in rows if "certified" in row[-1]] == ["1.000", "0.833", "0.088"]
    assert rows[-1][-1] == "certified, 40 episodes"
    sentence = ladder_sentence(rungs)
    assert sentence.endswith(
        "Under observation noise 0.5 the teacher itself keeps only 0.088 of its gain, so a comparison with it "
        "does not show that the policy is robust there."
    )
    assert "itself" not in ladder_sentence(rungs[:2])
    beyond = ladder_sentence(rungs[:2], Disturbance(observation_noise=2.0))
    assert "noise 0.1; under observation noise 2 the teacher earns no more than the random policy (95%" in beyond
    assert ladder_json(rungs)["levels"][2]["teacher_share"] == pytest.approx(7.9 / 90.0)
    assert ladder_json(ladder((0.0, -200.0, -200.0)))["levels"][0]["teacher_share"] is None


def test_a_single_disturbance_is_told_to_break_the_teacher_where_its_own_returns_are_known() -> None:
    note = "Under observation noise 0.5 the teacher itself keeps only 0.088 of its gain"
    assert frailty(earning(-179.5, -192.1, 0.5, undisturbed_teacher=[-110.0] * 20)).startswith(note)
    assert frailty(earning(-120.0, -125.0, 0.5, undisturbed_teacher=[-110.0] * 20)) == ""
    assert frailty(earning(-179.5, -192.1, 0.5)) == ""
