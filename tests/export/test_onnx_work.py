"""How much an ONNX graph can do: what is refused before it runs, and what of real exporters must run."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import branch, function_of, if_node, model_of, node

from prunekit import ArtifactError
from prunekit.export.session import tuned_session, work_of

Make = Callable[[], onnx.ModelProto]
SUM = node("ReduceSum", ["big"], ["y"], keepdims=0)


def huge(*nodes: onnx.NodeProto, **constants: object) -> Make:
    return lambda: model_of([*nodes, SUM], constants)


def doubled(operator: str, times: int, **attributes: int) -> list[onnx.NodeProto]:
    names = ["x", *(f"v{place}" for place in range(times - 1)), "big"]
    return [node(operator, [before, before], [after], **attributes) for before, after in pairwise(names)]


def spread(sizes: list[int]) -> list[onnx.NodeProto]:
    """Return nodes that make ``seen`` of the shape ``s`` from the observation."""
    return [node("ReduceSum", ["x"], ["one"]), node("Expand", ["one", "s"], ["seen"])]


ENORMOUS: dict[str, Make] = {
    "ConstantOfShape": huge(node("ConstantOfShape", ["s"], ["big"]), s=np.asarray([50_000, 50_000])),
    "ConstantOfShape, of a computed shape": huge(
        node("Mul", ["s", "s"], ["t"]), node("ConstantOfShape", ["t"], ["big"]), s=np.asarray([400, 400])
    ),
    "Expand": huge(node("ReduceSum", ["x"], ["a"]), node("Expand", ["a", "s"], ["big"]), s=np.asarray([2**15, 2**15])),
    "Tile": huge(node("Tile", ["x", "s"], ["big"]), s=np.asarray([2**14, 2**14])),
    "Tile that overflows": huge(node("Tile", ["x", "s"], ["big"]), s=np.asarray([1, 2**62])),
    "Range": huge(node("Range", ["a", "b", "c"], ["big"]), a=0.0, b=1e9, c=1.0),
    "Pad": huge(node("Pad", ["x", "s"], ["big"]), s=np.asarray([0, 0, 0, 2**30])),
    "Resize": huge(node("Resize", ["x", "", "s"], ["big"]), s=np.asarray([1e4, 1e4], np.float32)),
    "OneHot": huge(
        node("ArgMax", ["x"], ["i"], axis=1),
        node("OneHot", ["i", "d", "v"], ["big"]),
        d=np.asarray([2**30]),
        v=np.asarray([0.0, 1.0]),
    ),
    "Concat chain": lambda: model_of([*doubled("Concat", 40, axis=1), SUM]),
    "outer product": lambda: model_of(
        [*spread([]), node("Transpose", ["seen"], ["turned"]), node("MatMul", ["seen", "turned"], ["big"]), SUM],
        {"s": np.asarray([20_000, 1])},
    ),
    "products": lambda: model_of(
        [
            *spread([]),
            *(node("MatMul", ["seen", "seen"], [f"p{place}"]) for place in range(20)),
            node("Identity", ["x"], ["y"]),
        ],
        {"s": np.asarray([500, 500])},
    ),
    "convolution of a padded value": lambda: model_of(
        [
            node("Reshape", ["x", "s"], ["image"]),
            node("Conv", ["image", "w"], ["big"], pads=[9999, 9999, 9999, 9999]),
            SUM,
        ],
        {"s": np.asarray([1, 1, 2, 2]), "w": np.ones((1, 1, 2, 2))},
    ),
    "RandomNormal": lambda: model_of([node("RandomNormal", [], ["big"], shape=[2**16, 2**15]), SUM]),
    "Multinomial": lambda: model_of(
        [node("Multinomial", ["x"], ["i"], sample_size=2**30), node("Cast", ["i"], ["big"], to=1), SUM]
    ),
    "EyeLike": huge(
        node("ConstantOfShape", ["s"], ["a"]), node("EyeLike", ["a"], ["big"]), s=np.asarray([2**13, 2**13])
    ),
    "Einsum": lambda: model_of(
        [*spread([]), node("Einsum", ["seen", "seen"], ["big"], equation="ab,cd->abcd"), SUM],
        {"s": np.asarray([100, 100])},
    ),
    "a branch that is not taken": lambda: model_of(
        [
            if_node(
                "no",
                branch([node("ConstantOfShape", ["s"], ["big"]), node("ReduceSum", ["big"], ["z"], keepdims=0)]),
                branch([node("ReduceSum", ["x"], ["z"], keepdims=0)]),
            )
        ],
        {"no": np.asarray(False), "s": np.asarray([50_000, 50_000])},
    ),
}


@pytest.mark.parametrize("name", ENORMOUS)
def test_enormous_work_is_refused_in_no_time(name: str) -> None:
    content = ENORMOUS[name]().SerializeToString()
    began = time.perf_counter()
    with pytest.raises(ArtifactError, match=r"^bad\.onnx: .*(more than a policy needs|impossible size)") as refusal:
        tuned_session(content, "bad.onnx")
    assert time.perf_counter() - began < 2.0
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "nodes",
    [
        [
            node("Cast", ["x"], ["i"], to=7),
            node("Reshape", ["i", "flat"], ["s"]),
            node("ConstantOfShape", ["s"], ["y"]),
        ],
        [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Range", ["zero", "m", "step"], ["y"])],
        [node("Cast", ["x"], ["i"], to=7), node("Reshape", ["i", "flat"], ["s"]), node("Expand", ["x", "s"], ["y"])],
    ],
    ids=["ConstantOfShape", "Range", "Expand"],
)
def test_sizes_that_the_observation_tells_are_refused_when_it_is_to_run(nodes: list[onnx.NodeProto]) -> None:
    model = model_of(nodes, {"flat": np.asarray([-1]), "zero": 0.0, "step": 1.0})
    work_of(model.SerializeToString(), "m.onnx")
    with pytest.raises(ArtifactError, match=r"m\.onnx: .* gives a value whose size nothing bounds"):
        work_of(model.SerializeToString(), "m.onnx", width=4)


def test_work_that_grows_with_the_square_of_the_batch_is_seen() -> None:
    nodes = [node("Transpose", ["x"], ["t"]), node("MatMul", ["x", "t"], ["all"]), node("ReduceSum", ["all"], ["y"])]
    content = model_of(nodes).SerializeToString()
    assert work_of(content, "m.onnx", width=4).values["all"].limit == 1
    with pytest.raises(ArtifactError, match="more than a policy needs"):
        work_of(content, "m.onnx", batch=10_000, width=4)


def squeezed() -> onnx.ModelProto:
    """Return what torch writes for ``squeeze(1)``: an If on a size, the branch that is not taken not even fitting."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "at"], ["size"]),
        node("Equal", ["size", "wanted"], ["is_one"]),
        if_node(
            "is_one",
            branch([node("Squeeze", ["x", "axes"], ["z"])], constants={"axes": np.asarray([1])}),
            branch([node("Identity", ["x"], ["z"])]),
        ),
    ]
    open_width = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "n"])
    return model_of(nodes, {"at": np.asarray(1), "wanted": np.asarray(1)}, inputs=[open_width])


