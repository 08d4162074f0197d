"""What a kind of actions is: everything that depends on what an environment's actions are.

A kind is a final frozen dataclass in a file of ``prunekit/spaces/``. Nothing else asks what space an environment has.
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
    """A student's units: an answer [k] is (answer - middle) / half in them, float32 [k] each.

    Where it is ``bounded`` (bool [k]), that is -1 and 1 at its bounds.
    """

    middle: Tensor
    half: Tensor
    bounded: Tensor


class Learning(NamedTuple):
    """What a learner sees of the actions: its ``space`` (None: the environment's own, as it is), and ``action``.

    ``action`` turns a member of it into what ``env.step`` takes; it raises CheckError for what is none.
    """

    space: gym.Space[Any] | None
    action: Callable[[Any], Any]


class ActionKind(Protocol):
    """The actions of an environment. A policy answers an observation with ``outputs`` floats, of which ``head`` makes
    the answer: an action, up to its dtype and the rounding of its bounds.

    ``name`` stands for the kind in files, ``sort`` and ``spaces`` in messages: an adjective, and the spaces of
    Gymnasium that it is of. ``taught_by`` says which of a deployed policy's outputs teach a student.
    """

    name: ClassVar[str]
    sort: ClassVar[str]
    spaces: ClassVar[str]
    taught_by: ClassVar[str]

    @staticmethod
    def of_space(space: gym.Space[Any]) -> ActionKind | None:
        """Return the actions of ``space``, or None; raises InputError, beginning "has", for what cannot be used."""

    @staticmethod
    def of_head(head: Op, width: int) -> ActionKind | None:
        """Return actions that ``head`` gives of ``width`` outputs, or None where it is the head of another kind."""

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ActionKind:
        """Return what ``to_dict`` wrote; raises InputError, KeyError, TypeError or ValueError for anything else."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""

    @property
    def words(self) -> str:
        """What a message says that a policy gives."""

    @property
    def outputs(self) -> int:
        """How many floats a policy answers with, before the head."""

    @property
    def choices(self) -> int | None:
        """How many integers tell a choice without its outputs; None where there are no choices."""

    def head(self) -> Op:
        """Return the op from outputs to the answer."""

    def takes(self, head: Op) -> bool:
        """Return whether ``action`` takes what ``head`` gives of ``outputs`` floats."""

    def squashed(self) -> ActionKind:
        """Return the same actions with a head that squashes into bounds; raises InputError where that cannot be."""

    def action(self, answer: Any) -> Any:
        """Return what ``env.step`` takes for an answer of the head; raises CheckError for what is no action."""

    def decided(self, outputs: Array) -> Any:
        """Return what ``env.step`` takes for the outputs [k] of a policy that has no head, or is a teacher."""

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> Any:
        """Return what arrives of ``action`` of ``env.step`` under ``noise`` in [0, 1], as one of its kind.

        For values the standard deviation in terms of half the width of their bounds, for choices the probability that
        one is drawn anew. As many numbers are drawn whatever ``action`` and ``noise`` are. Raises InputError, beginning
        "has", where that has no meaning.
        """

    def outputs_of(self, choices: NDArray[np.integer[Any]]) -> Float64:
        """Return outputs [n, k] that mean ``choices`` [n, c]; raises CheckError, naming one, where it is no action."""

    def answers(self, outputs: Float64) -> Float64:
        """Return a teacher's answers [n, k] as its student is to learn them."""

    def scale(self, answers: Float64) -> AnswerScale:
        """Return the units in which a student learns ``answers`` [n, k]."""

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:
        """Return what a student loses by ``outputs`` where a teacher gave ``answers``, both [n, k] in its units."""

    def curvature(self, deviation: float) -> Curvature:
        """Return the curvature of the actions' distribution, of that ``deviation`` where the actions are continuous."""

    def for_learner(self) -> Learning:
        """Return what a library's learner sees."""

    def for_student(self, scale: AnswerScale) -> Learning:
        """Return what a learner sees whose network answers in the units of ``scale``."""


KINDS: dict[str, type[ActionKind]] = {}
"""All kinds by name."""

_Kind = TypeVar("_Kind", bound=type[Any])


def register_kind(kind: _Kind) -> _Kind:
    """Make ``kind`` known by its name; raises InputError for a name that is taken."""
    if KINDS.setdefault(kind.name, kind) is not kind:
        raise InputError(f"a kind of actions named {kind.name} is registered already; give yours another name")
    return kind


def kind_of_space(space: gym.Space[Any]) -> ActionKind:
    """Return the kind of the actions ``space``; raises InputError, beginning "has", for what no kind is of."""
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
    """Return actions that ``head`` gives of ``width`` outputs, or None where it is no kind's head."""
    return next((found for kind in KINDS.values() if (found := kind.of_head(head, width)) is not None), None)


def kind_from_dict(data: Mapping[str, Any]) -> ActionKind:
    """Return the actions that ``to_dict`` wrote; raises InputError for data that is none."""
    kind = KINDS.get(str(data.get("kind")))
    if kind is None:
        raise InputError(f"actions of the kind '{str(data.get('kind'))[:60]}' are not known")
    try:
        return kind.from_dict(data)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"its {kind.name} actions are damaged ({type(error).__name__})") from error


def require_whole(told: str, values: object, minimum: int, maximum: int = 2**31 - 1) -> tuple[int, ...]:
    """Return ``values`` as a tuple; raises InputError unless they are integers in range, one at least."""
    if not isinstance(values, tuple | list) or not values:
        raise InputError(f"{told} must be at least one integer, got {str(values)[:60]}")
    for value in values:
        if type(value) is not int or not minimum <= value <= maximum:
            raise InputError(f"{told} must be integers from {minimum} to {maximum}, got {str(value)[:60]}")
    return tuple(values)


def integer_dtype(name: object) -> np.dtype[np.integer[Any]]:
    """Return NumPy's integer type called ``name``; raises InputError where there is none."""
    if not isinstance(name, str) or name not in INTEGERS:
        raise InputError(f"has actions of {str(name)[:60]}, which is not one of {', '.join(INTEGERS)}")
    return np.dtype(name)


def no_squashing(sort: str) -> InputError:
    """Return the error for actions that no squashing reaches."""
    return InputError(f"{sort} actions are choices, which nothing squashes")
