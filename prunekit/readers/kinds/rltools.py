"""Reader of RLtools checkpoints: HDF5 files in which every layer names its type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import final

import numpy as np

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.formats.hdf5_file import Contents, read_hdf5
from prunekit.formats.text import shown
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.op import Array, Op, name_of
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.clip import Clip
from prunekit.ops.elementary import Elementary
from prunekit.ops.gru import GRU
from prunekit.ops.identity import Identity
from prunekit.ops.mul import Mul
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.slice import Slice
from prunekit.policy.description import described
from prunekit.readers.lowering.builder import as_floats
from prunekit.readers.opened import Opened
from prunekit.readers.passes.simplify import simplified
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.words import ending_named

CALLED = "RLtools checkpoint"
_ACTOR = "actor"
_KINDS = {"IDENTITY": None, "RELU": "relu", "TANH": "tanh", "SIGMOID": "sigmoid", "GELU": "gelu"}
_FAST_TANH = "FAST_TANH"
_OTHERS = (
    "no network of RLtools was found in it; export the policy to ONNX (of Keras: tf2onnx), or write its weights with "
    "safetensors.numpy.save_file and name them with `layers`"
)
_EVALUATED = "its action is that of evaluation, without noise"
_MAX_LAYERS = 200


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    path = opened.path
    try:
        contents = read_hdf5(path)
    except InputError as error:
        raise ArtifactError(f"{path}: HDF5 file, which {error}") from error
    try:
        place = options.nesting.replace(".", "/") if options.nesting is not None else _place(contents)
        layers = list(_layers_of(contents, place, 0))
        if not layers:
            raise InputError(f"HDF5 file, but {_OTHERS}")
        made = _Made(contents)
        for layer in layers:
            made.add(layer)
        graph = made.graph(options.head)
    except PrunekitError as error:
        if str(error).startswith("`"):
            raise
        raise InputError(f"{path}: {error}") from error
    return PolicyFile(
        path=path,
        recognised=f"{CALLED}, {place}, {described(graph)}{', recurrent' if graph.states else ''}",
        graph=graph,
        notes=tuple(made.notes),
        keeps_outputs=options.head is None or options.head.strip().lower() == "none",
    )


def _place(contents: Contents) -> str:
    """Return the HDF5 group of the policy: ``actor``, or else the only network in the file."""
    networks = [
        path for path, texts in contents.texts.items() if "/" not in path and texts.get("type") in ("sequential", "mlp")
    ]
    if _ACTOR in networks or any(name.startswith(f"{_ACTOR}/") for name in contents.arrays):
        return _ACTOR
    if len(networks) != 1:
        found = f"; there are {shown(', '.join(networks), 200)}: choose one with `nesting`" if networks else ""
        raise InputError(f"HDF5 file, but {_OTHERS}{found}")
    return networks[0]


def _layers_of(contents: Contents, path: str, depth: int) -> Iterator[str]:
    """Yield the HDF5 groups of the layers in order, descending into sequences and MLPs."""
    if depth > 4:
        raise InputError("nests its layers deeper than any network")
    inside = _inside(contents, path)
    if "input_layer" in inside and "output_layer" in inside:
        hidden = [name for name in inside if name.startswith("hidden_layer_")]
        names = ["input_layer", *(f"hidden_layer_{index}" for index in range(len(hidden))), "output_layer"]
    elif "layers" in inside:
        numbers = _inside(contents, f"{path}/layers")
        if not all(number.isdecimal() and len(number) < 4 for number in numbers):
            raise InputError("has layers with other names than 0, 1, 2, ...; save the policy again with RLtools")
        names = [f"layers/{number}" for number in sorted(numbers, key=int)]
    else:
        yield path
        return
    for name in names[:_MAX_LAYERS]:
        yield from _layers_of(contents, f"{path}/{name}", depth + 1)


def _inside(contents: Contents, path: str) -> set[str]:
    start = f"{path}/"
    names = (*contents.arrays, *contents.texts)
    return {name.removeprefix(start).split("/")[0] for name in names if name.startswith(start)}


@final
class _Made:
    """A graph under construction, to which layers are added."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.nodes: list[Node] = []
        self.states: list[State] = []
        self.notes: list[str] = []
        self.inputs: int | None = None
        self.width = 0
        self.value = "obs"

    def add(self, layer: str) -> None:
        """Add the ops of one layer."""
        kind = self.contents.texts.get(layer, {}).get("type", "")
        match kind:
            case "dense":
                self.dense(layer)
            case "gru":
                self.gru(layer)
            case "standardize":
                mean, precision = (self.array(layer, name).reshape(-1) for name in ("mean", "precision"))
                if mean.shape != precision.shape:
                    raise InputError(f"its layer '{shown(layer, 60)}' has vectors of different lengths")
                self.reads(len(mean), layer)
                self.op(ScaleShift(scale=precision, shift=as_floats(-mean.astype(np.float64) * precision)))
            case "sample_and_squash":
                self.op(Slice(selected=np.arange(self.width) < self.width // 2))
                self.width //= 2
                self.op(Activation(kind="tanh"))
                self.notes.append(_EVALUATED)
            case "td3_sampling":
                self.notes.append(_EVALUATED)
            case "" if f"{layer}/weights/parameters" in self.contents.arrays:  # of RLtools' first versions
                self.dense(layer)
            case _:
                raise InputError(f"{CALLED}, whose layer '{shown(layer, 60)}' is a '{shown(kind, 40)}', not read")

    def dense(self, layer: str) -> None:
        """Add a fully connected layer and its activation."""
        weight, bias = self.array(layer, "weights"), self.array(layer, "biases").reshape(-1)
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or not weight.size:
            raise InputError(f"its layer '{shown(layer, 60)}' has weights and biases that do not fit")
        self.reads(weight.shape[1], layer)
        self.op(Affine(weight=weight, bias=bias))
        self.width = len(bias)
        word = self.contents.texts.get(layer, {}).get("activation_function", "")
        if word == _FAST_TANH:
            self.fast_tanh()
        elif word not in _KINDS:
            raise InputError(
                f"its layer '{shown(layer, 60)}' has the activation '{shown(word, 40)}', which is not read"
            )
        elif (kind := _KINDS[word]) is not None:
            self.op(Activation(kind=kind))

    def gru(self, layer: str) -> None:
        """Add a GRU, whose state is the graph's."""
        names = ("weights_input", "weights_hidden", "biases_input", "biases_hidden", "initial_hidden_state")
        w_x, w_h, b_x, b_h, initial = (self.array(layer, name) for name in names)
        if w_x.ndim != 2:
            raise InputError(f"its layer '{shown(layer, 60)}' has weights that do not fit")
        self.reads(w_x.shape[1], layer)
        before = f"state_{len(self.states)}"
        after = f"{before}_next"
        op = GRU(w_x=w_x, w_h=w_h, b_x=b_x.reshape(-1), b_h=b_h.reshape(-1))
        self.nodes.append(Node(op=op, inputs=(self.value, before), outputs=(after,)))
        self.states.append(State(before=before, after=after, initial=initial.reshape(-1)))
        self.value, self.width = after, len(w_x) // 3

    def fast_tanh(self) -> None:
        """Add RLtools' own tanh: x (27 + x^2) / (27 + 9 x^2), with x clipped to [-3, 3]."""
        ones = np.ones(self.width, np.float32)
        self.op(Clip(low=-3.0, high=3.0))
        bounded = self.value
        self.op(Elementary(kind="square"))
        square = self.value
        self.op(ScaleShift(scale=9 * ones, shift=27 * ones))
        self.op(Elementary(kind="reciprocal"))
        below = self.value
        self.op(ScaleShift(scale=ones, shift=27 * ones), square)
        self.op(Mul(), self.value, below)
        self.op(Mul(), bounded, self.value)

    def op(self, op: Op, *inputs: str) -> None:
        """Add a node that reads ``inputs``, or the last value if none are given."""
        name = f"{name_of(op).lower()}_{len(self.nodes)}"
        self.nodes.append(Node(op=op, inputs=inputs or (self.value,), outputs=(name,)))
        self.value = name

    def reads(self, width: int, layer: str) -> None:
        """Check the input width of a layer; raises InputError if the previous layer has another output width."""
        if self.inputs is None:
            self.inputs = self.width = width
        if width != self.width:
            raise InputError(
                f"its layer '{shown(layer, 60)}' reads {width} values, but the layer before it gives {self.width}"
            )
        if not width:
            raise InputError(f"its layer '{shown(layer, 60)}' reads nothing")

    def array(self, layer: str, name: str) -> Array:
        """Return an array of a layer as float32."""
        for path in (f"{layer}/{name}/parameters", f"{layer}/{name}"):
            if path in self.contents.arrays:
                return as_floats(self.contents.arrays[path].astype(np.float64))
        raise InputError(f"its layer '{shown(layer, 60)}' has no '{name}'")

    def graph(self, head: str | None) -> Graph:
        """Return the graph, with the head that ``head`` names after the last layer."""
        if self.inputs is None:
            raise InputError(f"HDF5 file, but {_OTHERS}")
        ending = ending_named("none" if head is None else head, self.width)
        for op in ending.ops:
            self.op(op)
        if any(self.value in (state.before, state.after) for state in self.states):
            self.op(Identity())  # a state keeps its name
        last = self.nodes[-1]
        self.nodes[-1] = replace(last, outputs=("outputs",))
        self.nodes.append(Node(op=ending.head, inputs=("outputs",), outputs=("action",)))
        graph = Graph(
            inputs=(Port(name="obs", shape=(self.inputs,)),),
            nodes=tuple(self.nodes),
            outputs=("action", "outputs"),
            states=tuple(self.states),
        )
        return simplified(graph)


READER = Reader(
    name="rltools",
    called="checkpoints of RLtools",
    recognises=lambda opened: opened.container == "hdf5",
    read=_read,
    options=("head", "nesting"),
)
