"""The interface of a kind of actions: everything that depends on an environment's action space.

A kind is a final frozen dataclass in a file of ``prunekit/spaces/``. No other code asks which space an environment has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.graph.op import Array, Op
from prunekit.lazy import gymnasium as gym
from prunekit.spaces.curvature import Curvature

if TYPE_CHECKING:
    from torch import Tensor

Float64 = NDArray[np.float64]

CERTAINTY = 4.0
"""Logits of a teacher's choice: its outputs are scaled so that the best is this far above the next, on average."""

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class AnswerScale(NamedTuple):
    """The units of a student: an answer [k] becomes (answer - middle) / half, float32 [k] each.

    Where ``bounded`` (bool [k]) is true, the bounds are -1 and 1 in these units.
    """

    middle: Tensor
    half: Tensor
    bounded: Tensor


class Learning(NamedTuple):
    """The actions that a learner sees: their ``space`` (None: the environment's own), and ``action``.

    ``action`` converts a member of the space to what ``env.step`` takes; it raises CheckError for anything else.
    """

    space: gym.Space[Any] | None
    action: Callable[[Any], Any]


class ActionKind(Protocol):
    """The actions of an environment. A policy computes ``outputs`` floats per observation, and ``head`` makes the
    answer: an action, up to its dtype and the rounding of its bounds.

    ``name`` identifies the kind in files. ``sort`` (an adjective) and ``spaces`` (names of Gymnasium's spaces) describe
    it in messages. ``taught_by`` says which of a deployed policy's outputs teach a student.
    """

    name: ClassVar[str]
    sort: ClassVar[str]
    spaces: ClassVar[str]
    taught_by: ClassVar[str]

    @staticmethod
    def of_space(space: gym.Space[Any]) -> ActionKind | None:
        """Return the actions of ``space``, or None for another kind; raises InputError, beginning "has", if it is not
        supported.
        """

    @staticmethod
    def of_head(head: Op, width: int) -> ActionKind | None:
        """Return the actions of ``head`` on ``width`` outputs, or None if it is the head of another kind."""

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ActionKind:
        """Return what ``to_dict`` wrote; raises InputError, KeyError, TypeError or ValueError for anything else."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""

    @property
    def words(self) -> str:
        """What a policy gives, in the words of messages."""

    @property
    def outputs(self) -> int:
        """The number of floats that a policy computes, before the head."""

    @property
    def choices(self) -> int | None:
        """The number of integers that describe a choice without its outputs; None if there are no choices."""

    def head(self) -> Op:
        """Return the op from outputs to the answer."""

    def takes(self, head: Op) -> bool:
        """Return whether ``action`` accepts the results of ``head`` on ``outputs`` floats."""

    def squashed(self) -> ActionKind:
        """Return the same actions with a head that squashes to the bounds; raises InputError if that is impossible."""

    def action(self, answer: Any) -> Any:
        """Return what ``env.step`` takes for an answer of the head; raises CheckError if it is not an action."""

    def decided(self, outputs: Array) -> Any:
        """Return what ``env.step`` takes for the outputs [k] of a policy without a head, or of a teacher."""

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> Any:
        """Return ``action`` under ``noise`` in [0, 1], as an action of the same kind.

        For continuous actions, noise is the standard deviation relative to half the width of the bounds. For choices,
        it is the probability that one is replaced by a random one. The number of random draws does not depend on
        ``action`` and ``noise``. Raises InputError, beginning "has", if noise is not defined.
        """

    def outputs_of(self, choices: NDArray[np.integer[Any]]) -> Float64:
        """Return outputs [n, k] that mean ``choices`` [n, c]; raises CheckError, naming one, where it is no action."""

    def answers(self, outputs: Float64) -> Float64:
        """Return a teacher's answers [n, k] in the form in which its student learns them."""

    def scale(self, answers: Float64) -> AnswerScale:
        """Return the units in which a student learns ``answers`` [n, k]."""

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:
        """Return a student's loss for ``outputs`` and the teacher's ``answers``, both [n, k] in its units."""

    def curvature(self, deviation: float) -> Curvature:
        """Return the curvature of the action distribution; ``deviation`` applies to continuous actions."""

    def for_learner(self) -> Learning:
        """Return the actions that a library's learner sees."""

    def for_student(self, scale: AnswerScale) -> Learning:
        """Return the actions that a learner sees whose network answers in the units of ``scale``."""


KINDS: dict[str, type[ActionKind]] = {}
"""All kinds by name."""

_Kind = TypeVar("_Kind", bound=type[Any])


def register_kind(kind: _Kind) -> _Kind:
    """Register ``kind`` under its name; raises InputError if the name is taken."""
    if KINDS.setdefault(kind.name, kind) is not kind:
        raise InputError(f"a kind of actions named {kind.name} is registered already; give yours another name")
    return kind


def kind_of_space(space: gym.Space[Any]) -> ActionKind:
    """Return the kind of the action space ``space``; raises InputError, beginning "has", if no kind supports it."""
    refusal: InputError | None = None
    for kind in KINDS.values():
        try:
            found = kind.of_space(space)
        except InputError as error:  # another kind may be of it
            refusal = refusal or error
            continue
        if found is not None:
            return found
    if refusal is not None:
        raise refusal
    known = sorted((kind.spaces for kind in KINDS.values() if kind.spaces), key=lambda words: words.split()[-1])
    listed = f"{', '.join(known[:-1])} and {known[-1]}"
    raise InputError(f"has {type(space).__name__} actions; only {listed} actions are supported")


def kind_of_head(head: Op, width: int) -> ActionKind | None:
    """Return the actions of ``head`` on ``width`` outputs, or None if no kind has this head."""
    return next((found for kind in KINDS.values() if (found := kind.of_head(head, width)) is not None), None)


def kind_from_dict(data: Mapping[str, Any]) -> ActionKind:
    """Return the actions that ``to_dict`` wrote; raises InputError for any other data."""
    kind = KINDS.get(str(data.get("kind")))
    if kind is None:
        raise InputError(f"actions of the kind '{str(data.get('kind'))[:60]}' are not known")
    try:
        return kind.from_dict(data)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"its {kind.name} actions are damaged ({type(error).__name__})") from error


def require_whole(told: str, values: object, minimum: int, maximum: int = 2**31 - 1) -> tuple[int, ...]:
    """Return ``values`` as a tuple; raises InputError unless they are integers in range, and at least one."""
    if not isinstance(values, tuple | list) or not values:
        raise InputError(f"{told} must be at least one integer, got {str(values)[:60]}")
    for value in values:
        if type(value) is not int or not minimum <= value <= maximum:
            raise InputError(f"{told} must be integers from {minimum} to {maximum}, got {str(value)[:60]}")
    return tuple(values)


def integer_dtype(name: object) -> np.dtype[np.integer[Any]]:
    """Return NumPy's integer type ``name``; raises InputError if there is none."""
    if not isinstance(name, str) or name not in INTEGERS:
        raise InputError(f"has actions of {str(name)[:60]}, which is not one of {', '.join(INTEGERS)}")
    return np.dtype(name)


def no_squashing(sort: str) -> InputError:
    """Return an error for actions that cannot be squashed."""
    return InputError(f"{sort} actions are choices, which nothing squashes")
