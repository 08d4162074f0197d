"""The parts of a page, which ``html.py`` writes. All text is untrusted and plain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

from prunekit.report.table import Table


@final
@dataclass(frozen=True, kw_only=True)
class Mark:
    """An entry of a legend: the mark ``key`` (a number, which gives shape and colour) stands for ``name``."""

    name: str
    key: str


@final
@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing in two widths, as trusted SVG, with its ``title`` and an explaining ``caption``."""

    title: str
    wide: str
    narrow: str
    caption: str
    legend: tuple[Mark, ...] = ()
    kind: Literal["figure"] = "figure"


@final
@dataclass(frozen=True, kw_only=True)
class TableBlock:
    """A table that the reader can sort."""

    table: Table
    kind: Literal["table"] = "table"


@final
@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence; warnings are highlighted."""

    text: str
    warning: bool = False
    kind: Literal["note"] = "note"


@final
@dataclass(frozen=True, kw_only=True)
class CertificateBlock:
    """A certificate: its verdict in a word, its claim in a sentence, and figures as (name, value)."""

    name: str
    good: bool
    verdict: str
    sentence: str
    figures: tuple[tuple[str, str], ...]
    kind: Literal["certificate"] = "certificate"


@final
@dataclass(frozen=True, kw_only=True)
class Clip:
    """An episode as a sheet of frames (WebP, ``columns`` per row), with the return up to each frame."""

    name: str
    key: str
    sheet: bytes
    columns: int
    rows: int
    width: int
    height: int
    returns: tuple[float, ...]
    outcome: str

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.returns)


@final
@dataclass(frozen=True, kw_only=True)
class ClipsBlock:
    """Episodes shown next to each other, at ``fps`` frames per second."""

    clips: tuple[Clip, ...]
    fps: float
    caption: str
    kind: Literal["clips"] = "clips"


Block = Figure | TableBlock | Note | CertificateBlock | ClipsBlock


@final
@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a page; ``lead`` introduces it."""

    title: str
    blocks: tuple[Block, ...]
    lead: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Headline:
    """A figure at the top of the page: its name, its value, and what to compare it with."""

    name: str
    value: str
    detail: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole page. ``facts`` at its end say how the results were made."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    headlines: tuple[Headline, ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())

    @property
    def tables(self) -> list[Table]:
        """All tables, in their order."""
        return [block.table for section in self.sections for block in section.blocks if isinstance(block, TableBlock)]
