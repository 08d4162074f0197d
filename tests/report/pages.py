"""A page with one of everything, for tests, its words given."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from prunekit.report.network import draw_network
from prunekit.report.page import (
    CertificateBlock,
    Clip,
    ClipsBlock,
    Headline,
    Mark,
    Note,
    Page,
    Section,
    TableBlock,
)
from prunekit.report.plots import Bar, Curve, Group, Level, Spot, curves, frontier, rows_of_figures
from prunekit.report.table import Cell, Column, Table

FRAMES = 5


def sheet() -> bytes:
    """Return five frames of different grey in rows of two, as WebP."""
    image = Image.new("RGB", (64, 96))
    for index in range(FRAMES):
        grey = 40 * index
        image.paste((grey, grey, grey), (index % 2 * 32, index // 2 * 32, index % 2 * 32 + 32, index // 2 * 32 + 32))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def table_of(word: str) -> Table:
    """Return a table whose second column is out of order and has a cell without a value."""
    values = (3.0, None, 20.0, 1.0)
    rows = tuple(
        (
            Cell(text=f"{word} {name}", value=f"{word} {name}", key=str(index), detail=word),
            Cell(text="-" if value is None else f"{value:g}", value=value),
        )
        for index, (name, value) in enumerate(zip("cabd", values, strict=True))
    )
    columns = (Column(name=word, align="left"), Column(name="size", unit=word))
    return Table(title=word, columns=columns, rows=rows, notes=(word,))


def everything(word: str) -> Page:
    """Return the page; ``word`` stands wherever text can stand."""
    layers = [np.ones((3, 4), np.float32), -np.ones((2, 3), np.float32)]
    groups = [
        Group(name=word, key="0", spots=(Spot(x=10.0, y=5.0, low=4.0, high=6.0),), dots=((9.0, 5.5), (11.0, 4.5)))
    ]
    lines = [Curve(key="1", x=(0.0, 10.0), y=(5.0, 3.0)), Curve(key="1", x=(0.0, 10.0), y=(5.0, 4.0), faint=True)]
    bars = [Bar(key="0", value=1.0, upper=3.0), Bar(key="1", value=200.0)]
    legend = [Mark(name=word, key="9")]
    clip = Clip(
        name=word, key="0", sheet=sheet(), columns=2, rows=3, width=32, height=32,
        returns=tuple(float(index) for index in range(FRAMES)), outcome=word,
    )  # fmt: skip
    short = Clip(
        name=word, key="1", sheet=sheet(), columns=2, rows=3, width=32, height=32, returns=(0.0, 7.0), outcome=word
    )
    blocks = (
        frontier(word, groups, [Level(name=word, y=1.0)], x_label=word, y_label=word, caption=word),
        curves(word, [(word, lines), (word, lines)], y_label=word, caption=word, legend=legend, steps=10.0),
        rows_of_figures(word, [(word, bars), (word, bars[:1])], x_label=word, caption=word, legend=legend),
        draw_network(word, layers),
        TableBlock(table=table_of(word)),
        Note(text=word),
        Note(text=word, warning=True),
        CertificateBlock(name=word, good=True, verdict=word, sentence=word, figures=((word, word),)),
        CertificateBlock(name=word, good=False, verdict=word, sentence=word, figures=()),
        ClipsBlock(clips=(clip, short), fps=50.0, caption=word),
    )
    return Page(
        title=word,
        subtitle=word,
        headlines=(Headline(name=word, value=word, detail=word),),
        sections=(Section(title=word, lead=word, blocks=blocks),),
        facts=((word, word),),
    )
