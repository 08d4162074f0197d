"""``prunekit report``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.options import JsonOption, QuietOption
from prunekit.console import say, write_json


def report(
    folder: Annotated[Path, typer.Argument(help="Folder that sweep, compress or train wrote.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write; report.html in the folder by default.")] = None,
    original: Annotated[
        Path | None, typer.Option(help="Folder of compress: the original policy, to play next to the compact one.")
    ] = None,
    env: Annotated[str | None, typer.Option(help="Environment to play in, if your own module registers it.")] = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the results in a folder as one HTML file that needs no network."""
    from prunekit.files import require_file, write_atomically
    from prunekit.lazy import require

    for package in ("matplotlib", "jinja2", "PIL"):
        require(package, "a report")
    from prunekit.outputs import require_apart, require_not_foreign
    from prunekit.readers.normalizers import files_beside
    from prunekit.report.folders import files_in, page_of
    from prunekit.report.html import to_html

    read = files_in(folder)
    if original is not None:
        require_file(original)
        read += [original, *files_beside(original)]
    target = out or folder / "report.html"
    if folder.is_dir():
        require_apart(read, [target], json_file)
        require_not_foreign([] if out is not None else [target])
    console = Console(quiet=quiet)
    with console.status("drawing the report"):
        page = page_of(folder, original, env)
        content = to_html(page)
        write_atomically(target, content)
    tables = [table.to_json() for table in page.tables]
    write_json(json_file, {"report": str(target), "title": page.title, "tables": tables})
    say(console, target, f"{page.title}, {len(content) / 1024:,.0f} KiB")
