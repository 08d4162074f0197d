"""The examples of docs/python.md run, and give what the page says."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A reader has minutes for a search. This test has a few steps, which come to the same on a busy machine.
QUICKLY = ("minutes=2)", "steps=20_000, workers=1)")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_examples_give_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text()
    assert QUICKLY[0] in page
    source = "\n".join(BLOCK.findall(page)).replace(*QUICKLY)
    example = doctest.DocTestParser().get_doctest(source, {}, "docs/python.md", None, 0)
    assert len(example.examples) > 20
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []
    runner.run(example, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)
    shutil.rmtree(tmp_path / "runs")
