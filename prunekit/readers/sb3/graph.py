"""The policy in a zip of Stable-Baselines3 or sb3-contrib as a graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.files import require_file
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.op import Op, name_of
from prunekit.ops.affine import Affine
from prunekit.ops.clip import Clip
from prunekit.ops.normalize import Normalize
from prunekit.policy.description import described
from prunekit.readers.foreign import ForeignGraph
from prunekit.readers.sb3.activation import activation_called
from prunekit.readers.sb3.contents import Contents, quoted, read_contents
from prunekit.readers.sb3.fit import check_fit, rescaling
from prunekit.readers.sb3.layers import Act, difference_of_pairs, layers_of, mean_of_quantiles, rescaled
from prunekit.readers.sb3.layouts import Layout, algorithm_of, layout_of, library_of
from prunekit.readers.sb3.spaces import ACTIONS, BOX, MULTI_BINARY, action_spaces, class_of, observation_shape
from prunekit.readers.sb3.squashing import is_squashed
from prunekit.readers.sb3.statistics import read_vec_normalize

_CLIP_MEAN = 2.0
_NORM_EPSILON = 0.001


@final
@dataclass(frozen=True, kw_only=True)
class _Read:
    """A zip's policy: its ops without normalizer and head, the width of an observation, and what was assumed."""

    layout: Layout
    ops: list[Op]
    inputs: int
    squashed: bool
    notes: list[str]

    @property
    def outputs(self) -> int:
        """The values before the head."""
        return next(len(op.bias) for op in reversed(self.ops) if isinstance(op, Affine))


