"""TorchScript files of the tests' own: saved modules, and the same with other code in them."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions

FORMS: dict[str, Callable[[nn.Module, int], Any]] = {
    "scripted": lambda module, _: torch.jit.script(module),
    "traced": lambda module, inputs: torch.jit.trace(module, torch.zeros(1, inputs)),
    "frozen": lambda module, _: torch.jit.freeze(torch.jit.script(module)),
}
WIDE = 1e9


def spaces_for(inputs: int, outputs: int) -> Spaces:
    """Return spaces whose bounds change no answer."""
    return Spaces(observation=inputs, actions=BoxActions(low=(-WIDE,) * outputs, high=(WIDE,) * outputs))


def saved(form: str, module: nn.Module, path: Path, inputs: int = 4) -> tuple[Path, Any]:
    """Write ``module`` to ``path`` in one of ``FORMS``; return the path and the module in that form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = FORMS[form](module.eval(), inputs)
        made.save(str(path))
    return path, made


def replaced(source: Path, entries: dict[str, bytes | None]) -> Path:
    """Write the archive again with the entries that end so replaced, or left out where None."""
    path = source.with_name("other.ts")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            ending = next((ending for ending in entries if name.endswith(ending)), None)
            content = old.read(name) if ending is None else entries[ending]
            if content is not None:
                new.writestr(name, content)
    return path


class Own(nn.Module):
    """A layer, a buffer and a list, which the code that is put in place of ``forward`` can name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("hidden", torch.zeros(1, 4))
        self.items = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x) + self.hidden[:, :2] + self.items[0]
        return result


@cache
def _own() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return saved("scripted", Own(), Path(folder) / "own.ts")[0].read_bytes()


def with_body(folder: Path, body: str, more: str = "") -> Path:
    """Return a file whose ``forward(self, x)`` has the lines of ``body``, beside the functions ``more``."""
    path = folder / "own.ts"
    path.write_bytes(_own())
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".py") and b"class Own" in archive.read(n))
        code = archive.read(name).decode()
    head = code[: code.index("  def forward")]
    where = name.split("/code/", 1)[1].removesuffix(".py").replace("/", ".")
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    forward = f"  def forward(self: {where}.Own,\n    x: Tensor) -> Tensor:\n{lines}"
    inner = more.replace("HERE", where)
    return replaced(path, {name: f"{head}{forward}{inner}".replace("HERE", where).encode()})
