"""A policy, whoever trained it: it acts, and is written in other forms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.c import CSettings, export_c
from prunekit.export.c_code import c_name
from prunekit.export.onnx import export_onnx, to_onnx
from prunekit.export.session import tuned_session
from prunekit.graph.graph import Graph
from prunekit.graph.reference import initial_states
from prunekit.policy.description import described
from prunekit.policy.sizes import Sizes, sizes_of
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import read_policy

PathLike = str | os.PathLike[str]
Observation = NDArray[Any] | Mapping[str, NDArray[Any]]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """A deployed function: observations (and a state) in, actions (and the next state) out.

    ``graph`` is the whole of it, ``metadata`` plain data that goes into the files that are written of it. It acts as
    its ONNX export does, in ONNX Runtime.
    """

    graph: Graph
    metadata: Mapping[str, Any] = field(default_factory=dict)
    _states: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @property
    def sizes(self) -> Sizes:
        """Hidden units, stored parameters and multiply-accumulates."""
        return sizes_of(self.graph)

    def reset(self) -> None:
        """Begin an episode: states have their initial values again. A policy without state forgets nothing."""
        self._states.clear()

    def act(self, observation: Observation) -> NDArray[Any]:
        """Return the action for one observation, or the actions [n, ...] for a batch [n, ...] of them.

        A policy of several inputs takes a mapping from their names. Raises InputError for other names or shapes.
        """
        given, single = self._inputs(observation)
        rows = len(next(iter(given.values())))
        states = self._states or initial_states(self.graph, rows, np.float32)
        stale = next((name for name, value in states.items() if len(value) != rows), None)
        if stale is not None:
            raise InputError(f"{rows} observations after others of another number; call reset() between episodes")
        names = ["action", *(f"{state.before}_out" for state in self.graph.states)]
        action, *after = self._session.run(names, {**given, **states})
        self._states.update({state.before: value for state, value in zip(self.graph.states, after, strict=True)})
        result: NDArray[Any] = action[0] if single else action
        return result

    def export_onnx(self, path: PathLike) -> Path:
        """Write the policy as ONNX, checked against torch and NumPy first; return the path."""
        return export_onnx(self.graph, Path(path), self.metadata).path

    def export_c(
        self,
        folder: PathLike,
        *,
        name: str = "policy",
        int8: bool = False,
        observations: NDArray[Any] | None = None,
    ) -> tuple[Path, ...]:
        """Write the policy as portable C, ``NAME.h`` and ``NAME.c``; return the paths.

        ``int8`` is for int8 weights and int16 activations, whose ranges come from ``observations`` [n, ...] of the
        policy's own. Raises InputError where those are missing and for what C or integers cannot do.
        """
        if c_name(name) != name:
            raise InputError(f"'{name}' is no name for C in lowercase letters, digits and _; try '{c_name(name)}'")

        def record() -> NDArray[np.float32]:
            if observations is None:
                raise InputError("int8 needs observations of the policy's own to take ranges from; give some")
            return np.asarray(observations, np.float32).reshape(len(observations), -1)

        settings = CSettings(name, 16 if int8 else None)
        return export_c(self.graph, Path(folder), settings, self.metadata, record).paths

    def __repr__(self) -> str:
        """Say what it is."""
        return f"Policy({described(self.graph)})"

    @cached_property
    def _session(self) -> Any:
        return tuned_session(to_onnx(self.graph, {}), "the policy")

    def _inputs(self, observation: Observation) -> tuple[dict[str, NDArray[Any]], bool]:
        ports = {port.name: port for port in self.graph.inputs}
        if not isinstance(observation, Mapping):
            if len(ports) != 1:
                raise InputError(f"the policy has several inputs ({', '.join(ports)}); give a mapping from their names")
            observation = {next(iter(ports)): observation}
        if set(observation) != set(ports):
            raise InputError(f"the policy has the inputs {', '.join(ports)}, but was given {', '.join(observation)}")
        given = {name: np.asarray(value, ports[name].dtype) for name, value in observation.items()}
        single = all(value.shape == ports[name].shape for name, value in given.items())
        batched = all(value.shape[1:] == ports[name].shape for name, value in given.items() if value.ndim)
        if not single and not (batched and len({len(value) for value in given.values() if value.ndim}) == 1):
            told = ", ".join(f"{name} {list(value.shape)}" for name, value in given.items())
            wanted = ", ".join(f"{name} {list(port.shape)}" for name, port in ports.items())
            raise InputError(f"observations of {told} do not fit a policy of {wanted}, nor a batch of it")
        return ({name: value[None] for name, value in given.items()} if single else given), single


def load(
    path: PathLike,
    *,
    normalizer: PathLike | bool | None = None,
    output: str | None = None,
    inputs: int | None = None,
) -> Policy:
    """Return the policy in a file: prunekit's ``model.pt``, ONNX, TorchScript, a zip of Stable-Baselines3.

    What it is, is told by its content. ``normalizer`` is a file of ``VecNormalize.save`` for a zip, or False where the
    policy was trained without; ``output`` the one of an ONNX file's outputs that is its answer, and ``inputs`` how many
    values an observation of a TorchScript file has, where that is not clear. Runs no code of the file. Raises
    InputError, naming the file, for what is not read.
    """
    return policy_of(read_policy(Path(path), options_of(normalizer, output, inputs)))


def options_of(normalizer: PathLike | bool | None, output: str | None, inputs: int | None) -> PolicyOptions:
    """Return what ``load`` was told as the readers take it."""
    if normalizer is True:
        raise InputError("normalizer is a file, or False for a policy that was trained without one")
    return PolicyOptions(
        normalizer=None if normalizer is None or normalizer is False else Path(normalizer),
        without_normalizer=normalizer is False,
        output=output,
        inputs=inputs,
    )


def policy_of(file: PolicyFile) -> Policy:
    """Return what was read from a file as a policy."""
    return Policy(graph=file.graph, metadata=dict(file.metadata))
