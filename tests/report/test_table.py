"""One table model, three forms: what stands in a cell is the same on a terminal, in Markdown and in HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from prunekit.report.html import to_html
from prunekit.report.markdown import to_markdown
from prunekit.report.page import Page, Section, TableBlock
from prunekit.report.table import Cell, Column, Table, from_texts, number, stacked, transposed, words
from prunekit.report.terminal import to_rich

PLAIN = st.text("abcdefghij", min_size=1, max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw tables whose cells are all different, so that a cell in the wrong place shows."""
    wide, high = draw(st.integers(2, 4)), draw(st.integers(1, 4))
    texts = draw(st.lists(PLAIN, min_size=wide * (high + 1), max_size=wide * (high + 1), unique=True))
    heads, cells = texts[:wide], texts[wide:]
    columns = tuple(Column(name=name, align="left" if index == 0 else "right") for index, name in enumerate(heads))
    rows = tuple(tuple(map(words, cells[index * wide : (index + 1) * wide])) for index in range(high))
    return Table(title="t", columns=columns, rows=rows)


def texts_of(table: Table) -> list[list[str]]:
    return [[column.head for column in table.columns], *([cell.plain for cell in row] for row in table.rows)]


class Cells(HTMLParser):
    """The texts of the first table's cells, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def page_with(*found: Table) -> Page:
    return Page(
        title="p", subtitle="s", sections=(Section(title="x", blocks=tuple(TableBlock(table=t) for t in found)),)
    )


def in_html(table: Table) -> list[list[str]]:
    parser = Cells()
    parser.feed(to_html(page_with(table)).decode())
    return [[" ".join(cell.split()) for cell in row] for row in parser.rows]


def in_terminal(table: Table) -> list[list[str]]:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(to_rich(table))
    lines = [line.replace("┃", "│") for line in capture.get().splitlines()]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def in_markdown(table: Table) -> list[list[str]]:
    head, _, *rows = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (head, *rows)]


@given(tables())
def test_a_cell_says_the_same_everywhere(table: Table) -> None:
    expected = texts_of(table)
    assert in_terminal(table) == expected
    assert in_markdown(table) == expected
    assert in_html(table) == expected


@given(tables())
def test_transposing_twice_changes_nothing(table: Table) -> None:
    once = transposed(table)
    assert [row[0].text for row in once.rows] == [column.name for column in table.columns[1:]]
    assert once.rows[0][1] == table.rows[0][1]
    assert texts_of(transposed(once)) == texts_of(table)


@given(tables())
def test_stacked_tables_keep_their_rows_and_have_a_line_between_them(table: Table) -> None:
    whole = stacked([table, table, table])
    assert whole.rows == 3 * table.rows
    assert whole.sections == (len(table.rows), 2 * len(table.rows))
    assert whole.columns == table.columns


def test_tables_of_different_columns_are_not_stacked() -> None:
    with pytest.raises(ValueError, match="different columns"):
        stacked([from_texts(["a"], []), from_texts(["b"], [])])


def test_a_row_has_a_cell_per_column() -> None:
    with pytest.raises(ValueError, match="2 cells under 1 columns"):
        Table(title="", columns=(Column(name="a"),), rows=((words("x"), words("y")),))


def test_details_and_units_are_written_out() -> None:
    cell = Cell(text="4.6 us", value=4.6, detail="1.5x less")
    table = Table(title="", columns=(Column(name="time", unit="us"),), rows=((cell,),), notes=("a note",))
    assert in_terminal(table)[1] == ["4.6 us (1.5x less)"]
    assert to_markdown(table) == "| time (us) |\n| --- |\n| 4.6 us (1.5x less) |\n\na note"
    assert in_html(table) == [["time us"], ["4.6 us 1.5x less"]]
    assert table.to_json()["rows"] == [[{"text": "4.6 us (1.5x less)", "value": 4.6}]]


def test_a_number_that_is_not_known_has_no_value() -> None:
    assert number(None, ".1f", absent="-") == Cell(text="-", value=None)
    assert number(1234.56, ",.1f") == Cell(text="1,234.6", value=1234.56)


def test_bars_and_line_ends_break_no_table_in_markdown() -> None:
    text = to_markdown(from_texts(["a|b"], [["c|d\ne\u2028f"]]))
    assert text.splitlines() == ["| a\\|b |", "| --- |", "| c\\|d e f |"]


def test_names_of_files_are_whole_where_the_first_column_can_give_way() -> None:
    columns = (Column(name=""), *(Column(name=name) for name in ("policy.onnx", "Pendulum-v1.zip", "random policy")))
    label = words("mean return, clipped to [-1940, 180]")
    table = Table(title="", columns=columns, rows=((label, words("1"), words("2"), words("3")),))
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(to_rich(table))
    text = capture.get()
    assert all(name in text for name in ("policy.onnx", "Pendulum-v1.zip", "random policy"))
    assert max(map(len, text.splitlines())) <= 80


def test_words_are_whole_where_they_fit() -> None:
    columns = [Column(name=name) for name in ("disturbance", "compact.onnx", "dense.pt", "retention, at least", "")]
    row = (words("observation noise 0.01"), words("500.00"), words("500.00"), words("0.950"), words("certified"))
    table = Table(title="", columns=tuple(columns), rows=(row,))
    for width, whole in ((120, True), (80, True), (66, True), (65, True), (30, True), (29, False)):
        console = Console(width=width, color_system=None)
        with console.capture() as capture:
            console.print(to_rich(table))
        lines = capture.get().splitlines()
        assert max(map(len, lines)) <= width
        found = {word for line in lines for word in re.split(r"[ │┃]+", line)}
        expected = {"observation", "noise", "0.01", "retention,", "certified", "compact.onnx"}
        assert (expected <= found) is whole


def test_columns_that_do_not_fit_come_in_parts_with_the_labels() -> None:
    columns = (Column(name=""), *(Column(name=f"policy-{number}") for number in range(5)))
    rows = [(words(label), *(words(f"{label}-{number}") for number in range(5))) for label in ("parameters", "return")]
    table = Table(title="the title", columns=columns, rows=tuple(rows), notes=("a note",), sections=(1,))
    console = Console(width=60, color_system=None)
    with console.capture() as capture:
        console.print(to_rich(table))
    lines = [line.strip() for line in capture.get().splitlines()]
    assert max(map(len, lines)) <= 60
    cells = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if line[:1] in "│┃" and line]
    assert cells == [
        ["", "policy-0", "policy-1", "policy-2"],
        ["parameters", "parameters-0", "parameters-1", "parameters-2"],
        ["return", "return-0", "return-1", "return-2"],
        ["", "policy-3", "policy-4"],
        ["parameters", "parameters-3", "parameters-4"],
        ["return", "return-3", "return-4"],
    ]
    assert [line for line in lines if line[:1].isalpha()] == ["the title", "a note"]
    assert sum(line.startswith("├") for line in lines) == 2


def test_a_table_without_rows_is_narrow_too() -> None:
    table = Table(title="", columns=tuple(Column(name="longest name") for _ in range(4)), rows=())
    console = Console(width=40, color_system=None)
    with console.capture() as capture:
        console.print(to_rich(table))
    assert max(map(len, capture.get().splitlines())) <= 40


def test_nothing_hostile_reaches_the_terminal() -> None:
    evil = "\x1b[31m[red]\u202e"
    table = Table(title=evil, columns=(Column(name=evil),), rows=((words(evil),),), notes=(evil,))
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(to_rich(table))
    assert capture.get().count("\\x1b[31m[red]\\u202e") == 4
    assert "\x1b" not in capture.get()
