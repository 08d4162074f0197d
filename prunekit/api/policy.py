"""A policy, whoever trained it: it acts, and is written in other forms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from prunekit.api.networks import Normalization, graph_of_network, kind_of_actions
from prunekit.errors import InputError
from prunekit.export.c import CSettings, export_c
from prunekit.export.c_code import c_name
from prunekit.export.onnx import export_onnx, to_onnx
from prunekit.export.session import tuned_session
from prunekit.export.shrinking import shrink_graph
from prunekit.graph.graph import Graph
from prunekit.graph.reference import initial_states
from prunekit.graph.surgery import Masks
from prunekit.outputs import require_folder
from prunekit.policy.description import described
from prunekit.policy.model_file import ModelFile, full_masks, save_model_file
from prunekit.policy.sizes import Sizes, sizes_of
from prunekit.spaces.kind import ActionKind

PathLike = str | os.PathLike[str]
Observation = ArrayLike | Mapping[str, ArrayLike]
"""Numbers in an array or in lists; for a policy with several inputs, a mapping from their names."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """A deployed function: observations (and a state) in, actions (and the next state) out.

    ``graph`` is its computation, and ``metadata`` is plain data that is stored in exported files. ``masks`` hold one
    bool [width] per group of units, by name: ``shrink`` removes the units that are False. None keeps all units.
    ``actions`` is the kind of actions, where the graph does not determine it. ``notes`` say what was left out or
    assumed when the policy was read from a file. A policy acts as its ONNX export does, in ONNX Runtime.
    """

    graph: Graph
    metadata: Mapping[str, Any] = field(default_factory=dict)
    masks: Masks | None = None
    actions: ActionKind | None = None
    notes: tuple[str, ...] = ()
    _states: dict[str, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def from_network(
        network: nn.Module,
        *,
        actions: gym.Space[Any] | ActionKind | None = None,
        normalizer: Normalization | None = None,
        inputs: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Policy:
        """Return a torch network as a policy; it shares no memory with it.

        ``network`` maps observations [batch, inputs] to outputs [batch, n], or to a tuple that begins with them.
        ``actions`` is the environment's action space, which determines the head; with None the outputs are the action.
        ``normalizer`` is (mean [inputs], scale [inputs], clip): the network sees clip((obs - mean) * scale).
        ``inputs`` is the number of values in an observation, needed if the first layer does not determine it.
        Raises CouplingError, naming the module, for a network that cannot be traced, and InputError for parts that do
        not fit.

        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> Policy.from_network(network)
        Policy(3-8-2, tanh)
        """
        kind = kind_of_actions(actions)
        return Policy(graph=graph_of_network(network, kind, normalizer, inputs), metadata=metadata or {}, actions=kind)

    @property
    def sizes(self) -> Sizes:
        """Hidden units, stored parameters and multiply-accumulates."""
        return sizes_of(self.graph)

    def reset(self) -> None:
        """Begin an episode: reset every state to its initial value. Does nothing for a policy without state."""
        self._states.clear()

    def act(self, observation: Observation) -> NDArray[Any]:
        """Return the action for one observation, or the actions [n, ...] for a batch [n, ...] of them.

        A policy with several inputs takes a mapping from their names. Raises InputError for wrong names or shapes.
        """
        given, single = self._inputs(observation)
        rows = len(next(iter(given.values())))
        states = self._states or initial_states(self.graph, rows, np.float32)
        stale = next((name for name, value in states.items() if len(value) != rows), None)
        if stale is not None:
            raise InputError(f"{rows} observations, but a different number before; call reset() between episodes")
        names = ["action", *(f"{state.before}_out" for state in self.graph.states)]
        action, *after = self._session.run(names, {**given, **states})
        self._states.update({state.before: value for state, value in zip(self.graph.states, after, strict=True)})
        result: NDArray[Any] = action[0] if single else action
        return result

    def save(self, path: PathLike) -> Path:
        """Write a ``model.pt`` that ``prunekit.load`` reads back as exactly this policy; return the path.

        Raises InputError for metadata that is not plain JSON data, and for a path that ends in ``.onnx``.
        """
        if Path(path).suffix == ".onnx":
            raise InputError(f"{path}: save() writes a model.pt; export_onnx() writes ONNX")
        masks = full_masks(self.graph) if self.masks is None else self.masks
        save_model_file(
            ModelFile(graph=self.graph, masks=masks, provenance=self.metadata, actions=self.actions), Path(path)
        )
        return Path(path)

    def shrink(self, masks: Mapping[str, ArrayLike | Tensor] | None = None) -> Policy:
        """Return a smaller policy with the same actions, without the units that ``masks`` remove.

        ``masks`` hold one ``keep`` bool [width] per group, by its name; None takes the policy's own, and where it has
        none, removes units that are constant for all observations. Raises InputError for masks that do not fit, and
        CheckError where the smaller policy differs by more than rounding.
        """
        given = self.masks if masks is None else {name: np.asarray(keep) for name, keep in masks.items()}
        made = shrink_graph(self.graph, given, self.metadata, actions=self.actions)
        return Policy(
            graph=made.file.graph, metadata=dict(made.file.provenance), actions=self.actions, notes=self.notes
        )

    def export_onnx(self, path: PathLike) -> Path:
        """Write the policy as ONNX, checked against torch and NumPy first; return the path.

        Raises InputError for a path that ends in ``.pt``.
        """
        if Path(path).suffix in (".pt", ".pth"):
            raise InputError(f"{path}: export_onnx() writes ONNX; save() writes a model.pt")
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

        With ``int8``, weights are stored as int8 and activations as int16. The ranges of the activations are measured
        on ``observations`` [n, ...] of the policy. Raises InputError if these are missing, and for ops without a form
        in C or in integers.
        """
        if c_name(name) != name:
            raise InputError(f"'{name}' is not a C name (lowercase letters, digits and _); try '{c_name(name)}'")

        def record() -> NDArray[np.float32]:
            if observations is None:
                raise InputError("`int8` needs `observations` of the policy, to measure ranges on; give some")
            return np.asarray(observations, np.float32).reshape(len(observations), -1)

        require_folder(Path(folder))
        settings = CSettings(name=name, activations=16 if int8 else None)
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
        try:
            given = {name: np.asarray(value, ports[name].dtype) for name, value in observation.items()}
        except (TypeError, ValueError) as error:
            raise InputError(f"an observation must be numbers, in an array or a list ({error})") from error
        single = all(value.shape == ports[name].shape for name, value in given.items())
        batched = all(value.shape[1:] == ports[name].shape for name, value in given.items() if value.ndim)
        if not single and not (batched and len({len(value) for value in given.values() if value.ndim}) == 1):
            told = ", ".join(f"{name} {list(value.shape)}" for name, value in given.items())
            wanted = ", ".join(f"{name} {list(port.shape)}" for name, port in ports.items())
            raise InputError(f"observations of {told} do not fit a policy of {wanted}, nor a batch of it")
        return ({name: value[None] for name, value in given.items()} if single else given), single
