"""The ONNX operators whose work prunekit can bound, with the method; all others are refused by name.

Some are left out on purpose: Loop, Scan and SequenceMap (the number of rounds depends on values), operators on text,
images and trees, and those whose work does not follow from the sizes of their inputs and outputs (RoiAlign's samples,
Det, DFT).
"""

from __future__ import annotations

from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


RANDOM: Final = _names("RandomNormal RandomUniform RandomNormalLike RandomUniformLike Multinomial Bernoulli")
"""Operators that draw numbers; Dropout is one more where it is in training mode."""

MATRIX_PRODUCTS: Final = _names("MatMul MatMulInteger QLinearMatMul Gemm")
CONVOLUTIONS: Final = _names("Conv ConvInteger QLinearConv ConvTranspose")
RECURRENT: Final = _names("RNN GRU LSTM")
POOLS: Final = _names("AveragePool MaxPool LpPool")

EVALUATED: Final = _names("""
    Abs Add And Cast CastLike Ceil Concat Constant ConstantOfShape Div Equal Expand Flatten Floor Gather GatherElements
    GatherND Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Pow Range ReduceMax ReduceMin
    ReduceProd ReduceSum Reshape Slice Split Sqrt Squeeze Sub Tile Transpose Unsqueeze Where Xor ScatterND
    ScatterElements Sign Round Sum
    """)
"""Operators of exporters' arithmetic on shapes: run on small known values, so that the sizes after them are known."""

NOT_LARGER: Final = _names("""
    Abs ArgMax ArgMin Cast Celu Clip Compress Cos DequantizeLinear Elu Erf Exp Flatten Floor Ceil HardSigmoid HardSwish
    Identity LeakyRelu Log LogSoftmax Mish Neg Not QuantizeLinear ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Reciprocal Relu Reshape Round Selu SequenceAt
    SequenceConstruct SequenceInsert ConcatFromSequence Concat Sigmoid Sign Sin Slice Softmax Softplus Softsign Split
    SplitToSequence Sqrt Squeeze Tanh ThresholdedRelu TopK Transpose Unique Unsqueeze Dropout Trilu
    """)
"""Operators whose outputs hold no more values than all their inputs together."""

BROADCASTING: Final = _names("""
    Add And Div Equal Gather Greater GreaterOrEqual Less LessOrEqual MatMul Max Mean Min Mod Mul Or PRelu Pow Sub Sum
    Where Xor GatherElements GatherND NonZero Gemm
    """)
"""Operators whose outputs hold no more values than the product of what their inputs hold (NonZero: squared)."""

_ELSEWHERE: Final = _names("""
    Acos Acosh Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CastLike
    Constant ConstantOfShape Cosh CumSum DepthToSpace DynamicQuantizeLinear Einsum Expand EyeLike Gelu GlobalAveragePool
    GlobalLpPool GlobalMaxPool GridSample GroupNormalization Hardmax If InstanceNormalization IsInf IsNaN
    LayerNormalization LpNormalization LRN MeanVarianceNormalization OneHot Pad Range Resize ReverseSequence
    RMSNormalization Scatter ScatterElements ScatterND SequenceEmpty SequenceErase SequenceLength Shape Shrink Sinh Size
    SpaceToDepth Swish Tan Tile Upsample
    """)

STANDARD: Final = (
    RANDOM | MATRIX_PRODUCTS | CONVOLUTIONS | RECURRENT | POOLS | EVALUATED | NOT_LARGER | BROADCASTING | _ELSEWHERE
)

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
MACHINE_LEARNING: Final = {"Scaler": 0, "Normalizer": 0, "Imputer": 0, "Binarizer": 0}
"""Operators of ai.onnx.ml, and which input has the output's shape."""
MICROSOFT: Final = {
    **dict.fromkeys(_names("Gelu FastGelu BiasGelu QuickGelu QLinearSigmoid QLinearLeakyRelu"), 0),
    **dict.fromkeys(_names("QuantizeLinear DequantizeLinear SkipLayerNormalization"), 0),
}
"""ONNX Runtime's own operators, as its optimizer and quantizer write them, and which input has the output's shape."""
PROXIES: Final = {
    "FusedMatMul": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "FusedGemm": ("Gemm", (0, 1)),
    "QGemm": ("Gemm", (0, 3)),
    "FusedConv": ("Conv", (0, 1)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
}
"""ONNX Runtime's own operators that have the sizes of a standard one, and the inputs that the two share."""
SHARED_ATTRIBUTES: Final = {
    "MatMul": (),
    "Add": (),
    "Mul": (),
    "Gemm": ("transA", "transB"),
    "Conv": ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
}
"""Which attributes an operator of ``PROXIES`` shares with its standard one."""

SIZED_BY_NUMBERS: Final = {
    "ConstantOfShape": (0,),
    **dict.fromkeys(_names("Expand OneHot Pad Reshape Split SplitToSequence TopK Upsample"), (1,)),
    "Tile": (1, 2),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
}
"""Operators whose outputs are as large as numbers in their inputs say, and which inputs those are."""


def is_known(domain: str, operator: str) -> bool:
    """Return whether the work of ``operator`` can be bounded."""
    if domain in STANDARD_DOMAINS:
        return operator in STANDARD
    if domain == "ai.onnx.ml":
        return operator in MACHINE_LEARNING
    return domain == "com.microsoft" and (operator in MICROSOFT or operator in PROXIES)
