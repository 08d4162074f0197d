"""Mutations of ONNX files: of any field of any message, and of the graph as such."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto, helper

from fuzzing.texts import JSON
from fuzzing.values import BAIT_FILE, FLOATS, OUTSIDE, Mutations, drawn, number, text, value

_OPS_TEXT = """
Identity Neg Abs Exp Log Sqrt Relu Tanh Sigmoid Softmax Elu ArgMax ReduceSum Gemm MatMul Add Sub Mul Div Mod Pow Clip
Cast Reshape Flatten Transpose Pad Concat Split Slice Gather GatherND ScatterND Expand Tile Resize Upsample Range
ConstantOfShape Constant Shape Size NonZero TopK Unique CumSum Einsum OneHot Where RandomNormal RandomUniform
RandomNormalLike Multinomial Bernoulli Dropout Loop If Scan LSTM GRU RNN Conv MaxPool LayerNormalization
BatchNormalization QuantizeLinear DequantizeLinear StringNormalizer TfIdfVectorizer SequenceConstruct SequenceAt
SplitToSequence Optional Nothing EyeLike Hardmax NonMaxSuppression RoiAlign GridSample STFT DFT MelWeightMatrix
LabelEncoder
"""
_OPS = _OPS_TEXT.split()
_LARGE = ([2**20, 2**20], [2**31], [10**6, 10**4], [2**14, 2**14], [-1], [0], [2**62], [1] * 100)


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, found in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in found if _repeated(field) else [found]:
                yield from _messages(inner)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def _odd(generator: random.Random, field: Any, old: Any) -> Any:
    if field.type == field.TYPE_STRING:
        return text(generator, str(old)).encode(errors="replace").decode()
    if field.type == field.TYPE_BYTES:
        content = bytes(old)
        place = generator.randrange(len(content) + 1)
        return generator.choice((content[:place], content * 2, b"", b"\xff\x1b[31m", content[place:]))
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return generator.choice([one for one in FLOATS if abs(one) < 1e30 or one != one or abs(one) == float("inf")])
    if field.type == field.TYPE_ENUM:
        return generator.choice([entry.number for entry in field.enum_type.values])
    bits = 31 if field.type == field.TYPE_INT32 else 63
    return max(-(2**bits), min(number(generator, int(old)), 2**bits - 1))


def _field(generator: random.Random, content: bytes) -> bytes:
    """Change, remove or repeat one field of one message."""
    model = onnx.load_from_string(content)
    message = generator.choice(list(_messages(model)))
    present = [field for field, _ in message.ListFields()]
    field = generator.choice(present if present and generator.random() < 0.85 else list(message.DESCRIPTOR.fields))
    found = getattr(message, field.name)
    if generator.random() < 0.12:
        message.ClearField(field.name)
    elif _repeated(field):
        _change_repeated(generator, field, found)
    elif field.type == field.TYPE_MESSAGE:
        same = [one for one in _messages(model) if one.DESCRIPTOR is field.message_type]
        if same:
            found.CopyFrom(_copy(generator.choice(same)))
        else:
            found.SetInParent()
    else:
        setattr(message, field.name, _odd(generator, field, found))
    return bytes(model.SerializeToString())


def _copy(message: Any) -> Any:
    """Return a message that shares nothing: protobuf crashes where one is copied into a part of itself."""
    return type(message).FromString(message.SerializeToString())


def _change_repeated(generator: random.Random, field: Any, found: Any) -> None:
    index = generator.randrange(len(found)) if found else 0
    if field.type == field.TYPE_MESSAGE:
        match generator.randrange(3) if found else 3:
            case 0:
                del found[index]
            case 1:
                found.add().CopyFrom(_copy(found[index]))
            case 2:
                found[index].CopyFrom(_copy(generator.choice(found)))
            case _:
                found.add()
        return
    odd = _odd(generator, field, found[index] if found else 0 if field.type != field.TYPE_STRING else "")
    if found and generator.random() < 0.7:
        found[index] = odd
    elif found and generator.random() < 0.4:
        del found[index]
    else:
        found.append(odd)


def _operator(generator: random.Random, content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    node = generator.choice(model.graph.node)
    node.op_type = generator.choice(_OPS)
    if generator.random() < 0.1:
        node.domain = generator.choice(
            ("ai.onnx.ml", "com.microsoft", "prunekit", "x", text(generator)[:9].strip("\ud800"))
        )
    return bytes(model.SerializeToString())


def _through(model: Any, generator: random.Random, made: Any, output: str) -> None:
    """Let a node read ``output`` in place of what it read."""
    node = generator.choice(model.graph.node)
    place = generator.randrange(max(1, len(node.input)))
    if node.input:
        node.input[place] = output
    model.graph.node.insert(generator.choice((0, 0, len(model.graph.node))), made)


def _node(generator: random.Random, content: bytes) -> bytes:
    """Add a node that makes something large, random or endless, and most often let another one read it."""
    model = onnx.load_from_string(content)
    source = model.graph.input[0].name if model.graph.input else "obs"
    match generator.randrange(8):
        case 0 | 1:
            made = _loop(generator, model)
        case 2:
            body = helper.make_graph([helper.make_node("Identity", [source], ["then"])], "then", [], [_value("then")])
            made = helper.make_node("If", ["condition"], ["odd"], then_branch=body, else_branch=body)
            model.graph.initializer.append(helper.make_tensor("condition", TensorProto.BOOL, [], [True]))
        case 3:
            shape = generator.choice(_LARGE)
            model.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape))
            name, inputs = generator.choice(
                (("ConstantOfShape", ["shape"]), ("Expand", [source, "shape"]), ("Tile", [source, "shape"]))
            )
            made = helper.make_node(name, inputs, ["odd"])
        case 4:
            name = generator.choice(("RandomNormal", "RandomUniform"))
            made = helper.make_node(name, [], ["odd"], shape=generator.choice((*_LARGE, [1, 4], [4])))
        case 5:
            name = generator.choice(
                ("RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout", "NonZero")
            )
            made = helper.make_node(name, [source], ["odd"])
        case 6:
            limit = generator.choice((10**3, 10**9, 2**62))
            for key, entry in (("start", 0), ("limit", limit), ("delta", generator.choice((1, 0, -1)))):
                model.graph.initializer.append(helper.make_tensor(key, TensorProto.INT64, [], [entry]))
            made = helper.make_node("Range", ["start", "limit", "delta"], ["odd"])
        case _:
            made = helper.make_node(generator.choice(_OPS), [source] * generator.randrange(4), ["odd"])
    _through(model, generator, made, "odd")
    return bytes(model.SerializeToString())


def _value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _loop(generator: random.Random, model: Any) -> Any:
    count = generator.choice((3, 10**6, 10**12, 2**63 - 1))
    model.graph.initializer.append(helper.make_tensor("count", TensorProto.INT64, [], [count]))
    model.graph.initializer.append(helper.make_tensor("go", TensorProto.BOOL, [], [True]))
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [1, 1], [1.0]))
    work = generator.choice(
        (("Add", ["carried", "carried"]), ("Concat", ["carried", "carried"]), ("Identity", ["carried"]))
    )
    options: dict[str, Any] = {"axis": 0} if work[0] == "Concat" else {}
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes"]), helper.make_node(work[0], work[1], ["next"], **options)],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            _value("carried"),
        ],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, []), _value("next")],
    )
    return helper.make_node("Loop", ["count", "go", "one"], ["odd"], body=body)


def _functions(generator: random.Random, content: bytes) -> bytes:
    """Add functions each of which calls the one before it several times."""
    model = onnx.load_from_string(content)
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("deep", 1)]
    depth, times = generator.choice(((2, 1), (8, 2), (20, 2), (30, 2), (12, 8), (1, 500)))
    for level in range(depth):
        name = "Neg" if level == 0 else f"F{level - 1}"
        calls = [helper.make_node(name, [f"v{i}"], [f"v{i + 1}"], domain="deep" if level else "") for i in range(times)]
        model.functions.append(helper.make_function("deep", f"F{level}", ["v0"], [f"v{times}"], calls, opset))
    if generator.random() < 0.2 and depth > 1:
        model.functions[0].node[0].op_type, model.functions[0].node[0].domain = f"F{depth - 1}", "deep"
    model.opset_import.append(helper.make_opsetid("deep", 1))
    source = model.graph.input[0].name if model.graph.input else "obs"
    _through(model, generator, helper.make_node(f"F{depth - 1}", [source], ["odd"], domain="deep"), "odd")
    return bytes(model.SerializeToString())


def _external(generator: random.Random, content: bytes) -> bytes:
    """Let a tensor say that its numbers lie in another file."""
    model = onnx.load_from_string(content)
    tensors = [one for one in _messages(model) if isinstance(one, TensorProto)]
    tensor = generator.choice(tensors)
    places = (
        OUTSIDE,
        f"../{BAIT_FILE}",
        "/etc/passwd",
        "/dev/zero",
        "weights.bin",
        "model.onnx",
        "",
        ".",
        "\x00",
        "a/../" + OUTSIDE,
    )
    if generator.random() < 0.7:
        tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": generator.choice(places), "offset": str(number(generator)), "length": str(number(generator))}
    for key in generator.sample(list(entries), generator.randrange(4)) if generator.random() < 0.5 else ["location"]:
        tensor.external_data.add(key=key, value=generator.choice((entries[key], entries[key], "-1", "x", "")))
    return bytes(model.SerializeToString())


def _metadata(generator: random.Random, content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    found = list(model.metadata_props)
    if found and generator.random() < 0.75:
        entry = generator.choice(found)
        try:
            entry.value = JSON[drawn(generator, JSON)][1](generator, entry.value.encode()).decode()
        except Exception:  # a lone number has no entries to change
            entry.value = json.dumps(value(generator))
    else:
        keys = (
            "prunekit.env",
            "prunekit.sizes",
            "prunekit.format",
            "prunekit.hidden",
            "prunekit.",
            "prunekit.file",
            "x",
        )
        odd = text(generator).encode(errors="replace").decode()
        model.metadata_props.add(key=generator.choice((*keys, f"prunekit.{odd}")), value=json.dumps(value(generator)))
    return bytes(model.SerializeToString())


def _rename(generator: random.Random, content: bytes) -> bytes:
    """Give inputs, outputs or nodes other names, on all sides alike."""
    model = onnx.load_from_string(content)
    names = sorted({name for node in model.graph.node for name in (*node.input, *node.output) if name})
    old, new = generator.choice(names), text(generator).encode(errors="replace").decode()
    for message in _messages(model):
        for field, found in message.ListFields():
            if field.type == field.TYPE_STRING and _repeated(field):
                for index, entry in enumerate(found):
                    if entry == old:
                        found[index] = new
            elif field.type == field.TYPE_STRING and found == old:
                setattr(message, field.name, new)
    return bytes(model.SerializeToString())


def _deep(generator: random.Random, content: bytes) -> bytes:
    """Nest graphs within attributes of nodes."""
    model = onnx.load_from_string(content)
    inner = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "inner", [], [_value("b")])
    for _ in range(generator.choice((3, 20, 45, 95))):
        node = helper.make_node("If", ["a"], ["b"], then_branch=inner, else_branch=helper.make_graph([], "no", [], []))
        inner = helper.make_graph([node], "outer", [], [_value("b")])
    model.graph.node.extend(inner.node)
    return bytes(model.SerializeToString())


GRAPH: Mutations = {
    "field": (8.0, _field),
    "operator": (2.0, _operator),
    "node": (3.0, _node),
    "functions": (0.7, _functions),
    "external": (1.5, _external),
    "metadata": (2.5, _metadata),
    "rename": (0.8, _rename),
    "deep": (0.3, _deep),
}
