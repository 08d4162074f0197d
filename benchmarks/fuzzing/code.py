"""Mutations of the code in TorchScript archives."""

from __future__ import annotations

import ast
import random
import re

from fuzzing.values import BAIT_FILE, Mutate, Mutations

_STATEMENTS = (
    *(
        f'_9 = ops.aten.save(x, "{BAIT_FILE}")',
        f'_9 = torch.save(x, "{BAIT_FILE}")',
        f'ops.aten.save(x, "{BAIT_FILE}")',
    ),
    *(f'_9 = torch.from_file("{BAIT_FILE}", True, 4)', f'_9 = ops.aten.from_file("{BAIT_FILE}", True, 4)'),
    *("_9 = torch.ones([100000, 100000])", "_9 = torch.zeros([2147483648])", "_9 = torch.full([1000000000], 1.)"),
    *("_9 = torch.rand([4])", "_9 = torch.randn_like(x)", "_9 = torch.empty([4])", "_9 = torch.arange(10000000000)"),
    *("_9 = torch.cat([x, x, x])", "_9 = torch.expand(x, [100000, 100000, 4])", "_9 = torch.repeat(x, [65536, 65536])"),
    *("_9 = torch.as_strided(x, [100], [1], 5)", "_9 = torch.add_(x, 1)", "_9 = torch.relu_(x)", "_9 = torch.zero_(x)"),
    *("_9 = torch.copy_(x, x)", "_9 = torch.set_(x)", "_9 = torch.resize_(x, [100000])", "_9 = torch.tanh_(x)"),
    *('ops.prim.RaiseException("x")', 'print("\\x1b[31m")', "_9 = annotate(int, 3)", "_9 = uninitialized(Tensor)"),
    *("_9 = torch.pow(x, 1000000000)", "_9 = 10 ** 10 ** 8", '_9 = "x" * 1000000000', '_9 = torch.format("{}", x)'),
    *(
        "_9 = torch.list([1]) * 1000000000",
        "_9 = [x] * 100000000",
        "_9 = torch.eye(100000)",
        "assert False",
        "return x",
    ),
    *("_9 = (self).forward(x, )", "_9 = torch.embedding(x, x)", "_9 = torch.mm(x, x)", "x = torch.t(x)", "x = x[0]"),
    *("_9 = torch.quantile(x, 0.5)", "_9 = torch.layer_norm(x, [4])", "_9 = torch.tensor([[1.], [2.]])", "import os"),
    *("_9 = __torch__.torch.classes.x.Y()", "_9 = CONSTANTS.c99", "_9 = unchecked_cast(int, x)", "_9 = torch.numel(x)"),
    *("_9 = torch.index_select(x, 1, torch.tensor([99]))", "_9 = torch.gather(x, 1, torch.tensor([[99]]))"),
    *("_9 = torch.reshape(x, [-1, 0])", "_9 = torch.narrow(x, 1, 3, 9)", "_9 = torch.div(1, 0)", "_9 = torch.item(x)"),
    *("_9 = torch.floor_divide(-9223372036854775807, -1)", "_9 = torch.chunk(x, 0)", "_9 = torch.split(x, 0)"),
)
_BLOCKS = (
    "while True:\n      pass",
    "_8 = True\n    while _8:\n      _8 = True",
    "for _i in range(1000000000000):\n      x = torch.add(x, x)",
    "for _i in range(9223372036854775807):\n      pass",
    "for _i in range(40):\n      x = torch.cat([x, x])",
    "_l = [x]\n    for _i in range(1000000000):\n      _9 = torch.append(_l, x)",
    'if bool(torch.gt(torch.sum(x), 0)):\n      x = x\n    else:\n      ops.prim.RaiseException("no")',
    "with x as y:\n      pass",
)
_OPERATORS_TEXT = """
abs neg exp log sqrt reciprocal square tanh relu sigmoid softmax argmax sum mean var std norm prod cumsum t flatten
squeeze unsqueeze detach clone numel dim size len list item zeros_like ones_like rand_like empty_like bernoulli
dropout multinomial save load from_file set_ resize_ add_ mul_ copy_ zero_ relu_ tanh_ as_strided lstm gru rnn_tanh
conv1d bmm mm matmul linear addmm layer_norm stft group_norm embedding gather index_select masked_fill where cat stack
chunk split narrow slice select view reshape permute transpose expand repeat eye full arange quantile svd inverse to
type_as tensor as_tensor manual_seed seed getattr warn
"""
_OPERATORS = _OPERATORS_TEXT.split()
_LITERALS = (
    *("0", "-1", "1", "2", "3", "1000000000", "9223372036854775807", "99999999999999999999", "1e308", "2.5", "None"),
    *("True", "[]", "[1, 2]", '"x"', "x", "x.y", "CONSTANTS.c0"),
    *("inf", "torch.inf", "(1, 2)", "self"),
)
_METHODS = (
    "def __setstate__(self: T, state: int) -> NoneType:\n    return None",
    "def __getstate__(self: T) -> int:\n    return 3",
    "def torch(self: T, x: Tensor) -> Tensor:\n    return x",
    "def int(x: Tensor) -> int:\n    return 3",
    "def forward(self: T, x: Tensor) -> Tensor:\n    return (self).forward(x, )",
    "def other(self: T, x: Tensor) -> Tensor:\n    return (self).other(x, )",
)


