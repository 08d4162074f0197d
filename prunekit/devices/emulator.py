"""Policies in emulated firmware: their actions in the loop, and the cost of an action."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunekit.devices.build import Image
from prunekit.devices.toolchain import can_count, count_plugin, emulator
from prunekit.devices.wire import Wire
from prunekit.errors import CheckError, InputError

_TIMEOUT_SECONDS = 60.0
_STACK = struct.Struct("<II")
_MEMORY = {"flash": "flash", "ram": "RAM"}
_MEANINGS = {3: "the stack ran into the static variables", 4: "the core faulted"}


@final
@dataclass(frozen=True, kw_only=True)
class Counts:
    """The cost of actions on a core.

    ``per_inference`` (int64 [n]) are the instructions or cycles (``unit``) of each call, minus those of an empty
    function; [0] if the emulator cannot count. ``actions`` are float32 [n, outputs] or int32 [n]. ``stack_bytes`` is
    the deepest stack of a call of the policy, and ``total_stack_bytes`` the same including the harness. Both are found
    by filling the stack with a pattern first.
    """

    unit: Literal["instructions", "cycles"]
    per_inference: NDArray[np.int64]
    actions: NDArray[np.float32] | NDArray[np.int32]
    stack_bytes: int
    total_stack_bytes: int


@final
class EmulatedPolicy:
    """A policy in an emulator: takes observations and returns actions.

    Use it as a context manager or close it. Raises InputError if the image fits no emulated machine or the emulator is
    missing. Raises CheckError, with the emulator's last message, if it dies or does not answer within ``timeout_s``
    seconds. ``counts`` is a file for the cost of each inference.
    """

    def __init__(self, image: Image, timeout_s: float = _TIMEOUT_SECONDS, counts: Path | None = None) -> None:
        self._code = image.code
        self._answer_bytes = 4 * (1 if image.code.outputs is None else image.code.outputs)
        name = f"the emulator of {image.core.name if image.chip is None else image.chip.name}"
        self._wire = Wire(name, _command(image, counts), timeout_s, _MEANINGS)

    @property
    def process_id(self) -> int:
        """The emulator's process id."""
        return self._wire.process_id

    def act(self, observation: ArrayLike) -> NDArray[np.float32] | int:
        """Return the action, float32 [outputs] or a number, for ``observation``, [inputs]."""
        sent = np.asarray(observation, dtype="<f4")
        if sent.shape != (self._code.inputs,):
            raise InputError(f"an observation of shape {sent.shape} was given; the policy takes ({self._code.inputs},)")
        answer = self._wire.ask(sent.tobytes(), self._answer_bytes)
        if self._code.outputs is None:
            return int.from_bytes(answer, "little", signed=True)
        return np.frombuffer(answer, dtype="<f4").astype(np.float32)

    def finish(self) -> tuple[int, int]:
        """End the emulation regularly; return the stack bytes of the policy's deepest call, and of everything."""
        policy, total = _STACK.unpack(self._wire.last(_STACK.size))
        return policy, total

    def close(self) -> None:
        """End the emulator. Closing twice is allowed."""
        self._wire.close()

    def __enter__(self) -> EmulatedPolicy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def count(image: Image, observations: ArrayLike, timeout_s: float = _TIMEOUT_SECONDS) -> Counts:
    """Run ``image`` on ``observations`` [n, inputs], n >= 1, and count the cost of each inference exactly.

    Raises as EmulatedPolicy does, and CheckError if the stack reached the static variables.
    """
    rows = np.asarray(observations, dtype=np.float32)
    if rows.ndim != 2 or not len(rows):
        raise InputError(f"observations of shape {rows.shape} were given; counting takes [n, {image.code.inputs}]")
    with tempfile.TemporaryDirectory(prefix="prunekit-") as folder:
        kept = Path(folder) / "counts"
        with EmulatedPolicy(image, timeout_s, kept) as policy:
            actions = [policy.act(row) for row in rows]
            stack_bytes, total_stack_bytes = policy.finish()
        lines = kept.read_text().split() if kept.exists() else []
        per_inference = np.array([int(line) for line in lines], dtype=np.int64)
    if len(per_inference) != (len(rows) if _counts(image) else 0):
        raise CheckError(f"{image.core.name}: {len(rows)} inferences were run and {len(per_inference)} counted")
    return Counts(
        unit=image.core.unit,
        per_inference=per_inference,
        actions=np.array(actions, np.int32) if image.code.outputs is None else np.array(actions, np.float32),
        stack_bytes=stack_bytes,
        total_stack_bytes=total_stack_bytes,
    )


def _command(image: Image, counts: Path | None) -> Sequence[str]:
    if image.machine is None:
        raise InputError(_why_not(image))
    tool = emulator(image.core, image.machine)
    if image.core.mcu is not None:
        extra = [] if counts is None else [str(counts)]
        return [tool, str(image.elf), image.core.mcu, hex(image.mark), *image.machine.arguments, *extra]
    plugin = []
    if counts is not None and can_count(tool):
        file, out = (str(path).replace(",", ",,") for path in (count_plugin(image.core, image.machine), counts))
        plugin = ["-plugin", f"file={file},mark={image.mark:#x},out={out}"]
    return [tool, *plugin, *image.machine.arguments, str(image.elf)]


def _counts(image: Image) -> bool:
    assert image.machine is not None
    return image.core.mcu is not None or can_count(emulator(image.core, image.machine))


def _why_not(image: Image) -> str:
    name = image.core.name if image.chip is None else image.chip.name
    if image.fits:
        return f"no emulated machine of {image.core.name} has the memory of {name}; build it without the chip"
    over = " and ".join(f"{more:,} bytes of {_MEMORY[where]}" for where, more in image.overflow.items() if more)
    return f"{name} lacks {over} for this policy; prune it further or name a larger chip"
