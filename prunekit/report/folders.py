"""The page of the results in a folder, whichever command wrote them."""

from __future__ import annotations

from pathlib import Path

from prunekit.errors import InputError
from prunekit.report import compress_page, sweep_results, training_page
from prunekit.report.page import Page
from prunekit.report.sweep_page import sweep_page


def page_of(folder: Path, original: Path | None = None, env_id: str | None = None) -> Page:
    """Return the page of the results in ``folder``.

    ``original`` is a policy to show next to the compact one. ``env_id`` is the environment, if the files name none or
    one of a user's module. Raises InputError, naming the folder or the file, for any other content.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; name one that sweep, compress or train has written")
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; name the folder of the results")
    if (folder / compress_page.NAME).is_file():
        return compress_page.compress_page(folder, original, env_id)
    if original is not None:
        raise InputError(f"--original {original}: only for a folder that compress wrote, which {folder} is not")
    if (folder / sweep_results.NAME).is_file():
        if env_id is not None:
            raise InputError(
                f"--env {env_id}: only for a folder that compress or train wrote; in {folder} nothing is played"
            )
        return sweep_page(sweep_results.read_sweep(folder))
    if (folder / training_page.NAME).is_file():
        return training_page.training_page(folder, env_id)
    names = f"{sweep_results.NAME} of sweep, {compress_page.NAME} of compress or {training_page.NAME} of train"
    raise InputError(f"{folder}: holds no {names}; name a folder that one of them has written")


def files_in(folder: Path) -> list[Path]:
    """Return the files from which a page of ``folder`` may be made."""
    names = (sweep_results.NAME, compress_page.NAME, "policy.pt", training_page.NAME, "metrics.csv", "model.pt")
    return [folder / name for name in names]