def _statement(generator: random.Random, code: str) -> str:
    lines = code.split("\n")
    places = [index for index, line in enumerate(lines) if line.startswith("    ") and not line.startswith("     ")]
    names = re.findall(r"(\w+): Tensor", code) or ["x"]
    added = generator.choice(_STATEMENTS if generator.random() < 0.75 else _BLOCKS)
    added = re.sub(r"\bx\b", generator.choice(names), added)
    lines.insert(generator.choice(places), "    " + added)
    return "\n".join(lines)


def _operator(generator: random.Random, code: str) -> str:
    found = list(re.finditer(r"torch\.([a-z_0-9]+)\(", code))
    match = generator.choice(found)
    name = generator.choice((*_OPERATORS, match[1] + "_", "ops.aten." + match[1]))
    return code[: match.start(1)] + name + code[match.end(1) :]


def _literal(generator: random.Random, code: str) -> str:
    match = generator.choice(list(re.finditer(r"(?<=[\s(\[,=])-?\d+\.?\d*|True|False|None|(?<=\()\w+(?=[,)])", code)))
    return code[: match.start()] + generator.choice(_LITERALS) + code[match.end() :]


def _lines(generator: random.Random, code: str) -> str:
    lines = code.split("\n")
    one, other = generator.randrange(len(lines)), generator.randrange(len(lines))
    match generator.randrange(4):
        case 0:
            del lines[one]
        case 1:
            lines[one], lines[other] = lines[other], lines[one]
        case 2:
            lines.insert(other, lines[one])
        case _:
            lines[one] = lines[one].replace("  ", generator.choice((" ", "\t", "    ")), 1)
    return "\n".join(lines)


def _names(generator: random.Random, code: str) -> str:
    words = sorted(set(re.findall(r"[A-Za-z_]\w*", code)))
    one, other = generator.choice(words), generator.choice((*words, "torch", "ops", "__torch__", "CONSTANTS", "int"))
    return re.sub(rf"\b{one}\b", other, code, count=generator.choice((0, 1)))


def _tree(generator: random.Random, code: str) -> str:
    """Put one expression of the code in another's place, or call what is no function."""
    tree = ast.parse(code)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
    one, other = generator.choice(found), generator.choice(found)
    old, new = ast.get_source_segment(code, one) or "", ast.get_source_segment(code, other) or "x"
    wrapped = generator.choice(
        (new, f"({new})()", f"[{new}]", f"({new}, {old})", f"{old}[{new}]", f"torch.add({old}, {new})")
    )
    return code.replace(old, wrapped, 1)


def _deep(generator: random.Random, code: str) -> str:
    match = generator.choice(list(re.finditer(r"return (.+)", code)))
    depth = generator.choice((10, 80, 200, 1000, 10_000))
    opened, closed = generator.choice((("(", ")"), ("torch.neg(", ")"), ("[", "][0]"), ("-", ""), ("not ", "")))
    return code[: match.start(1)] + opened * depth + match[1] + closed * depth + code[match.end(1) :]


def _long(generator: random.Random, code: str) -> str:
    match = generator.choice(list(re.finditer(r"return ", code)))
    count = generator.choice((100, 3000, 20_000))
    lines = "".join(f"_{index} = {generator.choice(_LITERALS[:5])}\n    " for index in range(100, 100 + count))
    return code[: match.start()] + lines + code[match.start() :]


def _method(generator: random.Random, code: str) -> str:
    return code + f"  {generator.choice(_METHODS)}\n"


def _of_text(change: object) -> Mutate:
    def mutate(generator: random.Random, content: bytes) -> bytes:
        assert callable(change)
        return str(change(generator, content.decode())).encode()

    return mutate


CODE: Mutations = {
    "statement": (4.0, _of_text(_statement)),
    "operator": (4.0, _of_text(_operator)),
    "literal": (3.0, _of_text(_literal)),
    "lines": (1.5, _of_text(_lines)),
    "names": (2.0, _of_text(_names)),
    "tree": (3.0, _of_text(_tree)),
    "deep": (0.5, _of_text(_deep)),
    "long": (0.3, _of_text(_long)),
    "method": (1.0, _of_text(_method)),
}
