"""The table of ``certify``, as Markdown."""

from __future__ import annotations

from bench_results import certificate

from prunekit.benching.certify import Certified
from prunekit.report.certify_table import certify_table
from prunekit.report.markdown import to_markdown


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
