"""The page of ``bench --report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunekit.benching.result import BenchResult
from prunekit.console import size_name
from prunekit.errors import ArtifactError
from prunekit.report.bench_costs import cost_section, model_block
from prunekit.report.bench_tables import (
    disturbance_table,
    random_of,
    retention_table,
    short_names,
    sizes_table,
)
from prunekit.report.certificates import certificate_block
from prunekit.report.charts import mark_of
from prunekit.report.network import draw_network
from prunekit.report.page import Block, Headline, Mark, Note, Page, Section
from prunekit.report.plots import Group, Level, Spot, frontier
from prunekit.report.rollouts import Actors, chosen_for_clips, clips_of
from prunekit.report.run_folder import progress_of
from prunekit.report.training_figures import training_figures
from prunekit.report.weights import layers_of


def bench_page(result: BenchResult, env_id: str | None = None) -> Page:
    """Return the page of ``result``; ``env_id`` is the environment as the user gave it, possibly with its module.

    To show episodes, the reference and other models each play one in a separate process.
    """
    names = short_names([model.path for model in result.models])
    legend = tuple(Mark(name=name, key=mark_of(index)) for index, name in enumerate(names))
    sections = [
        _size_section(result, legend),
        *_certificates(result, names),
        cost_section(result, legend),
        *_training(result),
        *_motion(result, legend, env_id),
        _networks(result, names),
    ]
    title = "Latency and memory" if result.environment is None else result.environment[0]
    return Page(
        title=f"{title}: {len(names)} policies compared" if len(names) > 1 else title,
        subtitle=_subtitle(result),
        headlines=_headlines(result),
        sections=tuple(sections),
        facts=host_facts_of(result.host),
    )


def host_facts_of(host: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the machine, date and versions of a result as (name, value)."""
    names = {"date": "date", "cpu": "processor", "cores": "cores", "system": "system"}
    facts = [(told, str(host[key])) for key, told in names.items() if key in host]
    versions = host.get("versions", {})
    return (*facts, ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))


def _subtitle(result: BenchResult) -> str:
    first = next(iter(result.devices[0]))
    if result.environment is None:
        return f"Sizes and cost of exported policies. {random_of(result)}"
    count = len(result.devices[0][first].returns)
    return (
        f"Sizes, returns and cost of exported policies. Returns on {first} are over {count:,} deterministic episodes, "
        f"with the same seeds for every policy, from {result.settings.first_seed:,}. {random_of(result)}"
    )


def _headlines(result: BenchResult) -> tuple[Headline, ...]:
    if len(result.models) < 2:
        return ()
    first, last = result.models[0], result.models[-1]
    kept, found = result.retentions[-1], result.certificates[-1]
    lines = [
        Headline(name="parameters", value=f"{last.parameters:,}", detail=f"of {first.parameters:,} in the reference"),
        Headline(name="hidden units", value=size_name(last.hidden), detail=f"of {size_name(first.hidden)}"),
    ]
    if kept.estimate is not None:
        detail = "in one episode" if kept.ci95 is None else f"{kept.ci95[0]:.3f} to {kept.ci95[1]:.3f}"
        lines.append(Headline(name="retention of return", value=f"{kept.estimate:.3f}", detail=detail))
    if found is not None:
        shown = "certified" if found.certified else "not shown"
        lines.append(Headline(name=f"to keep {found.claim.keep:g}", value=shown, detail="with 95% confidence"))
    return tuple(lines)


def _size_section(result: BenchResult, legend: Sequence[Mark]) -> Section:
    device = next(iter(result.devices[0]))
    groups = []
    for model, measured, mark in zip(result.models, result.devices, legend, strict=True):
        entry = measured[device]
        low, high = entry.ci95 or (None, None)
        spots = (Spot(x=float(model.parameters), y=entry.mean, low=low, high=high),) if entry.returns else ()
        groups.append(Group(name=mark.name, key=mark.key, spots=spots))
    levels = [Level(name="random policy", y=sum(result.random) / len(result.random))] if result.random else []
    blocks: list[Block] = []
    if any(group.spots for group in groups):
        blocks.append(
            frontier(
                "Parameters against return",
                groups,
                levels,
                x_label="parameters stored, logarithmic",
                y_label="mean return",
                caption=f"Mean return on {device} with its 95% bootstrap interval over episodes. Up and to the left is "
                "better. The interval describes these episodes; it says nothing of other training seeds.",
            )
        )
    blocks.append(model_block(sizes_table(result), legend))
    if result.environment is not None:
        blocks.append(model_block(retention_table(result), legend))
    under = disturbance_table(result)
    if under is not None:
        blocks.append(model_block(under, legend))
    return Section(title="Size and return", blocks=tuple(blocks))


def _certificates(result: BenchResult, names: Sequence[str]) -> list[Section]:
    blocks = tuple(
        certificate_block(found, name)
        for found, name in zip(result.certificates, names, strict=True)
        if found is not None
    )
    if not blocks:
        return []
    lead = "Each policy against the reference; the test holds for every distribution of returns."
    return [Section(title="Certificates", lead=lead, blocks=blocks)]


def _training(result: BenchResult) -> list[Section]:
    """Return the training curves of the models in the folder of a run."""
    folders = list(dict.fromkeys(model.path.parent for model in result.models))
    blocks: list[Block] = []
    for folder in folders:
        try:
            found = progress_of(folder)
        except ArtifactError as error:  # no measurement depends on it
            blocks.append(Note(text=str(error), warning=True))
            continue
        if found is not None:
            blocks += training_figures(found, f"{folder.name}: " if len(folders) > 1 else "")
    lead = "Read from metrics.csv next to the models."
    return [Section(title="Training", lead=lead, blocks=tuple(blocks))] if blocks else []


def _motion(result: BenchResult, legend: Sequence[Mark], env_id: str | None) -> list[Section]:
    if result.environment is None:
        return []
    chosen = chosen_for_clips(len(result.models))
    actors = Actors(
        paths=tuple(result.models[index].path for index in chosen),
        names=tuple(legend[index].name for index in chosen),
        keys=tuple(legend[index].key for index in chosen),
        env_id=env_id or result.environment[0],
        kwargs=result.environment[1],
        seed=result.settings.first_seed,
    )
    lead = "The same episode by the reference and by the others, as the exported files act."
    return [Section(title="In motion", lead=lead, blocks=(clips_of(actors),))]


def _networks(result: BenchResult, names: Sequence[str]) -> Section:
    """Return a drawing of the smallest network; larger ones would be unreadable."""
    order = sorted(range(len(result.models)), key=lambda index: result.models[index].parameters)
    layers = layers_of(result.models[order[0]])
    name = Path(names[order[0]]).as_posix()
    if layers is None:
        block: Block = Note(text=f"{name} is not a plain chain of linear layers, and is not drawn.")
    else:
        block = draw_network(name, layers)
    return Section(title="The smallest network", blocks=(block,))
