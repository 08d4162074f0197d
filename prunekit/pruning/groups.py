"""Groups: which units live or die together, found by tracing against an allow-list.

A group is one hidden layer. Its *producer* is the ``nn.Linear`` whose rows and bias make the units; its
*consumers* are every ``nn.Linear`` whose columns read them. Pruner and surgery both work from this data alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from prunekit.activations import Activation
from prunekit.errors import CouplingError
from prunekit.pruning.layers import refuse_common_memory
from prunekit.pruning.tracing import Attribute, Dense, Elementwise, Output, Step, Unknown, sources_of, trace


@final
@dataclass(frozen=True)
class Group:
    """One hidden layer: its name (the producer's path), width, activations in order, and consumers' paths."""

    name: str
    width: int
    activations: tuple[Activation, ...]
    consumers: tuple[str, ...]


def find_groups(network: nn.Module) -> tuple[Group, ...]:
    """Find the groups of ``network``, from its input to its output.

    Layers whose values reach the network's output are not groups: outputs are never pruned.

    Raises CouplingError, naming the module or node, where units pass through anything but linear layers and
    the known element-wise activations on their way to a linear layer, where a linear layer or its parameters are used
    twice or its weight is no plain one (``trace``).
    """
    steps = trace(network)
    _refuse_shared(steps, network)
    refuse_common_memory(network, [step.path for step in steps if isinstance(step, Dense)])
    by_name = {step.name: step for step in steps}
    feeds_dense = _names_upstream_of_dense(steps)
    visible = _names_that_reach_output(steps)
    groups = []
    for step in steps:
        if isinstance(step, Unknown) and step.name in feeds_dense:
            _refuse_hidden(step, by_name)
        if isinstance(step, Dense) and step.name not in visible:
            groups.append(_group(step, steps, network))
    return tuple(group for group in groups if group.consumers)


def producer_of(network: nn.Module, group: Group) -> nn.Linear:
    """Return the linear layer that makes the group's units."""
    return linear_at(network, group.name)


def consumers_of(network: nn.Module, group: Group) -> tuple[nn.Linear, ...]:
    """Return the linear layers that read the group's units."""
    return tuple(linear_at(network, path) for path in group.consumers)


def linear_at(network: nn.Module, path: str) -> nn.Linear:
    """Return the ``nn.Linear`` at a dotted path; raises CouplingError when something else is there."""
    module = network.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise CouplingError(f"module '{path}' is a {type(module).__name__}, not a Linear; trace the network again")
    return module


def unit_slices(network: nn.Module, group: Group) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return (tensors indexed by unit in dimension 0, tensors indexed by unit in dimension 1).

    The first are the producer's weight [width, in] and bias [width] (if it has one), the second the
    consumers' weights [out, width]. They are the live parameters, not copies.
    """
    producer = producer_of(network, group)
    rows = (producer.weight,) if producer.bias is None else (producer.weight, producer.bias)
    return rows, tuple(consumer.weight for consumer in consumers_of(network, group))


def _group(dense: Dense, steps: Sequence[Step], network: nn.Module) -> Group:
    width = linear_at(network, dense.path).out_features
    carriers: dict[str, tuple[Activation, ...]] = {dense.name: ()}
    read: dict[str, tuple[Activation, ...]] = {}
    for step in steps:
        if isinstance(step, Elementwise) and step.source in carriers:
            own = () if step.activation.name == "identity" else (step.activation,)
            carriers[step.name] = carriers[step.source] + own
        if isinstance(step, Dense) and step.source in carriers:
            _refuse_reshaped(dense, width, step, network)
            read[step.path] = carriers[step.source]
    activations = next(iter(read.values()), ())
    for path, others in read.items():
        if others != activations:
            raise CouplingError(
                f"module '{path}' reads the units of '{dense.path}' through other activations than its siblings do"
            )
    return Group(dense.path, width, activations, tuple(read))


def _refuse_reshaped(dense: Dense, width: int, consumer: Dense, network: nn.Module) -> None:
    values = linear_at(network, consumer.path).in_features
    if values != width:
        raise CouplingError(
            f"module '{consumer.path}' reads {values} values, but '{dense.path}' makes {width} units; "
            "units that are reshaped on the way cannot be pruned"
        )


def _refuse_shared(steps: Sequence[Step], network: nn.Module) -> None:
    calls = Counter(step.path for step in steps if isinstance(step, Dense))
    for step in steps:
        if isinstance(step, Attribute) and step.path.rpartition(".")[0] in calls:
            raise CouplingError(f"'{step.path}' is read apart from its layer; units of such layers cannot die")
    owner: dict[int, str] = {}
    for path, count in calls.items():
        if count > 1:
            raise CouplingError(f"module '{path}' (Linear) is called {count} times; units of shared layers cannot die")
        for name, parameter in linear_at(network, path).named_parameters():
            first = owner.setdefault(id(parameter), path)
            if first != path:
                raise CouplingError(
                    f"modules '{first}' and '{path}' share one {name}; units of tied layers cannot die apart"
                )


def _refuse_hidden(step: Unknown, by_name: dict[str, Step]) -> None:
    if any(_depends_on_dense(by_name[source], by_name) for source in step.sources):
        raise CouplingError(
            f"{step.label} lies between hidden units and a linear layer and is not known; "
            "only Linear layers and element-wise activations can be pruned"
        )


def _depends_on_dense(step: Step, by_name: dict[str, Step]) -> bool:
    if isinstance(step, Dense):
        return True
    return any(_depends_on_dense(by_name[source], by_name) for source in sources_of(step))


def _names_upstream_of_dense(steps: Sequence[Step]) -> set[str]:
    upstream: set[str] = set()
    for step in reversed(steps):
        if isinstance(step, Dense) or step.name in upstream:
            upstream.update(sources_of(step))
    return upstream


def _names_that_reach_output(steps: Sequence[Step]) -> set[str]:
    """Names whose units show in the output, or in something unknown on the way there, un-mixed by a Dense."""
    visible: set[str] = set()
    for step in reversed(steps):
        if isinstance(step, Output | Unknown) or (isinstance(step, Elementwise) and step.name in visible):
            visible.update(sources_of(step))
    return visible
