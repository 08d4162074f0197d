"""Tables on a terminal, by rich; control characters in names are escaped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rich import table as rich_table
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from prunekit.console import printable
from prunekit.report.table import Table

_NARROW_LABEL = 28


@final
@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """A table whose labels in the first column wrap at ``_NARROW_LABEL`` if it is too wide, so file names above other
    columns need not.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> list[RenderableType]:
        whole = _rich_table(self.table, None)
        wanted = console.measure(whole, options=options.update(width=10_000)).maximum
        if wanted <= options.max_width:
            return [whole]
        labels = [self.table.columns[0].head, *(row[0].plain for row in self.table.rows)]
        return [_rich_table(self.table, min(_NARROW_LABEL, max(len(printable(label)) for label in labels)))]


def to_rich(table: Table) -> RenderableType:
    """Return ``table`` for a rich console, with its notes below."""
    return Group(_Fitted(table=table), *(Text(printable(note), style="dim") for note in table.notes))


def _rich_table(table: Table, label_width: int | None) -> rich_table.Table:
    shown = rich_table.Table(title=Text(printable(table.title)) if table.title else None, title_justify="left")
    for index, column in enumerate(table.columns):
        head = Text(printable(column.head))
        if index:
            shown.add_column(head, justify=column.align, overflow="fold")
        else:
            shown.add_column(head, no_wrap=label_width is None, width=label_width, overflow="fold")
    for index, row in enumerate(table.rows):
        if index in table.sections:
            shown.add_section()
        shown.add_row(*(Text(printable(cell.plain)) for cell in row))
    return shown
