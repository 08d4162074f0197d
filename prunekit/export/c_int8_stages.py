"""The stages of an integer policy in C: one loop per function that follows a stage, and the calls of these loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never, final

import numpy as np

from prunekit.export.c_int8_activations import (
    Function,
    called,
    function_arguments,
    function_constants,
    functions_of,
)
from prunekit.export.c_int8_loops import (
    DOT8,
    DOT16,
    FLOATED,
    LAYER,
    NORM,
    PICKED,
    PLACED,
    PRODUCT,
    SCALED,
    SCORES,
    SUM,
)
from prunekit.export.integer_activations import IntegerActivation
from prunekit.export.quantized import (
    Added,
    Concatenated,
    Floated,
    IntegerStage,
    Multiplied,
    NormedIntegers,
    PickedIntegers,
    Placed,
    Quantized,
    QuantizedProgram,
)
from prunekit.graph.c.literals import Constant, array


@final
@dataclass(frozen=True, kw_only=True)
class Loop:
    """A C function; @KIND@ in its text stands for ``function``, which follows the stage, if any."""

    text: str
    function: str = ""


def widths_of(quantized: QuantizedProgram) -> dict[str, int]:
    """Return the number of values of each stage, and of the observation."""
    widths = {quantized.port: len(quantized.center)}
    for stage in quantized.stages:
        match stage:
            case Quantized():
                widths[stage.name] = len(stage.bias)
            case Added() | Multiplied():
                widths[stage.name] = widths[stage.sources[0]]
            case Concatenated():
                widths[stage.name] = sum(len(part.multiplier) for part in stage.parts)
            case NormedIntegers():
                widths[stage.name] = widths[stage.source]
            case PickedIntegers():
                widths[stage.name] = len(stage.places)
            case Floated():
                widths[stage.name] = len(stage.step)
            case _:
                assert_never(stage)
    return widths


def sources_of(stage: IntegerStage) -> tuple[str, ...]:
    """Return the stages that ``stage`` reads."""
    match stage:
        case Added() | Multiplied():
            return stage.sources
        case Concatenated():
            return tuple(part.source for part in stage.parts)
        case Quantized() | NormedIntegers() | PickedIntegers() | Floated():
            return (stage.source,)
        case _:
            assert_never(stage)


def gives_floats(stage: IntegerStage) -> bool:
    """Return whether ``stage`` makes floats for the tail."""
    return isinstance(stage, Floated) or (isinstance(stage, Quantized) and stage.activation is None)


def first_place(stage: IntegerStage) -> int | None:
    """Return the offset of a pick of consecutive values, which needs no copy; None for other stages."""
    if isinstance(stage, PickedIntegers) and all(after == before + 1 for before, after in pairwise(stage.places)):
        return int(stage.places[0])
    return None


def loops_of(quantized: QuantizedProgram) -> list[str]:
    """Return the loops that the stages need, without duplicates: those of layers first, that of a last layer's sums
    last.
    """
    functions = functions_of(quantized)
    loops: dict[Loop, None] = {}
    for stage in quantized.stages:
        if not gives_floats(stage):
            loops |= dict.fromkeys(_loops(quantized, stage))
    ordered = sorted(loops, key=lambda loop: loop.text != LAYER)
    texts = [_with(loop.text, functions[loop.function]) if loop.function else loop.text for loop in ordered]
    if any(isinstance(stage, Quantized) and stage.activation is None for stage in quantized.stages):
        texts.append(SCORES)
    if any(isinstance(stage, Floated) for stage in quantized.stages):
        texts.append(FLOATED)
    dot = DOT8 if quantized.bits == 8 else DOT16
    return [dot, *texts]


def _loops(quantized: QuantizedProgram, stage: IntegerStage) -> list[Loop]:
    def behind(text: str, activation: IntegerActivation) -> Loop:
        return Loop(text=text, function=called(quantized, activation))

    match stage:
        case Quantized():
            assert stage.activation is not None
            return [behind(LAYER, stage.activation)]
        case Added():
            return [behind(SUM, stage.activation)]
        case Multiplied():
            return [behind(PRODUCT, stage.activation)]
        case Concatenated():
            return [behind(SCALED if part.is_uniform else PLACED, stage.activation) for part in stage.parts]
        case NormedIntegers():
            fine = "(int32_t)x[o] * 128" if quantized.bits == 8 else "(int32_t)x[o]"
            return [behind(NORM.replace("@X@", fine), stage.activation)]
        case PickedIntegers():
            return [] if first_place(stage) is not None else [Loop(text=PICKED)]
        case Floated():
            return []
        case _:
            assert_never(stage)


def _with(text: str, function: Function) -> str:
    more, given = (", ".join(["", *words]) for words in (function.parameters, function.given))
    return text.replace("KIND", function.called).replace("@P@", more).replace("@G@", given)


def stage_constants(stage: IntegerStage, name: str, index: int, first: bool) -> list[Constant]:
    """Return the constants of stage ``index``; those of the ``first`` stage that makes floats have no number in their
    names.
    """
    number = "" if first else f"_{index}"
    match stage:
        case Quantized():
            parts = [
                array("int8_t", name, f"weight_{index}", stage.weight),
                array("int32_t", name, f"bias_{index}", stage.bias),
            ]
            if stage.activation is None:
                return [*parts, array("float", name, f"step{number}", stage.step)]
            parts += [
                array("int16_t", name, f"multiplier_{index}", stage.multiplier),
                array("uint8_t", name, f"shift_{index}", np.stack([stage.before, stage.after], axis=1)),
            ]
            return parts + function_constants(stage.activation, name, index)
        case Concatenated():
            placed = [part for part in enumerate(stage.parts) if not part[1].is_uniform]
            parts = []
            for place, part in placed:
                own = f"{index}_{place}"
                parts += [
                    array("int16_t", name, f"by_{own}", part.multiplier),
                    array("int32_t", name, f"plus_{own}", part.offset),
                    array("uint8_t", name, f"shift_{own}", part.shift),
                ]
            return parts + function_constants(stage.activation, name, index)
        case Added() | Multiplied() | NormedIntegers():
            return function_constants(stage.activation, name, index)
        case PickedIntegers():
            return [] if first_place(stage) is not None else [array("uint16_t", name, f"places_{index}", stage.places)]
        case Floated():
            parts = [array("float", name, f"unit_{index}", stage.step)]
            return [*parts, array("float", name, f"middle_{index}", stage.offset)]
        case _:
            assert_never(stage)


def calls(
    quantized: QuantizedProgram, stage: IntegerStage, index: int, first: bool, at: Mapping[str, str], width: int
) -> list[str]:
    """Return the C calls for stage ``index`` of ``width`` values; ``at`` gives the place of each stage's values."""
    number = "" if first else f"_{index}"
    match stage:
        case Quantized():
            here, sizes = f"@N@_weight_{index}, @N@_bias_{index}", f"{stage.weight.shape[1]}, {width}"
            if stage.activation is None:
                return [f"@N@_scores({at[stage.source]}, {at[stage.name]}, {here}, @N@_step{number}, {sizes});"]
            given = [at[stage.source], at[stage.name], here, f"@N@_multiplier_{index}, @N@_shift_{index}", sizes]
            return [_call(quantized, "layer", stage.activation, given, index)]
        case Added():
            given = [*(at[source] for source in stage.sources), at[stage.name]]
            given += [str(number) for number in (*stage.multipliers, stage.shift, width)]
            return [_call(quantized, "sum", stage.activation, given, index)]
        case Multiplied():
            given = [*(at[source] for source in stage.sources), at[stage.name]]
            given += [str(number) for number in (stage.before, stage.multiplier, stage.after, width)]
            return [_call(quantized, "product", stage.activation, given, index)]
        case Concatenated():
            starts = np.cumsum([0, *(len(part.multiplier) for part in stage.parts)]).tolist()
            parts = zip(stage.parts, starts[:-1], strict=True)
            return [_placed(quantized, stage, index, place, *part, at) for place, part in enumerate(parts)]
        case NormedIntegers():
            own = stage.numbers
            given = [at[stage.source], at[stage.name], str(int(own.centred)), str(own.epsilon), str(own.count)]
            given += [str(number) for number in (own.narrow, own.root, own.multiplier, own.shift, width)]
            return [_call(quantized, "norm", stage.activation, given, index)]
        case PickedIntegers():
            copied = first_place(stage) is None
            return [f"@N@_picked({at[stage.source]}, {at[stage.name]}, @N@_places_{index}, {width});"] if copied else []
        case Floated():
            arrays = f"@N@_unit_{index}, @N@_middle_{index}"
            return [f"@N@_floated({at[stage.source]}, {at[stage.name]}, {arrays}, {width});"]
        case _:
            assert_never(stage)


def _call(
    quantized: QuantizedProgram,
    loop: str,
    activation: IntegerActivation,
    given: Sequence[str],
    index: int,
    start: int = 0,
) -> str:
    """Return the C call of a loop for the values from ``start`` on of stage ``index``."""
    more = function_arguments(activation, index)
    if start:
        more = [f"{word} + {start}" if word.startswith("@N@_slope") else word for word in more]
    return f"@N@_{loop}_{called(quantized, activation)}({', '.join([*given, *more])});"


def _placed(
    quantized: QuantizedProgram,
    stage: Concatenated,
    index: int,
    place: int,
    part: Placed,
    start: int,
    at: Mapping[str, str],
) -> str:
    given = [at[part.source], f"{at[stage.name]} + {start}" if start else at[stage.name]]
    if part.is_uniform:
        given += [str(int(part.multiplier[0])), str(int(part.shift[0])), str(len(part.multiplier))]
        return _call(quantized, "scaled", stage.activation, given, index, start)
    given += [f"@N@_{word}_{index}_{place}" for word in ("by", "plus", "shift")]
    return _call(quantized, "placed", stage.activation, [*given, str(len(part.multiplier))], index, start)
