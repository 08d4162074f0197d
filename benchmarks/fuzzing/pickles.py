"""Mutations of pickles, opcode by opcode."""

from __future__ import annotations

import pickletools
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fuzzing.values import BAIT_FILE, BAIT_MODULE, FLOATS, Mutate, Mutations, number, text

_GLOBALS = (
    *("os system", "posix mkdir", "builtins eval", "builtins exec", "builtins getattr", "builtins print", "io open"),
    *(
        "subprocess Popen",
        f"{BAIT_MODULE} make",
        f"{BAIT_MODULE} Thing",
        "numpy load",
        "numpy fromfile",
        "numpy memmap",
    ),
    *("numpy.core.multiarray _reconstruct", "numpy._core.multiarray scalar", "numpy ndarray", "numpy dtype"),
    *("collections OrderedDict", "collections defaultdict", "collections Counter", "torch Size", "torch device"),
    *("torch load", "torch from_file", "torch.hub load", "torch.serialization load", "torch.storage UntypedStorage"),
    *("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"),
    *("torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state", "torch nested_tensor"),
    *("torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_nested_tensor", "torch._utils _rebuild_qtensor"),
    *("torch._utils _rebuild_meta_tensor_no_storage", "torch._utils _rebuild_wrapper_subclass", "torch Tensor"),
    *("torch._tensor _rebuild_from_type_v2", "torch.nn.parameter Parameter", "torch.nn.parameter Buffer"),
    *("torch FloatStorage", "torch DoubleStorage", "torch HalfStorage", "torch BoolStorage", "torch LongStorage"),
    *("torch ByteStorage", "torch ComplexFloatStorage", "torch QInt8Storage", "torch BFloat16Storage", "torch float16"),
    *(
        "torch float32",
        "torch int64",
        "torch complex64",
        "torch.serialization _get_layout",
        "torch.jit._pickle build_x",
    ),
    *("torch.jit._pickle build_intlist", "torch.jit._pickle restore_type_tag", "torch.jit._pickle build_tensorlist"),
    *("__torch__ Net", "__torch__.torch.nn.modules.linear Linear", "__torch__.torch.classes.x Y", "__main__ X"),
    *("gymnasium.spaces.box Box", "numpy.random._pickle __generator_ctor", "functools partial", "operator attrgetter"),
    *("stable_baselines3.common.vec_env.vec_normalize VecNormalize", "_codecs encode", "copyreg _reconstructor"),
)
_INTEGERS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG"}
_STRINGS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_PUSHES = {*_INTEGERS, *_STRINGS, *_BYTES, "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE", "BINGET", "EMPTY_TUPLE"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_SHAPES = (b"\x85", b"\x86", b"\x87", b"t", b")", b"]", b"}", b"l", b"d")


@dataclass(kw_only=True)
class Op:
    """One opcode: its name, its argument, and its bytes."""

    name: str
    argument: Any
    code: bytes


def ops_of(content: bytes) -> list[Op]:
    """Return the opcodes of a pickle up to the last that can be read, without frames; at least eight."""
    found: list[Op] = []
    places = []
    try:
        for opcode, argument, place in pickletools.genops(content):
            places.append((opcode.name, argument, place or 0))
    except Exception:  # what is damaged is left out
        places = places[:-1]
    ends = [*(place for _, _, place in places[1:]), len(content)]
    for (name, argument, place), end in zip(places, ends, strict=True):
        if name != "FRAME":
            found.append(Op(name=name, argument=argument, code=content[place:end]))
    if len(found) < 8:
        raise ValueError("too little of a pickle")
    return found


def _joined(ops: list[Op]) -> bytes:
    return b"".join(op.code for op in ops)


def _changing(names: set[str], change: Callable[[random.Random, Any], bytes]) -> Mutate:
    def mutate(generator: random.Random, content: bytes) -> bytes:
        ops = ops_of(content)
        op = generator.choice([one for one in ops if one.name in names])
        op.code = change(generator, op.argument)
        return _joined(ops)

    return mutate


def integer(value: int) -> bytes:
    """Return the opcode of an integer of any size."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    packed = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(packed)]) + packed


def string(value: str) -> bytes:
    """Return the opcode of a text."""
    packed = value.encode(errors="surrogatepass")
    return b"X" + struct.pack("<I", len(packed)) + packed


def named(generator: random.Random) -> bytes:
    """Return the opcode that looks up a name, most often one that leads to code."""
    module, _, name = generator.choice(_GLOBALS).partition(" ")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def _snippet(generator: random.Random) -> bytes:
    """Return opcodes that push one odd value."""
    match generator.randrange(13):
        case 0:
            return integer(number(generator))
        case 1:
            return string(text(generator))
        case 2:
            return b"G" + struct.pack(">d", generator.choice(FLOATS))
        case 3:
            return generator.choice((b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f", b"C\x03abc"))
        case 4:
            depth = generator.choice((3, 100, 990, 5000, 50_000))
            return b"]" * depth + b"a" * (depth - 1)
        case 5:
            depth = generator.choice((3, 100, 990, 5000))
            return b"}K\x00" * depth + b"N" + b"s" * depth
        case 6:
            return _laughs(generator.choice((5, 20, 25, 30, 60)), generator.choice((b"\x86", b"]", b"}")))
        case 7:
            return named(generator)
        case 8:
            argument = generator.choice((string(BAIT_FILE), string("touch bait.txt"), integer(number(generator)), b""))
            return named(generator) + b"(" + argument + b"tR"
        case 9:
            return named(generator) + b")\x81" + generator.choice((b"", b"}b", b"Nb", string("x") + b"b"))
        case 10:
            return b"h" + bytes([generator.randrange(40)])
        case 11:
            size = generator.choice((9, 200, 2000, 100_000))
            return b"\x8b" + struct.pack("<i", size) + b"\x7f" * size
        case _:
            return b"(" + string("storage") + named(generator) + string("0") + string("cpu") + integer(9) + b"tQ"


def _laughs(depth: int, kind: bytes) -> bytes:
    """Return opcodes of a value that holds the one below it twice, ``depth`` times over."""
    code = b"]" + b"r" + struct.pack("<I", 1000)
    for level in range(depth):
        below = b"j" + struct.pack("<I", 1000 + level)
        pairs = {
            b"\x86": below + below + b"\x86",
            b"]": b"](" + below + below + b"e",
            b"}": b"}(K\x01" + below + b"K\x02" + below + b"u",
        }
        code += pairs[kind] + b"r" + struct.pack("<I", 1001 + level) + b"0"
    return code + b"j" + struct.pack("<I", 1000 + depth)


def _value(generator: random.Random, content: bytes) -> bytes:
    ops = ops_of(content)
    op = generator.choice([one for one in ops if one.name in _PUSHES])
    op.code = _snippet(generator)
    return _joined(ops)


def _tensor(generator: random.Random, content: bytes) -> bytes:
    """Change what a tensor says of its storage: elements, offset, sizes, strides."""
    ops = ops_of(content)
    at = generator.choice([index for index, op in enumerate(ops) if op.name == "BINPERSID"])
    after = [op for op in ops[at + 1 : at + 14] if op.name in _INTEGERS]
    if generator.random() < 0.3:
        after = [op for op in ops[max(0, at - 6) : at] if op.name in _INTEGERS] or after
    if generator.random() < 0.3:  # sizes of billions over a storage of a few numbers
        for index, op in enumerate(after):
            op.code = integer(0 if index > len(after) // 2 else generator.choice((2**20, 2**31, 2**40, 3)))
    else:
        op = generator.choice(after)
        op.code = integer(number(generator, int(op.argument)))
    return _joined(ops)


def _memo(generator: random.Random, content: bytes) -> bytes:
    ops = ops_of(content)
    op = generator.choice([one for one in ops if one.name in {"BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT"}])
    index = generator.choice((0, 1, generator.randrange(60), 255, 2**16, 2**31, 2**32 - 1))
    reads = op.name.endswith("GET")
    op.code = (b"h" if reads else b"q") + bytes([index]) if index < 256 else b""
    op.code = op.code or (b"j" if reads else b"r") + struct.pack("<I", index)
    return _joined(ops)


def _shape(generator: random.Random, content: bytes) -> bytes:
    ops = ops_of(content)
    names = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "LIST", "DICT"}
    generator.choice([one for one in ops if one.name in names]).code = generator.choice(_SHAPES)
    return _joined(ops)


def _extra(generator: random.Random, content: bytes) -> bytes:
    ops = ops_of(content)
    odd = (
        *(b"R", b"b", b"\x81", b"\x92", b"a", b"e", b"s", b"u", b"0", b"1", b"2", b"(", b"t", b".", b"Q", b"\x82\x01"),
        *(b"\x93", b"\x94", b"\x95" + bytes(7) + b"\x01", b"\x80\x09", b"o", b"ios\nsystem\n", b"Pnowhere\n"),
    )
    code = generator.choice((*odd, _snippet(generator), named(generator)))
    ops.insert(generator.randrange(len(ops)), Op(name="", argument=None, code=code))
    return _joined(ops)


def _pieces(generator: random.Random, content: bytes) -> bytes:
    ops = ops_of(content)
    start, place = generator.randrange(len(ops)), generator.randrange(len(ops))
    length = generator.randrange(1, 12)
    match generator.randrange(3):
        case 0:
            del ops[start : start + length]
        case 1:
            ops[place:place] = ops[start : start + length]
        case _:
            ops[start], ops[place] = ops[place], ops[start]
    return _joined(ops)


def _bytes(generator: random.Random, argument: Any) -> bytes:
    content = bytes(argument)
    place = generator.randrange(len(content) + 1)
    odd = generator.choice((content[:place], content + content, b"", content[place:] + content[:place]))
    return b"B" + struct.pack("<I", len(odd)) + odd


PICKLE: Mutations = {
    "number": (3.0, _changing(_INTEGERS, lambda generator, old: integer(number(generator, int(old))))),
    "text": (3.0, _changing(_STRINGS, lambda generator, old: string(text(generator, str(old))))),
    "name": (2.0, _changing({"GLOBAL", "STACK_GLOBAL"}, lambda generator, _: named(generator))),
    "value": (4.0, _value),
    "tensor": (3.0, _tensor),
    "memo": (1.0, _memo),
    "shape": (1.0, _shape),
    "extra opcode": (1.5, _extra),
    "pieces": (1.5, _pieces),
    "bytes": (0.7, _changing(_BYTES, _bytes)),
    "puts": (0.2, _changing(_PUTS, lambda *_: b"")),
}