def recurrent() -> onnx.ModelProto:
    """Return what torch writes for an LSTM: an initial state of the batch's size, computed from the shape."""
    nodes = [
        node("Unsqueeze", ["x", "zero"], ["steps"]),
        node("Shape", ["steps"], ["shape"]),
        node("Gather", ["shape", "one"], ["batch"]),
        node("Concat", ["one", "batch", "width"], ["sizes"], axis=0),
        node("ConstantOfShape", ["sizes"], ["state"]),
        node("LSTM", ["steps", "w", "r", "b", "", "state", "state"], ["", "h", ""], hidden_size=3),
        node("Squeeze", ["h", "zero"], ["y"]),
    ]
    generator = np.random.default_rng(0)
    return model_of(
        nodes,
        {
            "zero": np.asarray([0]),
            "one": np.asarray([1]),
            "width": np.asarray([3]),
            "w": generator.normal(size=(1, 12, 4)),
            "r": generator.normal(size=(1, 12, 3)),
            "b": np.zeros((1, 24)),
        },
    )


def split() -> onnx.ModelProto:
    """Return what torch writes for ``split`` of an open size: a sequence, and a value taken from it."""
    nodes = [node("SplitToSequence", ["x", "two"], ["parts"], axis=1), node("SequenceAt", ["parts", "one"], ["y"])]
    return model_of(nodes, {"two": np.asarray(2), "one": np.asarray(1)})


def branching() -> onnx.ModelProto:
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["more"]),
        if_node("more", branch([node("Relu", ["x"], ["z"])]), branch([node("Neg", ["x"], ["z"])])),
    ]
    return model_of(nodes, {"zero": 0.0})


def functional() -> onnx.ModelProto:
    functions = [
        function_of("twice", [node("once", ["a"], ["c"], domain="f"), node("once", ["c"], ["b"], domain="f")]),
        function_of("once", [node("Relu", ["a"], ["b"])]),
    ]
    return model_of([node("twice", ["x"], ["y"], domain="f")], functions=functions, domains=["f"])


def quantized() -> onnx.ModelProto:
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        node("MatMulInteger", ["q", "w", "zero"], ["i"]),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["scale", "w_scale"], ["s"]),
        node("Mul", ["f", "s"], ["y"]),
    ]
    return model_of(nodes, {"w": np.ones((4, 2), np.int8), "w_scale": np.asarray([0.5, 0.5])})


def fused() -> onnx.ModelProto:
    nodes = [
        node("FusedMatMul", ["x", "w"], ["h"], domain="com.microsoft", transB=1),
        node("Gelu", ["h"], ["y"], domain="com.microsoft"),
    ]
    return model_of(nodes, {"w": np.ones((2, 4))}, domains=["com.microsoft"])


def masked() -> onnx.ModelProto:
    """Return a mask of huge numbers, as attention has one: they are no sizes."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Expand", ["low", "shape"], ["mask"]),
        node("Pad", ["x", "pads", "high"], ["wide"]),
        node("ReduceMax", ["wide"], ["most"]),
        node("Max", ["mask", "most"], ["y"]),
    ]
    return model_of(nodes, {"low": np.float32(-3e38), "high": np.float32(-np.inf), "pads": np.asarray([0, 1, 0, 1])})


@pytest.mark.parametrize("make", [masked, squeezed, recurrent, split, branching, functional, quantized, fused])
@pytest.mark.parametrize("batch", [1, 5])
def test_what_exporters_write_runs(make: Make, batch: int) -> None:
    content = make().SerializeToString()
    x = np.random.default_rng(0).normal(size=(batch, 4)).astype(np.float32)
    (found,) = tuned_session(content).run(None, {"x": x})
    value = work_of(content, "m.onnx", batch=batch, width=4).values["y"]
    assert value.limit is not None
    assert value.limit >= found.size
    if value.dims is not None and None not in value.dims:
        assert value.dims == found.shape
