"""Pages in a real browser: nothing is asked of a network, nothing fails, nothing overflows, and all controls work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic
from browser import Browser, browser, needs_chromium
from folders_made import sweep_folder
from pages import everything
from PIL import Image

from prunekit.report.html import to_html
from prunekit.report.sweep_page import sweep_page
from prunekit.report.sweep_results import read_sweep

pytestmark = [needs_chromium, pytest.mark.xdist_group("browser")]
EVIL = "</title><script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    results = read_sweep(sweep_folder(folder / "sweep", synthetic.sweep(seeds=2)))
    long = "models/" + 30 * "a-name-without-end"
    contents = {
        "sweep": to_html(sweep_page(results)),
        "word": to_html(everything("word")),
        "long": to_html(everything(long)),
        "evil": to_html(everything(EVIL)),
    }
    for name, content in contents.items():
        (folder / f"{name}.html").write_bytes(content)
    return {name: folder / f"{name}.html" for name in contents}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["sweep", "word", "long", "evil"])
def test_a_page_is_whole_on_every_screen(
    name: str, width: int, dark: bool, tab: Browser, pages: dict[str, Path]
) -> None:
    tab.open(pages[name], width, dark=dark)
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value("document.title") != "evil"
    tab.value("new Promise(done => setTimeout(done, 300))")
    assert [url for url in tab.requests if not url.startswith("data:")] == [pages[name].absolute().as_uri()]
    assert tab.troubles == []
    drawings = "[...document.querySelectorAll('.wide, .narrow')]"
    shown = tab.value(f"{drawings}.filter(e => e.offsetWidth).map(e => e.className)")
    assert set(shown) == {"wide" if width > 640 else "narrow"}
    red, green, blue = Image.open(io.BytesIO(tab.picture())).convert("RGB").getpixel((2, 2))
    assert (max(red, green, blue) < 60) if dark else (min(red, green, blue) > 200)


def click(tab: Browser, column: int) -> None:
    tab.value(f"document.querySelectorAll('thead button')[{column}].click()")


def test_a_click_sorts_a_table_and_a_third_one_restores_it(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["word"], 1280)
    order = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[1].textContent.trim())"
    assert tab.value(order) == ["3", "-", "20", "1"]
    seen = []
    for _ in range(3):
        click(tab, 1)
        sort = tab.value("document.querySelectorAll('thead th')[1].getAttribute('aria-sort')")
        seen.append((sort, tab.value(order)))
    assert seen == [
        ("descending", ["20", "3", "1", "-"]),
        ("ascending", ["1", "3", "20", "-"]),
        (None, ["3", "-", "20", "1"]),
    ]
    click(tab, 0)
    assert tab.value(order) == ["-", "20", "3", "1"]
    assert tab.value("document.querySelectorAll('thead th')[1].getAttribute('aria-sort')") is None


def grey(tab: Browser, index: int) -> int:
    """Return the colour in the middle of a screen."""
    box = tab.value(
        f"(() => {{ const s = document.querySelectorAll('.screen')[{index}]; s.scrollIntoView(); "
        "const b = s.getBoundingClientRect(); return [b.x + b.width / 2 + scrollX, b.y + b.height / 2 + scrollY]; })()"
    )
    return int(Image.open(io.BytesIO(tab.picture())).convert("L").getpixel((int(box[0]), int(box[1]))))


def test_episodes_play_side_by_side_and_can_be_moved_through(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["word"], 1280)
    slider = "document.querySelector('.controls input')"
    for frame, (left, scores) in {0: (0, ["0.0", "0.0"]), 1: (40, ["1.0", "7.0"]), 4: (160, ["4.0", "7.0"])}.items():
        tab.value(f"{slider}.value = {frame}; {slider}.dispatchEvent(new Event('input'))")
        assert grey(tab, 0) == pytest.approx(left, abs=4)
        assert tab.value("[...document.querySelectorAll('output')].map(e => e.textContent)") == scores
    over = tab.value("[...document.querySelectorAll('.screen')].map(e => e.classList.contains('over'))")
    assert over == [False, True]
    button = "document.querySelector('.controls button')"
    tab.value(f"{button}.click()")
    assert tab.value(f"{button}.textContent") == "Pause"
    tab.value("new Promise(done => setTimeout(done, 1600))")  # to the end, the pause there, and on
    tab.value(f"{button}.click()")
    assert tab.value(f"{button}.textContent") == "Play"


def test_motion_begins_by_itself_unless_the_reader_wants_none(tab: Browser, pages: dict[str, Path]) -> None:
    label = "document.querySelector('.controls button').textContent"
    for wanted, shown in (("no-preference", "Pause"), ("reduce", "Play")):
        tab.open(pages["word"], 1280)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": wanted}])
        tab.reload()
        tab.value("document.querySelector('.player').scrollIntoView()")
        tab.value("new Promise(done => setTimeout(done, 500))")
        assert tab.value(label) == shown
