"""Runtimes: something that runs a model on one observation at a time."""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np

from prunekit.bench.models import BenchModel
from prunekit.environments import Spaces
from prunekit.errors import CheckError, InputError
from prunekit.export.session import tuned_session


class Runtime(Protocol):
    """Runs one model, batch 1."""

    @property
    def inputs(self) -> int:
        """The width of an observation."""

    def act(self, observation: Any) -> Any:
        """Return the action that ``env.step`` accepts for a raw observation [inputs]."""

    def call(self) -> None:
        """Run the model once on the observation of last time: what latency means."""

    def close(self) -> None:
        """Free what it holds; it is not called again."""


_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}


@final
class OnnxRuntime:
    """ONNX Runtime, tuned (one thread, no spinning), reading and writing fixed buffers through IOBinding.

    Serves files that prunekit did not write: one input [batch, n] of float32 or float64; the output named
    ``action``, or the only one. An integer output is the action itself; a float output is argmax-ed where the
    actions are discrete, and clipped to their bounds where they are not.

    Raises InputError, naming file and widths, where input or output do not fit the environment.
    """

    def __init__(self, model: BenchModel, spaces: Spaces) -> None:
        session = tuned_session(model.content)
        source = _only_input(session, model)
        dtype = _DTYPES.get(source.type)
        if dtype is None:
            raise InputError(
                f"{model.path}: input '{source.name}' is {source.type}, but observations are float vectors"
            )
        if len(source.shape) == 1:
            raise InputError(
                f"{model.path}: takes observations of shape {source.shape}, which has no batch axis; export it with an "
                f"input of shape {['batch', *source.shape]}"
            )
        fixed = [size for size in source.shape[1:] if isinstance(size, int)]
        if len(source.shape) != 2 or fixed not in ([], [spaces.observation]):
            raise InputError(
                f"{model.path}: takes observations of shape {source.shape}, but the environment gives "
                f"{spaces.observation} values; give the model's own environment with --env"
            )
        target = _decision_output(session, model)
        self._name, self._spaces = str(model.path), spaces
        self._observation = np.zeros((1, spaces.observation), dtype)
        try:
            (first,) = session.run([target], {source.name: self._observation})
        except Exception as error:  # ONNX Runtime's own exception types share no public base
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{model.path}: does not run on one observation of {spaces.observation} values ({reason})"
            ) from error
        self._output = np.zeros_like(np.asarray(first))
        self._check_output(model)
        self._session, self._binding = session, session.io_binding()
        self._binding.bind_cpu_input(source.name, self._observation)
        output = self._output
        self._binding.bind_output(target, "cpu", 0, output.dtype.type, output.shape, output.ctypes.data)

    @property
    def inputs(self) -> int:
        """The width of an observation."""
        return self._spaces.observation

    def call(self) -> None:
        """Run the model once on the observation of last time."""
        self._session.run_with_iobinding(self._binding)

    def close(self) -> None:
        """Nothing outlives the object."""

    def act(self, observation: Any) -> Any:
        """Return the action for a raw observation [inputs]; raises CheckError where it is not finite or in no space."""
        self._observation[0] = observation
        self._session.run_with_iobinding(self._binding)
        values = self._output.reshape(-1)
        if np.issubdtype(values.dtype, np.integer):
            return self._within(int(values[0]))
        if not np.isfinite(values).all():
            raise CheckError(f"{self._name}: the action is not finite for observation {np.asarray(observation)}")
        if self._spaces.discrete is not None:
            return self._spaces.action(values.argmax())
        return self._spaces.action(values)

    def _within(self, action: int) -> Any:
        first, count = self._spaces.start, self._spaces.discrete
        if count is None or not first <= action < first + count:
            raise CheckError(f"{self._name}: chose action {action}, not one of {count} from {first}")
        return self._spaces.numbered(action)

    def _check_output(self, model: BenchModel) -> None:
        integer = np.issubdtype(self._output.dtype, np.integer)
        if integer and self._spaces.discrete is None:
            raise InputError(f"{model.path}: gives an action number, but the environment's actions are continuous")
        wanted = 1 if integer else self._spaces.outputs
        if self._output.size != wanted:
            raise InputError(
                f"{model.path}: gives {self._output.size} values, but the environment's actions need {wanted}; "
                "give the model's own environment with --env"
            )


def _only_input(session: Any, model: BenchModel) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs)
        raise InputError(f"{model.path}: has {len(inputs)} inputs ({names}), but a policy takes one observation")
    return inputs[0]


def _decision_output(session: Any, model: BenchModel) -> str:
    names = [entry.name for entry in session.get_outputs()]
    if "action" in names:
        return "action"
    if len(names) == 1:
        return str(names[0])
    raise InputError(f"{model.path}: has outputs {', '.join(names)}; name the policy's decision 'action'")
