"""The page of a compression: its result, its certificate, and every network that was judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunekit.benching.models import BenchModel, read_model
from prunekit.console import size_name
from prunekit.environments import make_environment
from prunekit.report.certificates import shown_certificate
from prunekit.report.network import draw_network
from prunekit.report.page import Block, CertificateBlock, Figure, Headline, Note, Page, Section, TableBlock
from prunekit.report.plots import Group, Level, Spot, frontier
from prunekit.report.reading import at_least, by_name, read_json, real, sentence
from prunekit.report.rollouts import Actors, clips_of
from prunekit.report.table import Cell, Column, Table, number, words
from prunekit.report.weights import layers_of
from prunekit.training.schema import flag, list_of, or_none, text, whole

NAME = "certificate.json"
_ALONE = "With --original POLICY it is shown next to the policy that it was made from."
_COUNT = whole(0, 10**15)
_HIDDEN = list_of(_COUNT, 64)
_CERTIFICATE = at_least(
    {
        "size": text,
        "verdict": text,
        "claim": sentence,
        "keep": real,
        "retention": or_none(real),
        "lower_bound": or_none(real),
        "below_range": at_least({"upper_bound": real}),
        "episodes": _COUNT,
    }
)
_POINT = at_least(
    {
        "hidden": _HIDDEN,
        "parameters": _COUNT,
        "episodes": _COUNT,
        "retention": real,
        "good": flag,
        "tuned": flag,
        "tuning_steps": _COUNT,
    }
)
_RESULT = at_least(
    {
        "env": at_least({"id": text}),
        "teacher": at_least(
            {"name": sentence, "size": or_none(at_least({"hidden": or_none(_HIDDEN), "parameters": _COUNT}))}
        ),
        "certified": flag,
        "hidden": _HIDDEN,
        "parameters": _COUNT,
        "certificate": _CERTIFICATE,
        "tested": list_of(_CERTIFICATE, 10_000),
        "frontier": list_of(_POINT, 10_000),
        "seconds": or_none(real),  # none with a budget of steps
    },
    {
        "failures": list_of(sentence, 10_000),
        "versions": by_name(text, or_none(text)),
        "environment_steps": _COUNT,
        "learned_in": or_none(at_least({"library": text, "version": text, "environment": text, "steps": _COUNT})),
    },
)


def compress_page(folder: Path, original: Path | None = None, env_id: str | None = None) -> Page:
    """Return the page of the compression in ``folder``; ``original`` is a policy to show next to the compact one.

    Raises ArtifactError, naming the file, for files that ``compress`` would not write.
    """
    found = read_json(folder / NAME, _RESULT)
    sections = [
        Section(title="Certificates", blocks=tuple(_certificates(found)), lead="Every size tested on fresh episodes."),
        Section(title="The search", blocks=(_frontier(found), TableBlock(table=_points_table(found)))),
        *policy_sections(folder / "policy.pt", original, env_id, _ALONE),
    ]
    failures = found.get("failures", [])
    if failures:
        notes = tuple(Note(text=failure, warning=True) for failure in failures)
        sections.append(Section(title="What failed on the way", blocks=notes))
    versions = ", ".join(f"{name} {version}" for name, version in found.get("versions", {}).items() if version)
    took = "" if found["seconds"] is None else f" in {found['seconds']:,.0f} s"
    return Page(
        title=f"{found['env']['id']}: {'a certified compact policy' if found['certified'] else 'a compression'}",
        subtitle=f"A network that imitates {found['teacher']['name']}, found and tested{took}.",
        headlines=_headlines(found),
        sections=tuple(sections),
        facts=(("teacher", found["teacher"]["name"]), *_learned(found.get("learned_in")), ("versions", versions)),
    )


def _learned(told: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return where students learned and were selected; empty if that was the environment itself."""
    if told is None:
        return ()
    where = f"{told['library']} {told['version']}, {told['environment']}, {told['steps']:,} steps"
    return (("learned and selected in", f"{where}; certified in the environment itself"),)


def policy_sections(path: Path, original: Path | None, env_id: str | None, alone: str = "") -> list[Section]:
    """Return the policy at ``path`` in an episode, next to ``original`` if given, and a drawing of its weights.

    ``alone`` is the text to show without an original. Empty if there is no file at ``path``. Raises ArtifactError,
    naming the file, if it cannot be read, and UnusableEnvironmentError for ``env_id``.
    """
    if not path.is_file():
        return []
    models = [read_model(entry) for entry in (original, path) if entry is not None]
    layers = layers_of(models[-1])
    drawn: Block = Note(text=f"{path.name} is not a plain chain of linear layers, and is not drawn.")
    if layers is not None:
        drawn = draw_network(path.name, layers)
    lead = "The same episode by the original and by the compact policy." if original is not None else alone
    return [
        Section(title="In motion", lead=lead, blocks=_motion(models, env_id)),
        Section(title="The network", blocks=(drawn,)),
    ]


