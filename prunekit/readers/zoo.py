"""What RL Baselines3 Zoo's files next to a zip say about the environment in which the policy was trained."""

from __future__ import annotations

import re
from pathlib import Path

_MAX_BYTES = 2**20
# The zoo dumps a list of pairs with one line for every key and for every value that is not a list. Other parts of the
# format (tags, anchors, documents) are not interpreted, so text cannot mean more than it shows.
_PAIR = re.compile(r"^(?:- - -|  - -) (\w{1,40})\n    - ([^\n]{0,200})$", re.MULTILINE)
_SCALAR = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
_BEST = "best_model.zip"
_NOTHING = ("null", "false", "None", "False", "[]", "{}", "''", "0", "1")


def zoo_notes(path: Path) -> tuple[str, ...]:
    """Return one note per fact about the environment of the zip at ``path``.

    The files are in the run's folder (``run_folder``), or next to the zip. Files that cannot be read are ignored.
    """
    notes = []
    settings = _pairs_near(path, "config.yml")
    env = _plain(_pairs_near(path, "args.yml").get("env", ""))
    if env is not None:
        notes.append(f"RL Baselines3 Zoo trained it in {env} (args.yml)")
    for name in ("env_wrapper", "frame_stack", "history"):
        value = settings.get(name, "null")
        if value not in _NOTHING:
            told = _plain(value) or "of several values"
            notes.append(
                f"its environment was made with {name} {told} (config.yml), which the policy needs: write a function "
                "that makes it this way, and give it as `env` MODULE:FUNCTION"
            )
    return tuple(notes)


def zoo_environment(path: Path) -> str | None:
    """Return the environment in which the zoo trained the zip or folder at ``path``; None if nothing says so."""
    file = zoo_zip(path)
    return _plain(_pairs_near(file, "args.yml").get("env", "")) if file.suffix == ".zip" else None


def env_advice(path: Path) -> str:
    """Return advice for a policy that names no environment: give ``env``, with the zoo's name for it if known.

    The zoo's environment is not used automatically: its wrappers are stored separately, and its id may belong to an
    older Gymnasium.
    """
    told = zoo_environment(path)
    return "give one with `env`" + ("" if told is None else f" (RL Baselines3 Zoo trained it in {told})")


def zoo_zip(folder: Path) -> Path:
    """Return the zip that a run's ``folder`` of the zoo stands for; return any other path unchanged.

    It is the only zip with a folder of its own name, or the only zip if the zoo's files are next to it.
    """
    zips = sorted(folder.glob("*.zip")) if folder.is_dir() else []
    own = [file for file in zips if _pairs_in(folder / file.stem, "config.yml")]
    if len(own) == 1:
        return own[0]
    return zips[0] if len(zips) == 1 and _pairs_near(zips[0], "config.yml") else folder


def run_folder(path: Path) -> Path | None:
    """Return the folder with the zoo's files on the run of the zip at ``path``; None if there is none beside it.

    It has the name of the zip. ``best_model.zip`` takes the only run's folder beside it: the zoo writes both there.
    """
    own = path.parent / path.stem
    if path.suffix.lower() == ".zip" and own.is_dir():
        return own
    if path.name != _BEST:
        return None
    runs = [file.parent for file in path.parent.glob("*/config.yml") if "policy" in _pairs_in(file.parent, file.name)]
    return runs[0] if len(runs) == 1 else None


def zoo_normalizes(path: Path) -> bool | None:
    """Return whether the zoo trained the zip at ``path`` with an observation normalizer; None if nothing says so.

    config.yml has the line ``normalize`` if it did. Arguments instead of ``true`` may exclude rewards or observations,
    and are not interpreted.
    """
    settings = _pairs_near(path, "config.yml")
    if "policy" not in settings:
        return None
    told = settings.get("normalize", "false")
    return True if told == "true" else False if told in _NOTHING else None


def _pairs_near(path: Path, name: str) -> dict[str, str]:
    folder = run_folder(path)
    return ({} if folder is None else _pairs_in(folder, name)) or _pairs_in(path.parent, name)


def _pairs_in(folder: Path, name: str) -> dict[str, str]:
    try:
        if (folder / name).is_file() and (folder / name).stat().st_size <= _MAX_BYTES:
            return dict(_PAIR.findall((folder / name).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        pass
    return {}


def _plain(text: str) -> str | None:
    bare = text.strip("'\"")
    return bare if _SCALAR.fullmatch(bare) else None
