"""The table of operators that a program may call, each with the cost of its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript import sizes
from prunekit.readers.torchscript.budget import Run
from prunekit.readers.torchscript.recurrence import RECURRENT
from prunekit.readers.torchscript.values import CPU, DTYPE_NUMBERS, SCALARS, Scalar, number, tensor_of, typed

Values = list[Any]
Options = dict[str, Any]
Operator = Callable[[Values, Options, Run], Any]

_NO_LARGER = """
abs acos alias all amax amin any argmax argmin argsort asin atan bitwise_not ceil celu clone contiguous cos cosh cummax
cummin cumprod cumsum deg2rad detach diagonal elu empty_like erf erfc exp exp2 expm1 flatten flip floor frac
frobenius_norm full_like gelu glu group_norm hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan layer_norm
leaky_relu linalg_vector_norm log log10 log1p log2 log_sigmoid log_softmax logcumsumexp logical_not logit logsumexp mean
median mish movedim nan_to_num narrow neg norm numpy_T ones_like permute positive prelu prod rad2deg ravel rms_norm
reciprocal relu relu6 reshape reshape_as roll round rsqrt select selu sigmoid sign silu sin sinh softmax softplus
softshrink sort sqrt square squeeze std std_mean sum swapaxes t tan tanh threshold to topk transpose tril triu trunc
type_as unflatten unsqueeze var var_mean view view_as zeros_like
"""
_BROADCAST = """
__and__ __or__ __xor__ add addcdiv addcmul atan2 bitwise_and bitwise_or bitwise_xor clamp clamp_max clamp_min clip copy
copysign cosine_similarity div divide eq floor_divide fmax fmin fmod ge greater greater_equal gt hypot le lerp less
less_equal logical_and logical_or logical_xor lt masked_fill max maximum min minimum mul multiply ne not_equal pow
remainder rsub sub subtract true_divide where xlogy
"""
_CHARGES: dict[str, sizes.Charge] = {
    **dict.fromkeys(_NO_LARGER.split(), sizes.largest),
    **dict.fromkeys(_BROADCAST.split(), sizes.broadcast),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), sizes.joined),
    **dict.fromkeys(("split", "split_with_sizes", "unbind"), sizes.pieces),
    **dict.fromkeys(("chunk", "unsafe_chunk"), sizes.chunked),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), sizes.product),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm"), sizes.added_product),
    **dict.fromkeys(("ones", "zeros", "full"), sizes.sized(0)),
    **dict.fromkeys(("new_ones", "new_zeros", "new_full"), sizes.sized(1)),
    **dict.fromkeys(("expand", "expand_copy", "broadcast_to"), sizes.expanded),
    **dict.fromkeys(("repeat", "tile"), sizes.repeated),
    **dict.fromkeys(("conv1d", "conv2d", "_convolution"), sizes.convolved),
    **dict.fromkeys(("gather", "take_along_dim"), sizes.index_sized),
    "linear": sizes.linear,
    "linalg_norm": sizes.decomposed,
    "quantile": sizes.quantiles,
    "expand_as": sizes.like_second,
    "arange": sizes.counted,
    "linspace": lambda values, run: run.take(values[2]),
    "eye": sizes.square,
    "one_hot": sizes.one_hot,
    "index": sizes.picked,
    "_weight_norm": sizes.largest,
    "index_select": lambda values, run: sizes.picked([values[0], values[2]], run),
    "embedding": sizes.looked_up,
    "constant_pad_nd": sizes.padded,
    "slice": sizes.largest,
}
_IN_PLACE = """
abs add addcdiv addcmul ceil celu clamp clamp_max clamp_min copy cos div elu exp fill floor hardsigmoid hardswish
hardtanh index_put leaky_relu lerp log masked_fill mish mul neg pow reciprocal relu relu6 round rsqrt selu sigmoid
sign silu sin sqrt square sub tanh threshold trunc zero
"""
_MAKING = frozenset(
    ["cat", "concat", "concatenate", "stack", "hstack", "vstack", "ones", "zeros", "full", "arange", "linspace", "eye"]
)
_TAKING_TEXT = frozenset(["conv1d", "conv2d", "div", "divide", "gelu", "quantile"])
_SAMPLED = """
bernoulli bernoulli_ cauchy_ exponential_ geometric_ gumbel_softmax log_normal_ multinomial normal normal_ poisson rand
rand_like randint randint_like randn randn_like random_ randperm rrelu_with_noise uniform_
"""
_SAMPLING = frozenset(_SAMPLED.split())
_DROPOUTS = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
_CHANGED_IN = {"torch.div": 4, "torch.div_": 4, "torch.true_divide": 4, "torch.full": 5}
"""The versions from which these operators mean what they do now."""


def _of_tensors(name: str, charge: sizes.Charge) -> Operator:
    function = getattr(torch.ops.aten, name)
    takes_text, starts_with_tensor = name in _TAKING_TEXT, name not in _MAKING
    optional = _options_of(function)

    def call(values: Values, options: Options, run: Run) -> Any:
        # torch ends the process at some arguments of a wrong type, in place of an error
        if starts_with_tensor and not isinstance(values[0], Tensor | int | float):
            raise TypeError(f"'{name}' of a {type(values[0]).__name__}")
        if not takes_text and str in map(type, values):
            raise TypeError(f"'{name}' of a text")
        _require_options(name, options, optional)
        charge(values, run)
        result = function(*values, **options) if options else function(*values)
        return tuple(result) if type(result) is torch.Size else result

    return call


def _options_of(function: Any) -> frozenset[str]:
    """Return the keyword-only arguments of ``function``, except those that it writes to."""
    arguments = [one for name in function.overloads() for one in getattr(function, name)._schema.arguments]
    return frozenset(one.name for one in arguments if one.kwarg_only and one.alias_info is None)


def _require_options(name: str, options: Options, known: frozenset[str]) -> None:
    """Raise InputError for a keyword argument that TorchScript writes positionally, because its cost would not be
    charged.
    """
    if not options.keys() <= known:
        raise InputError(
            f"calls 'torch.{name}' with '{min(options.keys() - known)[:60]}' as a keyword, which is not supported"
        )


def _in_place(name: str, charge: sizes.Charge) -> Operator:
    function = getattr(torch.ops.aten, f"{name}_")
    optional = _options_of(function)

    def call(values: Values, options: Options, run: Run) -> Any:
        run.require_own(values[0])
        _require_options(name, options, optional)
        charge(values, run)
        function(*values, **options)
        return values[0]

    return call


def _of_either(name: str) -> Operator | None:
    """Return the operator ``name`` of tensors or of other values, or one that chooses by its arguments."""
    charge, scalar = _CHARGES.get(name), SCALARS.get(name)
    if charge is None:
        return None if scalar is None else _of_values(scalar)
    tensors = _of_tensors(name, charge)
    if scalar is None:
        return tensors
    values_alone = _of_values(scalar)

    def call(values: Values, options: Options, run: Run) -> Any:
        if isinstance(values[0], Tensor) or (len(values) > 1 and isinstance(values[1], Tensor)):
            return tensors(values, options, run)
        return values_alone(values, options, run)

    return call


def _of_values(scalar: Scalar) -> Operator:
    def call(values: Values, _: Options, run: Run) -> Any:
        run.walk(values)
        return scalar(values, run)

    return call


def _size(values: Values, _: Options, __: Run) -> Any:
    return list(values[0].shape) if len(values) == 1 else values[0].shape[values[1]]


def _length(values: Values, _: Options, __: Run) -> int:
    return len(values[0])


def _dropout(values: Values, options: Options, _: Run) -> Any:
    if options.get("train", values[2] if len(values) > 2 else True) is not False:
        raise InputError("calls dropout in training mode, which samples; save the policy in evaluation mode")
    return values[0]


def _rrelu(values: Values, options: Options, run: Run) -> Any:
    seen, lower, upper, training = [*values, *(0.125, 1.0 / 3.0, False)[len(values) - 1 :]][:4]
    if options.get("training", training) is not False:
        raise InputError("calls 'torch.rrelu' in training mode, which samples; save the policy in evaluation mode")
    run.take(seen.numel())
    return torch.ops.aten.rrelu(seen, lower, upper, False)


def _batch_norm(values: Values, _: Options, run: Run) -> Any:
    seen, weight, bias, mean, variance, training, momentum, epsilon = values[:8]
    if training or mean is None or variance is None:
        raise InputError("calls 'torch.batch_norm' in training mode; save the policy in evaluation mode")
    sizes.largest(values, run)
    return torch.ops.aten.batch_norm(seen, weight, bias, mean, variance, False, momentum, epsilon, False)


def _to(values: Values, options: Options, run: Run) -> Any:
    """Convert the dtype: to that of another tensor, or to the first number after the tensor and its device."""
    seen, others = values[0], values[1:]
    run.take(seen.numel())
    if others and isinstance(others[0], Tensor):
        return seen.to(others[0].dtype)
    dtype = options.get("dtype", next((other for other in others if type(other) is int), None))
    return seen if dtype is None else seen.to(typed(dtype))


def _along(name: str) -> Operator:
    """Return an operator along an axis, whose third argument may be a dtype."""
    function = getattr(torch.ops.aten, name)

    def call(values: Values, options: Options, run: Run) -> Any:
        seen, axis, dtype = [*values, None][:3]
        run.take(seen.numel())
        return function(seen, axis, typed(options.get("dtype", dtype)))

    return call


def _view(values: Values, _: Options, __: Run) -> Any:
    return values[0].view([int(number(size)) for size in values[1]])


def _pad(values: Values, _: Options, run: Run) -> Any:
    seen, pads, mode, value = [*values, "constant", None][:4] if len(values) < 4 else values
    if mode != "constant":
        raise InputError(f"calls 'torch.pad' with the mode '{str(mode)[:20]}', which is not supported")
    sizes.padded([seen, pads], run)
    return torch.ops.aten.constant_pad_nd(seen, pads, 0.0 if value is None else value)


def _raise(values: Values, _: Options, __: Run) -> Any:
    raise ArithmeticError(str(values[0])[:200])


def _identity(values: Values, _: Options, __: Run) -> Any:
    return values[0]


_SPECIAL: dict[str, Operator] = {
    "size": _size,
    "len": _length,
    "dim": lambda values, _, __: values[0].dim(),
    "ndimension": lambda values, _, __: values[0].dim(),
    "numel": lambda values, _, __: values[0].numel(),
    "is_floating_point": lambda values, _, __: values[0].is_floating_point(),
    "item": lambda values, _, __: number(values[0]),
    "to": _to,
    "view": _view,
    "pad": _pad,
    "softmax": _along("softmax"),
    "log_softmax": _along("log_softmax"),
    "tensor": tensor_of,
    "as_tensor": tensor_of,
    "scalar_tensor": tensor_of,
    **{f"{kind}{place}": _dropout for kind in _DROPOUTS for place in ("", "_")},
    "rrelu": _rrelu,
    "batch_norm": _batch_norm,
    "cpu": _identity,
    "requires_grad_": _identity,
    "detach_": _identity,
}
_PRIMITIVES: dict[str, Operator] = {
    "RaiseException": _raise,
    "dtype": lambda values, _, __: DTYPE_NUMBERS[values[0].dtype],
    "device": lambda _, __, ___: CPU,
    "layout": lambda _, __, ___: 0,
    "shape": _size,
    "ndim": lambda values, _, __: values[0].dim(),
    "is_cuda": lambda _, __, ___: False,
    "requires_grad": lambda _, __, ___: False,
    "data": _identity,
    "NumToTensor": tensor_of,
    "unchecked_unwrap_optional": _identity,
    **{name: _of_values(SCALARS[name]) for name in ("min", "max", "abs")},
    "type": lambda _, __, ___: "cpu",
}


def operator_named(path: str) -> Operator:
    """Return the operator with the path ``torch.add`` or ``ops.prim.dtype`` in the program.

    An unknown one raises InputError, naming it, when it is called, because it may be in a branch that is never taken.
    """
    known = _OPERATORS.get(path)
    if known is not None:
        return known
    reason = reason_against(path)

    def refuse(_: Values, __: Options, ___: Run) -> Any:
        raise InputError(reason)

    return refuse


def is_sampling(path: str) -> bool:
    """Return whether the operator ``path`` draws random numbers."""
    return path.rpartition(".")[2] in _SAMPLING


def reason_against(path: str) -> str:
    """Return why a program may not call the operator ``path``."""
    name = path.rpartition(".")[2]
    if name in _SAMPLING:
        return f"calls '{path}', so it samples; export its mean or most likely action"
    return f"calls '{path[:60]}', which is not supported"


def operator_of_version(path: str, version: int) -> Operator:
    """Return the operator ``path`` as defined in ``version`` of torch's operators.

    Two operators had another meaning for integers in early versions; there they raise InputError for integers.
    """
    operator = operator_named(path)
    if version >= _CHANGED_IN.get(path, 0):
        return operator
    division = path != "torch.full"

    def call(values: Values, options: Options, run: Run) -> Any:
        if division:
            changed = isinstance(values[0], Tensor) and all(map(_is_whole, values[:2]))
        else:
            changed = _is_whole(values[1]) and len(values) == 2 and options.get("dtype") is None
        if changed:
            raise InputError(f"calls '{path}' with integers for an old torch; save the policy again with a later one")
        return operator(values, options, run)

    return call


def _is_whole(value: Any) -> bool:
    return not value.is_floating_point() if isinstance(value, Tensor) else isinstance(value, int)


def _all_operators() -> dict[str, Operator]:
    operators: dict[str, Operator] = {}
    for name in (*SCALARS, *_CHARGES):
        found = _of_either(name)
        if found is not None:
            operators[f"torch.{name}"] = found
    for name in _IN_PLACE.split():
        charge = sizes.picked if name == "index_put" else _CHARGES.get(name, sizes.largest)
        operators[f"torch.{name}_"] = _in_place(name, charge)
    operators |= {f"torch.{name}": operator for name, operator in RECURRENT.items()}
    operators |= {f"torch.{name}": operator for name, operator in _SPECIAL.items()}
    operators |= {f"ops.prim.{name}": operator for name, operator in _PRIMITIVES.items()}
    return operators


_OPERATORS = _all_operators()
