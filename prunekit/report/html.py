"""A page as one self-contained HTML file: no network, no fonts, no other files."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from prunekit.console import printable
from prunekit.report.page import Clip, Page

_FOLDER = Path(__file__).parent / "templates"


def to_html(page: Page) -> bytes:
    """Return ``page`` as UTF-8. All text is escaped, and only the page's own script can run."""
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
            script=Markup(script),
            digest=digest,
            drawing=_drawings(),
        )
    )
    return text.encode("utf-8", "backslashreplace")


def _drawings() -> Callable[[str], Markup]:
    """Return a function that inserts SVG with unique ids, so drawings on a page do not interfere."""
    numbers = itertools.count()

    def put(svg: str) -> Markup:
        prefix = f"d{next(numbers)}-"
        return Markup(re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}", svg))

    return put


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.filters["data"] = _data
    return environment


def _finalized(value: object) -> object:
    """Escape control characters and bidirectional marks in all text that is not markup."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _data(clip: Clip) -> Markup:
    return Markup(f"data:image/webp;base64,{base64.b64encode(clip.sheet).decode()}")