def read_zip(path: Path, vec_normalize: Path | None = None, *, spaces: Spaces | None = None) -> ForeignGraph:
    """Return the policy in a zip that ``save`` of a stock algorithm wrote; runs none of its code (law 7).

    ``vec_normalize`` is the file of ``VecNormalize.save``, for a policy that was trained behind one. ``spaces`` win
    over the action space in the zip; an action in other bounds is rescaled to theirs, which the notes say.

    Raises ArtifactError, naming the file, for what is no sound policy over arrays, and InputError for ``spaces`` that
    do not fit the policy.
    """
    require_file(path)
    with _naming(path):
        contents = read_contents(path)
        read = _policy_of(contents)
        section = contents.section("action_space")
        own = _own_spaces(read, contents, spaces)
    if spaces is not None:
        try:
            check_fit(spaces, read.inputs, read.outputs, ACTIONS[class_of(section)])
            _rescale_(read, own, spaces)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    normalizer = None if vec_normalize is None else read_vec_normalize(vec_normalize)
    if normalizer is not None and len(normalizer.mean) != read.inputs:
        raise ArtifactError(
            f"{vec_normalize}: is for {len(normalizer.mean)} values, but {path} reads {read.inputs}; give the policy's "
            "own with `normalizer`, or `normalizer=False` if it was trained without"
        )
    with _naming(path):
        chosen = spaces or own
        assert chosen is not None
        head = (chosen.actions.squashed() if read.squashed else chosen.actions).head()
        graph = _graph(read, normalizer, head)
        algorithm = algorithm_of(read.layout, contents.data)
        library = library_of(read.layout, algorithm, contents.version)
    return ForeignGraph(
        graph=graph,
        output="action",
        recognised=f"zip of {library}, {algorithm}, {described(graph)}",
        notes=tuple(read.notes),
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except PrunekitError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # zipfile, json and torch raise many types for damaged files
        raise ArtifactError(
            f"{path}: damaged or not a zip of Stable-Baselines3 ({type(error).__name__}); save the model again"
        ) from error


def _policy_of(contents: Contents) -> _Read:
    layout = layout_of(contents)
    shape = observation_shape(contents.section("observation_space"))
    action = contents.section("action_space")
    kind = class_of(action)
    if kind not in layout.actions:
        raise InputError(f"{layout.name} with actions of type {kind} is not supported")
    if layout.end == "action_net." and layout.trunks and (kind == BOX) != ("log_std" in contents.state):
        raise InputError("its action space and its weights do not fit together")
    ops, apart = layers_of(layout, contents.state, _act(layout, contents), _epsilon(contents))
    if layout.quantiles:
        ops[-1] = mean_of_quantiles(_last(ops), _count(action))
    if layout.pairs and kind == MULTI_BINARY:
        ops[-1] = difference_of_pairs(_last(ops))
    inputs = math.prod(shape)
    first = next(op for op in ops if isinstance(op, Affine))
    if first.weight.shape[1] != inputs:
        raise InputError(f"its network reads {first.weight.shape[1]} values, but its observations have {inputs}")
    notes = list(layout.notes)
    if layout.clipped and apart:
        clip = _number(contents, "clip_mean", _CLIP_MEAN)
        ops.append(Clip(low=-clip, high=clip))
        notes.append(f"gSDE: the mean action, clipped to [{-clip:g}, {clip:g}]")
    elif contents.data.get("use_sde"):
        notes.append("gSDE: the mean action")
    if contents.version is None:
        notes.append("its version is not in the file; read as the first ones of Stable-Baselines3")
    if len(shape) > 1:
        notes.append(f"observations of shape {list(shape)} are read flattened, row by row")
    squashed = is_squashed(layout, contents)
    return _Read(layout=layout, ops=ops, inputs=inputs, squashed=squashed, notes=notes)


def _own_spaces(read: _Read, contents: Contents, given: Spaces | None) -> Spaces | None:
    """Return the spaces that the text says; None where it does not say them, and a caller does."""
    try:
        return action_spaces(read.inputs, read.outputs, contents.section("action_space"))
    except InputError:
        if given is None:
            raise
        return None


def _rescale_(read: _Read, own: Spaces | None, given: Spaces) -> None:
    """Bring the outputs into the given bounds: squashed ones are stretched to them anyway."""
    needed = None if own is None else rescaling(own.actions, given.actions)
    if needed is None:
        return
    read.notes.append(needed.note)
    if not read.squashed:
        read.ops[-1] = rescaled(_last(read.ops), needed.scale, needed.shift)


def _graph(read: _Read, normalizer: Normalize | None, head: Op) -> Graph:
    ops: Sequence[Op] = [*([] if normalizer is None else [normalizer]), *read.ops]
    nodes: list[Node] = []
    value = "obs"
    for index, op in enumerate(ops):
        name = "outputs" if index == len(ops) - 1 else f"{name_of(op).lower()}_{index}"
        nodes.append(Node(op=op, inputs=(value,), outputs=(name,)))
        value = name
    nodes.append(Node(op=head, inputs=(value,), outputs=("action",)))
    return Graph(inputs=(Port(name="obs", shape=(read.inputs,)),), nodes=tuple(nodes), outputs=("action", "outputs"))


def _last(ops: Sequence[Op]) -> Affine:
    last = ops[-1]
    assert isinstance(last, Affine)
    return last


def _act(layout: Layout, contents: Contents) -> Act:
    text = contents.section("policy_kwargs").get("activation_fn")
    return activation_called(f"<class 'torch.nn.modules.activation.{layout.activation}'>" if text is None else text)


def _epsilon(contents: Contents) -> float:
    return _number(contents, "batch_norm_eps", _NORM_EPSILON)


def _number(contents: Contents, name: str, default: float) -> float:
    """Return a positive number of the policy's options."""
    value = contents.section("policy_kwargs").get(name, default)
    if type(value) not in (int, float) or not 0.0 < value <= float(np.finfo(np.float32).max):
        raise InputError(f"its '{name}' is {quoted(value)}, which is no positive number")
    return float(value)


def _count(action: dict[str, object]) -> int:
    text = str(action.get("n"))
    if not text.isdecimal() or not 0 < len(text) < 10 or int(text) < 1:
        raise InputError(f"its number of actions is {quoted(text)}, which is no whole number")
    return int(text)
