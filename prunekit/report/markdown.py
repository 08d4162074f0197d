"""Tables in GitHub's Markdown."""

from __future__ import annotations

from prunekit.report.table import Table


def to_markdown(table: Table) -> str:
    """Return ``table`` without its title, with its notes below; bars and line breaks in cells are escaped."""
    head = [column.head for column in table.columns]
    rows = [[cell.plain for cell in row] for row in table.rows]
    lines = [_line(head), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n\n".join(["\n".join(lines), *table.notes])


def _line(texts: list[str]) -> str:
    return f"| {' | '.join(map(_inert, texts))} |"


def _inert(text: str) -> str:
    return " ".join(text.splitlines()).replace("|", "\\|")
