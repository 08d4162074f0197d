"""What RL Baselines3 Zoo wrote beside a zip about the environment that its policy was trained in."""

from __future__ import annotations

import re
from pathlib import Path

_MAX_BYTES = 2**20
# The zoo dumps a list of pairs with one line for every key and for every value that is no list. Nothing else is read
# of the format (tags, anchors, documents), so that no text can mean more than it shows.
_PAIR = re.compile(r"^(?:- - -|  - -) (\w{1,40})\n    - ([^\n]{0,200})$", re.MULTILINE)
_SCALAR = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
_NOTHING = ("null", "false", "None", "False", "[]", "{}", "''", "0", "1")


def zoo_notes(path: Path) -> tuple[str, ...]:
    """Return a line for each thing that the zoo's files say of the environment of the zip at ``path``.

    They lie in a folder of the zip's name, or beside it. What cannot be read says nothing.
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
    """Return where the zoo trained the zip at ``path``, or in that folder; None where nothing says so."""
    file = zoo_zip(path)
    return _plain(_pairs_near(file, "args.yml").get("env", "")) if file.suffix == ".zip" else None


def env_advice(path: Path) -> str:
    """Return what to do about a policy that names no environment: ``env``, and what the zoo's files say it was.

    It is said and not taken: the files name its wrappers apart, and its id may be of an older Gymnasium.
    """
    told = zoo_environment(path)
    return "give one with `env`" + ("" if told is None else f" (RL Baselines3 Zoo trained it in {told})")


def zoo_zip(folder: Path) -> Path:
    """Return the zip in a run's ``folder`` of the zoo, which holds one; any other path is returned as it is."""
    zips = sorted(folder.glob("*.zip")) if folder.is_dir() else []
    return zips[0] if len(zips) == 1 and _pairs_near(zips[0], "config.yml") else folder


def zoo_normalizes(path: Path) -> bool | None:
    """Return whether the zoo trained the zip at ``path`` behind an observation normalizer; None where nothing says so.

    Its config.yml holds the line ``normalize`` where it did. Arguments in place of ``true`` may leave rewards or
    observations out, and are not read.
    """
    settings = _pairs_near(path, "config.yml")
    if "policy" not in settings:
        return None
    told = settings.get("normalize", "false")
    return True if told == "true" else False if told in _NOTHING else None


def _pairs_near(path: Path, name: str) -> dict[str, str]:
    for place in (path.parent / path.stem / name, path.parent / name):
        try:
            if place.is_file() and place.stat().st_size <= _MAX_BYTES:
                return dict(_PAIR.findall(place.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError):
            continue
    return {}


def _plain(text: str) -> str | None:
    bare = text.strip("'\"")
    return bare if _SCALAR.fullmatch(bare) else None
