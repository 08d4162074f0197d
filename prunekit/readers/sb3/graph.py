"""Conversion of the policy in a zip of Stable-Baselines3, sb3-contrib or SBX into a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.files import require_file
from prunekit.graph.graph import Graph, Node
from prunekit.graph.op import Op, name_of
from prunekit.ops.add import Add
from prunekit.ops.normalize import Normalize
from prunekit.policy.description import described
from prunekit.readers.foreign import ForeignGraph
from prunekit.readers.sb3.contents import Contents, read_contents
from prunekit.readers.sb3.fit import check_fit, rescaling
from prunekit.readers.sb3.policy import Residual, ZipPolicy, rescaled_ops
from prunekit.readers.sb3.spaces import ACTIONS, action_notes, action_spaces, class_of
from prunekit.readers.sb3.statistics import read_vec_normalize
from prunekit.readers.sb3.torch_policy import policy_of_tensors

# Before Stable-Baselines3 1.1 policies of HER read these entries of a Dict as one row, each normalized by its own.
_GOAL_ROW = ("observation", "desired_goal")


def read_zip(
    path: Path,
    vec_normalize: Path | None = None,
    *,
    spaces: Spaces | None = None,
    policy_of: Callable[[Contents], ZipPolicy] = policy_of_tensors,
) -> ForeignGraph:
    """Return the policy in a zip that ``save`` of a stock algorithm wrote; runs none of its code (law 7).

    ``vec_normalize`` is the file of ``VecNormalize.save``, for a policy that was trained with one. ``spaces`` override
    the action space in the zip: actions with other bounds are rescaled to theirs, with a note. ``policy_of`` extracts
    the policy for the library that wrote the zip.

    Raises ArtifactError, naming the file, if it does not hold a sound policy over arrays, and InputError if ``spaces``
    do not fit the policy.
    """
    require_file(path)
    with _naming(path):
        contents = read_contents(path)
        policy = policy_of(contents)
        section = contents.section("action_space")
        kind = ACTIONS.get(class_of(section))
        own = _own_spaces(policy, contents, spaces)
    if vec_normalize is not None:
        policy = _normalized(path, vec_normalize, policy)
    if spaces is not None and policy.observed.is_flattened_in(spaces.observation):
        policy = replace(policy, observed=policy.observed.flattened())
    notes = [*policy.notes, *policy.observed.notes, *action_notes(section)]
    if spaces is not None and kind is not None:
        try:
            check_fit(spaces, policy.observed.inputs, policy.outputs, kind)
            needed = None if own is None else rescaling(own.actions, spaces.actions)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if needed is not None:
            notes.append(needed.note)
            if not policy.squashed:  # squashed ones are stretched to the bounds anyway
                policy = replace(policy, ops=rescaled_ops(policy.ops, needed))
    with _naming(path):
        chosen = spaces or own
        assert chosen is not None
        head = (chosen.actions.squashed() if policy.squashed else chosen.actions).head()
        graph = _graph(policy, head)
    return ForeignGraph(
        graph=graph,
        output="action",
        recognised=f"zip of {policy.library}, {policy.algorithm}, {described(graph)}",
        notes=tuple(notes),
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


def _normalized(path: Path, called: Path, policy: ZipPolicy) -> ZipPolicy:
    """Return ``policy`` with the normalizers in the file ``called`` in front; raises ArtifactError if they do not
    fit.
    """
    found = read_vec_normalize(called)
    if found is None:
        return policy
    ports = {port.name: port for port in policy.observed.ports}
    if not isinstance(found, Normalize) and len(ports) == 1:
        found = _of_goal_row(found, policy.observed.width) or found
    if isinstance(found, Normalize):
        normalizers = {} if len(ports) > 1 else dict.fromkeys(ports, found)
    else:
        normalizers = {name: one for name, one in found.items() if name in ports}
    if policy.observed.whole & set(normalizers):
        raise ArtifactError(f"{called}: normalizes floats, but {path} reads integers; give `normalizer=False`")
    if not normalizers or (not isinstance(found, Normalize) and len(normalizers) < len(found)):
        raise ArtifactError(f"{called}: is for other observations than the {len(ports)} of {path}; give its own")
    for name, normalizer in normalizers.items():
        width = math.prod(ports[name].shape)
        if len(normalizer.mean) != width:
            raise ArtifactError(
                f"{called}: is for {len(normalizer.mean)} values, but {path} reads {width}; give the policy's own "
                "with `normalizer`, or `normalizer=False` if it was trained without"
            )
    return replace(policy, observed=policy.observed.behind(normalizers))


def _of_goal_row(entries: Mapping[str, Normalize], width: int) -> Normalize | None:
    """Return the normalizer of ``width`` values in the order of ``_GOAL_ROW``; None if there are others."""
    if not set(_GOAL_ROW) <= set(entries):
        return None
    found = [entries[name] for name in _GOAL_ROW]
    mean, scale = np.concatenate([one.mean for one in found]), np.concatenate([one.scale for one in found])
    fits = len(mean) == width and len({one.clip for one in found}) == 1
    return Normalize(mean=mean, scale=scale, clip=found[0].clip) if fits else None


def _own_spaces(policy: ZipPolicy, contents: Contents, given: Spaces | None) -> Spaces | None:
    """Return the spaces that the text in the zip gives; None if it does not give them and the caller does."""
    try:
        return action_spaces(policy.observed.inputs, policy.outputs, contents.section("action_space"))
    except InputError:
        if given is None:
            raise
        return None


def _graph(policy: ZipPolicy, head: Op) -> Graph:
    nodes, value = list(policy.observed.nodes), policy.observed.value
    for index, op in enumerate(policy.ops):
        end = "outputs" if index == len(policy.ops) - 1 else None
        if isinstance(op, Residual):
            inside = value
            for number, one in enumerate(op.ops):
                inside = _add_(nodes, one, (inside,), f"{name_of(one).lower()}_{index}_{number}")
            value = _add_(nodes, Add(), (inside, value), end or f"add_{index}")
        else:
            value = _add_(nodes, op, (value,), end or f"{name_of(op).lower()}_{index}")
    _add_(nodes, head, (value,), "action")
    return Graph(inputs=policy.observed.ports, nodes=tuple(nodes), outputs=("action", "outputs"))


def _add_(nodes: list[Node], op: Op, inputs: tuple[str, ...], output: str) -> str:
    nodes.append(Node(op=op, inputs=inputs, outputs=(output,)))
    return output
