"""Charts and drawings: colours of the page, text as text, and nothing left out or overlapping."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from pages import everything

from prunekit.report.charts import color_of, mark_of, plain, shape_of
from prunekit.report.network import draw_network
from prunekit.report.page import Figure
from prunekit.report.plots import Bar, Curve, Group, Level, Spot, curves, frontier, rows_of_figures

SVG = "{http://www.w3.org/2000/svg}"


def drawings(word: str) -> list[str]:
    blocks = everything(word).sections[0].blocks
    return [svg for block in blocks if isinstance(block, Figure) for svg in (block.wide, block.narrow)]


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def places(svg: str) -> dict[str, tuple[float, float]]:
    nodes = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return {"".join(node.itertext()).strip(): (float(node.get("x", 0)), float(node.get("y", 0))) for node in nodes}


def test_every_colour_is_the_page_s() -> None:
    for svg in drawings("word"):
        assert not re.search(r"#[0-9a-f]{6}\b", svg)
        names = set(re.findall(r"var\(--([a-z0-9]+)\)", svg))
        assert names - {"font"} <= {"ink", "soft", "line", "paper", "plus", "minus", *(f"c{n}" for n in range(8))}
        assert "width=" not in svg[: svg.index(">")]
        assert "<style" not in svg


def test_text_is_text_in_the_font_of_the_page_and_no_formula() -> None:
    word = "$x^2$ <b>&"
    for svg in drawings(word)[:6]:
        assert word in texts(svg)
        assert "DejaVu" not in svg


def test_letters_that_matplotlib_cannot_draw_are_left_to_the_page() -> None:
    for svg in drawings("モデル")[:6]:
        assert "モデル" in texts(svg)


def test_the_caller_s_style_has_no_effect_and_stays() -> None:
    before = drawings("word")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert drawings("word") == before
        assert mpl.rcParams["font.size"] == 30


def test_marks_are_64_different_ones() -> None:
    keys = [mark_of(number) for number in range(64)]
    assert len({(color_of(key), shape_of(key)) for key in keys}) == 64
    assert mark_of(64) == keys[0]


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "0.05"), (12.0, "12"), (1200.0, "1,200"), (2e6, "2M"), (2.5, "2.5"), (-400.0, "-400")]
)
def test_numbers_on_axes(value: float, text: str) -> None:
    assert plain(value) == text


def test_names_of_levels_that_are_close_do_not_overlap() -> None:
    groups = [Group(name="a", key="0", spots=(Spot(x=10.0, y=0.0), Spot(x=1000.0, y=100.0)))]
    levels = [Level(name="upper", y=90.0), Level(name="lower", y=88.0), Level(name="far", y=10.0)]
    figure = frontier("t", groups, levels, x_label="x", y_label="y", caption="c")
    for svg in (figure.wide, figure.narrow):
        found = places(svg)
        assert found["lower"][1] - found["upper"][1] > 8.0


def test_names_of_levels_make_way_for_marks() -> None:
    def x_of(spots: tuple[Spot, ...]) -> float:
        groups = [Group(name="a", key="0", spots=spots)]
        found = frontier("t", groups, [Level(name="level", y=50.0)], x_label="x", y_label="y", caption="c")
        (node,) = (n for n in ElementTree.fromstring(found.wide).iter(f"{SVG}text") if n.text == "level")
        x = float(node.get("x", 0))
        assert ("text-anchor: end" in node.get("style", "")) is (x > 500.0), "the name must stay inside"
        return x

    assert x_of((Spot(x=10.0, y=50.0), Spot(x=1000.0, y=0.0))) > 500.0
    assert x_of((Spot(x=10.0, y=0.0), Spot(x=1000.0, y=50.0))) < 200.0


def test_charts_hold_extreme_and_empty_data() -> None:
    same = Group(name="a", key="0", spots=(Spot(x=10.0, y=-5.0, low=-5.0, high=-5.0),))
    assert frontier("t", [same], [], x_label="x", y_label="y", caption="c").wide
    assert rows_of_figures("t", [("zero", [Bar(key="0", value=0.0)])], x_label="x", caption="c").wide
    wide = [("a", [Bar(key="0", value=0.0), Bar(key="1", value=1e-3), Bar(key="2", value=1e6)])]
    assert rows_of_figures("t", wide, x_label="x", caption="c").narrow
    assert curves("t", [("", [Curve(key="0", x=(1.0,), y=(1.0,))])], y_label="y", caption="c").wide


def lines(svg: str) -> list[dict[str, str]]:
    return [dict(node.attrib) for node in ElementTree.fromstring(svg).iter(f"{SVG}line")]


def test_a_small_network_is_drawn_whole_by_sign_and_size() -> None:
    layers = [np.array([[1.0, -0.5], [0.25, 0.0], [0.1, 0.2]], np.float32), np.array([[-2.0, 1.0, 0.5]], np.float32)]
    figure = draw_network("n", layers)
    drawn = lines(figure.wide)
    assert len(drawn) == 9
    assert "every weight" in figure.caption
    assert "2 observed values at the left, 3 hidden units, 1 output at the right" in figure.caption
    first = drawn[:6]
    assert sum("minus" in line["stroke"] for line in first) == 1
    strongest = max(first, key=lambda line: float(line["stroke-width"]))
    assert strongest == first[-1], "strong lines lie on top"
    assert "plus" in strongest["stroke"]
    assert len(list(ElementTree.fromstring(figure.wide).iter(f"{SVG}circle"))) == 2 + 3 + 1


def test_of_a_large_network_the_strongest_weights_are_drawn() -> None:
    generator = np.random.default_rng(0)
    layers = [generator.normal(size=shape).astype(np.float32) for shape in ((256, 11), (256, 256), (3, 256))]
    figure = draw_network("n", layers)
    assert 600 <= len(lines(figure.wide)) <= 700
    assert "of 69,120 weights" in figure.caption
    drawn = lines(figure.narrow)
    assert min(float(line["stroke-opacity"]) for line in drawn) > 0.5
