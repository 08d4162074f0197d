"""Runtimes, which run a model on one observation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.models import BenchModel
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, CheckError, InputError
from prunekit.export.session import checked_session, work_of
from prunekit.formats.onnx_work import Work
from prunekit.formats.text import reason_of, shown


class Runtime(Protocol):
    """Runs one model on single observations."""

    @property
    def inputs(self) -> int:
        """The width of an observation."""

    def act(self, observation: Any) -> Any:
        """Return the action that ``env.step`` accepts for a raw observation [inputs]."""

    def call(self) -> None:
        """Run the model on the previous observation again; its duration is the latency."""

    def close(self) -> None:
        """Free all resources; the runtime is not used afterwards."""


_QUESTIONS = 16
_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}


@final
class OnnxRuntime:
    """ONNX Runtime with one thread that does not spin, reading and writing fixed buffers through IOBinding.

    It also runs files of other programs: one input [batch, n] of float32 or float64, and the output ``action``, or the
    only output. An integer output is the action itself. A float output becomes an action by the kind of the actions:
    the argmax of choices, or values clipped to their bounds.

    Raises InputError, naming the file, if input or output do not fit the environment, if one run does more work than
    any policy needs, and if the answer to the same observation changes.
    """

    def __init__(self, model: BenchModel, spaces: Spaces) -> None:
        session, work = checked_session(model.content, str(model.path))
        source = _only_input(session, model)
        dtype = _DTYPES.get(source.type)
        if dtype is None:
            raise InputError(
                f"{model.path}: input '{shown(source.name)}' is {source.type}, but observations are float vectors"
            )
        if len(source.shape) == 1:
            raise InputError(
                f"{model.path}: takes observations of shape {source.shape}, which has no batch axis; export it with an "
                f"input of shape {['batch', *source.shape]}"
            )
        fixed = [size for size in source.shape[1:] if isinstance(size, int)]
        if len(source.shape) != 2 or fixed not in ([], [spaces.observation]):
            taken = f"{fixed[0]} values" if len(source.shape) == 2 else f"observations of shape {source.shape}"
            raise InputError(
                f"{model.path}: takes {taken}, but the environment gives {spaces.observation}; give the model's own "
                "environment with `env`"
            )
        if work.is_open:
            require_bounded(model, spaces)
        output_name = _action_output(session, model)
        self._name, self._spaces = str(model.path), spaces
        self._observation = np.zeros((1, spaces.observation), dtype)
        try:
            found = session.run(None, {source.name: self._observation})
        except Exception as error:  # ONNX Runtime's own exception types share no public base
            raise self._failed(error) from error
        outputs = {entry.name: np.asarray(value) for entry, value in zip(session.get_outputs(), found, strict=True)}
        if output_name in model.sampled:
            others = [name for name in outputs if name not in model.sampled and _fits(outputs[name], spaces)]
            raise samples_its_action(str(model.path), output_name, model.sampled[output_name], others)
        self._output = np.zeros_like(outputs[output_name])
        self._check_output(model)
        self._session, self._binding = session, session.io_binding()
        self._binding.bind_cpu_input(source.name, self._observation)
        output = self._output
        self._binding.bind_output(output_name, "cpu", 0, output.dtype.type, output.shape, output.ctypes.data)
        self._require_one_answer()

    @property
    def inputs(self) -> int:
        """The width of an observation."""
        return self._spaces.observation

    def call(self) -> None:
        """Run the model on the previous observation again; raises InputError, naming the file, if it fails."""
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # ONNX Runtime's own exception types share no public base
            raise self._failed(error) from error

    def close(self) -> None:
        """Do nothing: the object frees its resources."""

    def act(self, observation: Any) -> Any:
        """Return the action for a raw observation [inputs]; raises CheckError if it is not finite or not in the action
        space.

        Raises InputError, naming the file, if the model fails on the observation.
        """
        self._observation[0] = observation
        self.call()
        values = self._output.reshape(-1)
        if np.issubdtype(values.dtype, np.integer):
            return self._within(values)
        if not np.isfinite(values).all():
            seen = shown(np.asarray(observation).tolist())
            raise CheckError(f"{self._name}: the action is not finite for observation {seen}")
        return self._spaces.actions.decided(values)

    def _failed(self, error: Exception) -> InputError:
        return InputError(f"{self._name}: does not run on one observation of {self.inputs} values ({reason_of(error)})")

    def _require_one_answer(self) -> None:
        """Ask twice, because a model that samples or has a hidden state is not a function of its input."""
        draws = np.random.default_rng(0).uniform(size=(_QUESTIONS, self.inputs))
        for row in (np.zeros(self.inputs), *draws):
            self._observation[0] = row
            self.call()
            first = self._output.tobytes()  # bits, as NaN is not equal to itself
            self.call()
            if self._output.tobytes() != first:
                raise changing_answer(self._name)
        self._observation[:] = 0.0

    def _within(self, action: NDArray[np.integer[Any]]) -> Any:
        try:
            return self._spaces.actions.action(action)
        except CheckError as error:
            raise CheckError(f"{self._name}: {error}") from error

    def _check_output(self, model: BenchModel) -> None:
        integer = np.issubdtype(self._output.dtype, np.integer)
        actions = self._spaces.actions
        if integer and actions.choices is None:
            raise InputError(f"{model.path}: gives an action number, but the environment's actions are {actions.sort}")
        wanted = actions.choices if integer else actions.outputs
        if self._output.size != wanted:
            raise InputError(
                f"{model.path}: gives {self._output.size} values, but the environment's actions need {wanted}; "
                "give the model's own environment with `env`"
            )


def require_bounded(model: BenchModel, spaces: Spaces) -> Work:
    """Return the limits of one run on one observation; raises InputError, naming the file, if there are none."""
    called = str(model.path)
    try:
        return work_of(model.content, called, width=spaces.observation)
    except ArtifactError as error:
        reason = str(error).removeprefix(f"{called}: ")
        raise InputError(
            f"{called}: does not run on one observation of {spaces.observation} values ({reason})"
        ) from error


def samples_its_action(name: str, output: str, operator: str, others: Sequence[str]) -> InputError:
    """Return an error for a policy whose ``output`` is sampled by ``operator``; ``others`` could be used and are not
    sampled.
    """
    advice = "export its deterministic action"
    if others:
        advice = f"choose an output that is not sampled ({', '.join(map(shown, others))}) with `output`"
    return InputError(
        f"{name}: samples its action (output '{shown(output)}' depends on {operator}), so one observation has "
        f"many answers; {advice}"
    )


def changing_answer(name: str) -> InputError:
    """Return an error for a policy that answered the same observation in two ways."""
    return InputError(
        f"{name}: gives different answers to the same observation, so it samples its action or keeps a state; "
        "export a deterministic policy without a state"
    )


def _fits(output: NDArray[Any], spaces: Spaces) -> bool:
    return np.issubdtype(output.dtype, np.floating) and output.size == spaces.outputs


def _only_input(session: Any, model: BenchModel) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(shown(entry.name) for entry in inputs)
        raise InputError(f"{model.path}: has {len(inputs)} inputs ({names}), but a policy takes one observation")
    return inputs[0]


def _action_output(session: Any, model: BenchModel) -> str:
    names = [entry.name for entry in session.get_outputs()]
    if "action" in names:
        return "action"
    if len(names) == 1:
        return str(names[0])
    raise InputError(f"{model.path}: has outputs {', '.join(map(shown, names))}; name the policy's action 'action'")