def _motion(models: Sequence[BenchModel], env_id: str | None) -> tuple[Block, ...]:
    last = models[-1]
    named = last.environment if env_id is None else (env_id, last.arguments_of(env_id) or {})
    if env_id is not None and named is not None:
        make_environment(*named).close()  # a file that the user names must exist, even if it cannot be drawn
    if named is None:
        return (Note(text=f"{last.path.name} names no environment; give one with --env to see it act."),)
    names = tuple(model.path.name for model in models)
    keys = ("0", "1")[: len(models)]
    paths = tuple(model.path for model in models)
    played = clips_of(Actors(paths=paths, names=names, keys=keys, env_id=named[0], kwargs=named[1], seed=10_000))
    return (played,)


def _headlines(found: dict[str, Any]) -> tuple[Headline, ...]:
    size, entry = found["teacher"]["size"], found["certificate"]
    whole, before = "", ""
    if size is not None:
        whole = f"of {size['parameters']:,} in the teacher"
        before = "" if size["hidden"] is None else f"of {size_name(tuple(size['hidden']))}"
    kept = "not known" if entry["retention"] is None else f"{entry['retention']:.3f}"
    verdict = "certified" if found["certified"] else "not certified"
    return (
        Headline(name="parameters", value=f"{found['parameters']:,}", detail=whole),
        Headline(name="hidden units", value=size_name(tuple(found["hidden"])), detail=before),
        Headline(name="retention of return", value=kept, detail=f"in {entry['episodes']:,} fresh episodes"),
        Headline(name=f"to keep {entry['keep']:g}", value=verdict, detail="with 95% confidence"),
    )


def _certificates(found: dict[str, Any]) -> list[CertificateBlock]:
    """Return the certificate of the policy first, then those of other networks that were tested."""
    chosen = found["certificate"]
    others = [entry for entry in found["tested"] if entry["size"] != chosen["size"]]
    return [
        shown_certificate(
            entry["size"] if entry["size"] == "linear" else f"hidden {entry['size']}",
            certified=entry["verdict"] == "certified",
            sentence=entry["claim"],
            keep=entry["keep"],
            retention=entry["retention"],
            lower_bound=entry["lower_bound"],
            episodes=entry["episodes"],
            below=entry["below_range"]["upper_bound"],
        )
        for entry in (chosen, *others)
    ]


def _frontier(found: dict[str, Any]) -> Figure:
    chosen, size = found["certificate"], found["teacher"]["size"]
    groups = []
    if size is not None:
        groups.append(Group(name="teacher", key="0", spots=(Spot(x=float(size["parameters"]), y=1.0),)))
    kept = chosen["retention"] or 0.0
    low = None if chosen["lower_bound"] is None else min(chosen["lower_bound"], kept)
    spot = Spot(x=float(found["parameters"]), y=kept, low=low, high=None if low is None else kept)
    groups.append(Group(name="the policy, on fresh episodes", key="1", spots=(spot,)))
    for good, name, key in ((True, "good enough in the search", "2"), (False, "not good enough", "7")):
        points = [entry for entry in found["frontier"] if entry["good"] is good]
        dots = tuple((float(entry["parameters"]), max(entry["retention"], 0.0)) for entry in points)
        if dots:
            groups.append(Group(name=name, key=key, spots=(), dots=dots))
    return frontier(
        "Every network that was judged",
        groups,
        [Level(name=f"to keep: {chosen['keep']:g}", y=chosen["keep"])],
        x_label="parameters stored, logarithmic",
        y_label="retention of the teacher's return",
        caption="Faint: networks of the search, judged on the episodes of the selection, which prove nothing; values "
        "below zero are drawn at zero. The policy's line ends at its lower bound, which holds with 95% confidence.",
    )


def _points_table(found: dict[str, Any]) -> Table:
    rows = [
        (
            Cell(text=size_name(tuple(entry["hidden"])), value=float(sum(entry["hidden"]))),
            number(entry["parameters"], ",.0f"),
            number(entry["retention"], ".3f"),
            words("yes" if entry["good"] else "no"),
            number(entry["episodes"], ",.0f"),
            words("imitation, rewards" if entry["tuned"] else "imitation"),
            number(entry["tuning_steps"], ",.0f"),
        )
        for entry in sorted(found["frontier"], key=lambda entry: -entry["parameters"])
    ]
    columns = (
        Column(name="hidden units", align="left"),
        Column(name="parameters"),
        Column(name="retention"),
        Column(name="good enough"),
        Column(name="episodes"),
        Column(name="learned by"),
        Column(name="steps of fine-tuning"),
    )
    return Table(title="Networks of the search", columns=columns, rows=tuple(rows))
