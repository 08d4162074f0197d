"""Time and memory stay linear in the number of parameters (benchmarks/growth.py measures both)."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Iterator

import growth
import pytest

pytestmark = pytest.mark.xdist_group("growth")

WIDTHS = (128, 512)
MAX_BYTES_PER_PARAMETER = 56
"""The text of a weight in C takes 17.5, and it is held twice; other steps take less than half of this."""


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("growth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
        for width in (growth.SMALL, *WIDTHS):
            growth.write_files(folder, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@pytest.mark.parametrize("step", growth.STEPS)
def test_python_holds_few_bytes_per_parameter(step: str) -> None:
    make, take = growth.STEPS[step]
    take(make(growth.SMALL))
    peaks = []
    for width in WIDTHS:
        given = make(width)
        tracemalloc.start()
        take(given)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    parameters = [growth.graph_alone(width).parameter_count for width in WIDTHS]
    more = (peaks[1] - peaks[0]) / (parameters[1] - parameters[0])
    assert more < MAX_BYTES_PER_PARAMETER, f"{step}: {more:.0f} bytes per parameter"
