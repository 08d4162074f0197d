"""A table on a terminal, by rich; nothing that a name holds reaches it as it is."""

from __future__ import annotations

from rich import table as rich_table
from rich.console import Group, RenderableType
from rich.text import Text

from prunekit.console import printable
from prunekit.report.table import Table

_WIDEST_LABEL = 28


def to_rich(table: Table) -> RenderableType:
    """Return ``table`` for a rich console, its notes below it."""
    shown = rich_table.Table(title=Text(printable(table.title)) if table.title else None, title_justify="left")
    for index, column in enumerate(table.columns):
        labels = [column.head, *(row[index].plain for row in table.rows)]
        shown.add_column(
            Text(printable(column.head)),
            justify=column.align if index else "left",
            overflow="fold",
            # The first column gives way to the others, so that names of files in them do not break, but not all of it.
            min_width=None if index else min(_WIDEST_LABEL, max(map(len, labels))),
        )
    for index, row in enumerate(table.rows):
        if index in table.sections:
            shown.add_section()
        shown.add_row(*(Text(printable(cell.plain)) for cell in row))
    return Group(shown, *(Text(printable(note), style="dim") for note in table.notes))
