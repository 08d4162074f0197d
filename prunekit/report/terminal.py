"""Tables on a terminal, by rich; control characters in names are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from rich import table as rich_table
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from prunekit.console import printable
from prunekit.report.table import Table

# In a table that is too wide, labels get at most so much before the other columns have all that they want.
_NARROW_LABEL = 28


@final
@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """A table that wraps between words where it is too wide; where that is not enough, its columns come in parts.

    Words are only cut where a single column is too wide beside the labels.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> list[RenderableType]:
        whole = _rich_table(self.table)
        wanted = console.measure(whole, options=options.update(width=10_000)).maximum
        if wanted <= options.max_width:
            return [whole]
        return [
            _rich_table(part, _widths(_columns_of(part), options.max_width - _borders(part)))
            for part in _parts(self.table, options.max_width)
        ]


def to_rich(table: Table) -> RenderableType:
    """Return ``table`` for a rich console, with its notes below."""
    return Group(_Fitted(table=table), *(Text(printable(note), style="dim") for note in table.notes))


def _parts(table: Table, room: int) -> list[Table]:
    """Return ``table`` in as few parts as have room for their longest words, each with the labels and some columns."""
    count, parts = len(table.columns) - 1, [table]
    for number in range(1, count + 1):
        size = -(-count // number)
        parts = [_part(table, range(begin, min(begin + size, count + 1))) for begin in range(1, count + 1, size)]
        if all(sum(map(_longest_word, _columns_of(part))) + _borders(part) <= room for part in parts):
            break
    return parts


def _part(table: Table, columns: range) -> Table:
    chosen = (0, *columns)
    return replace(
        table,
        title=table.title if 1 in columns else "",
        columns=tuple(table.columns[index] for index in chosen),
        rows=tuple(tuple(row[index] for index in chosen) for row in table.rows),
    )


def _borders(table: Table) -> int:
    return 3 * len(table.columns) + 1


def _longest_word(texts: Sequence[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def _columns_of(table: Table) -> list[list[str]]:
    """Return the texts of every column, its head first."""
    cells = zip(*([cell.plain for cell in row] for row in table.rows), strict=True)
    heads = [column.head for column in table.columns]
    rows = list(cells) or [()] * len(heads)
    return [[printable(text) for text in (head, *texts)] for head, texts in zip(heads, rows, strict=True)]


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """Return how wide the columns may be in so much ``room``.

    Every column has room for its longest word. What is left goes to the labels first, then to the other columns. If
    not even all words fit, rich decides (None) for all columns but that of the labels.
    """
    wanted = [max(map(cell_len, texts)) for texts in columns]
    widths = [*map(_longest_word, columns)]
    left = room - sum(widths)
    if left < 0:
        return [min(_NARROW_LABEL, wanted[0]), *[None] * (len(columns) - 1)]
    limits = [(0, min(wanted[0], _NARROW_LABEL)), *enumerate(wanted[1:], 1), (0, wanted[0])]
    for index, limit in limits:
        more = min(max(limit - widths[index], 0), left)
        widths[index] += more
        left -= more
    return [*widths]


def _rich_table(table: Table, widths: Sequence[int | None] = ()) -> rich_table.Table:
    shown = rich_table.Table(title=Text(printable(table.title)) if table.title else None, title_justify="left")
    for index, column in enumerate(table.columns):
        head = Text(printable(column.head))
        width = widths[index] if widths else None
        if index:
            shown.add_column(head, justify=column.align, width=width, overflow="fold")
        else:
            shown.add_column(head, no_wrap=not widths, width=width, overflow="fold")
    for index, row in enumerate(table.rows):
        if index in table.sections:
            shown.add_section()
        shown.add_row(*(Text(printable(cell.plain)) for cell in row))
    return shown
