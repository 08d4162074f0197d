"""The page of a training run."""

from __future__ import annotations

from pathlib import Path

from prunekit.console import widths
from prunekit.errors import InputError
from prunekit.report.compress_page import policy_sections
from prunekit.report.page import Headline, Note, Page, Section
from prunekit.report.run_folder import METRICS, progress_of
from prunekit.report.training_figures import training_figures
from prunekit.training.config import check_config, read_config

NAME = "config.json"


def training_page(folder: Path, env_id: str | None = None) -> Page:
    """Return the page of the run in ``folder``, which may still be running.

    Raises ArtifactError, naming the file, for files that ``train`` would not write.
    """
    config = read_config(folder)
    check_config(config, folder / NAME)
    found = progress_of(folder)
    if found is None:
        raise InputError(f"{folder}: the run has no {METRICS} yet; wait for its first record")
    ended = (folder / "model.pt").is_file()
    part = {name: living for name, living in found.living.items() if not name.startswith("critic.")}
    before = tuple(config["hidden"])
    now = tuple(living[-1] for living in part.values()) or before
    returns = [value for value in found.returns if value is not None]
    headlines = [Headline(name="hidden units", value=widths(now), detail=f"of {widths(before)}")]
    if returns:
        headlines.append(Headline(name="return in training", value=f"{returns[-1]:,.1f}", detail="at the last record"))
    headlines.append(
        Headline(name="steps", value=f"{found.steps[-1]:,}", detail=f"of {config['steps']:,}, {found.seconds:,.0f} s")
    )
    blocks = tuple(training_figures(found))
    sections = [Section(title="Training", blocks=blocks or (Note(text="No episode has ended yet."),))]
    if not ended:
        sections[0] = Section(title="Training", lead="The run has not ended.", blocks=sections[0].blocks)
    sections += policy_sections(folder / "model.pt", None, env_id)
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items() if version)
    return Page(
        title=f"{config['env']['id']}: {config['algorithm'].upper()}, seed {config['seed']}",
        subtitle=f"A policy trained {'without pruning' if config['plan'] is None else 'while it is pruned'}.",
        headlines=tuple(headlines),
        sections=tuple(sections),
        facts=(("started", config["started"]), ("versions", versions)),
    )
