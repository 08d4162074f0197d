"""A table on a terminal, by rich; nothing that a name holds reaches it as it is."""

from __future__ import annotations

from rich import table as rich_table
from rich.console import Group, RenderableType
from rich.text import Text

from prunekit.console import printable
from prunekit.report.table import Table


def to_rich(table: Table) -> RenderableType:
    """Return ``table`` for a rich console, its notes below it."""
    shown = rich_table.Table(title=Text(printable(table.title)) if table.title else None, title_justify="left")
    for index, column in enumerate(table.columns):
        # Where room is short the widest column gives way, often the first: names of files are not to break elsewhere.
        shown.add_column(Text(printable(column.head)), justify=column.align if index else "left", overflow="fold")
    for index, row in enumerate(table.rows):
        if index in table.sections:
            shown.add_section()
        shown.add_row(*(Text(printable(cell.plain)) for cell in row))
    return Group(shown, *(Text(printable(note), style="dim") for note in table.notes))
