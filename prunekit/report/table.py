"""The table from which terminal, Markdown and HTML output are written: plain text, and values for sorting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

Align = Literal["left", "right"]


@final
@dataclass(frozen=True, kw_only=True)
class Cell:
    """The text of a cell, and the value for sorting (None has no value and comes last).

    ``detail`` is shown in brackets after the text. ``key`` is the mark that charts on the same page use for the cell's
    subject.
    """

    text: str
    value: float | str | None = None
    detail: str = ""
    key: str = ""

    @property
    def plain(self) -> str:
        """Text and detail in one line."""
        return f"{self.text} ({self.detail})" if self.detail else self.text


@final
@dataclass(frozen=True, kw_only=True)
class Column:
    """A column's name, the unit of its numbers, and its alignment."""

    name: str
    unit: str = ""
    align: Align = "right"

    @property
    def head(self) -> str:
        """Name and unit as one text."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@final
@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under columns; ``sections`` are the indices of rows that have a line above them."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    sections: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells under {len(self.columns)} columns")

    def to_json(self) -> dict[str, Any]:
        """Return plain data: the text and value of every cell."""
        return {
            "title": self.title,
            "columns": [{"name": column.name, "unit": column.unit} for column in self.columns],
            "rows": [[{"text": cell.plain, "value": cell.value} for cell in row] for row in self.rows],
            "notes": list(self.notes),
        }


def words(text: str) -> Cell:
    """Return a cell of text that is sorted by the text."""
    return Cell(text=text, value=text)


def number(value: float | None, form: str, *, absent: str = "") -> Cell:
    """Return a cell of ``value`` in the format ``form``; the text is ``absent`` if it is None."""
    return Cell(text=absent) if value is None else Cell(text=format(value, form), value=float(value))


def transposed(table: Table) -> Table:
    """Return ``table`` with rows and columns exchanged; the first column gives the names of the new columns.

    Sections and units are lost.
    """
    first, *others = table.columns
    heads = [Column(name=first.name, align="left"), *(Column(name=row[0].plain) for row in table.rows)]
    rows = [(words(column.name), *(row[index] for row in table.rows)) for index, column in enumerate(others, start=1)]
    return Table(title=table.title, columns=tuple(heads), rows=tuple(rows), notes=table.notes)


def stacked(tables: Sequence[Table]) -> Table:
    """Return the rows of ``tables``, which have the same columns, as one table with lines between them.

    The title is that of the first one. Raises ValueError if columns differ.
    """
    first = tables[0]
    if any(table.columns != first.columns for table in tables):
        raise ValueError("tables of different columns cannot be stacked")
    counts = [len(table.rows) for table in tables]
    sections = [sum(counts[:index]) for index in range(1, len(counts))]
    rows = tuple(row for table in tables for row in table.rows)
    notes = tuple(note for table in tables for note in table.notes)
    return Table(title=first.title, columns=first.columns, rows=rows, notes=notes, sections=tuple(sections))


def from_texts(head: Iterable[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Return a table of plain texts."""
    columns = tuple(Column(name=name, align="left") for name in head)
    return Table(title=title, columns=columns, rows=tuple(tuple(map(words, row)) for row in rows))
