"""From the number of an input to the input: a pure function of the seed, kind, number and the sound files of it."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from fuzzing.code import CODE
from fuzzing.graphs import GRAPH
from fuzzing.pickles import PICKLE
from fuzzing.raw import RAW
from fuzzing.sound import Sound
from fuzzing.texts import JSON
from fuzzing.values import Mutate, Mutations, drawn
from fuzzing.values_of import CONTENT
from fuzzing.weights import HDF5, HEADER, OLD
from fuzzing.zips import ZIP, inside


def _packed(mutate: Mutate) -> Mutate:
    """Change the pickle that a JSON holds of a policy."""

    def mutated(generator: random.Random, content: bytes) -> bytes:
        data = json.loads(content)
        pickled = mutate(generator, base64.b64decode(data["policy"][":serialized:"]))
        data["policy"][":serialized:"] = base64.b64encode(pickled).decode()
        return json.dumps(data).encode()

    return mutated


PACKED: Mutations = {f"packed, {name}": (weight, _packed(mutate)) for name, (weight, mutate) in PICKLE.items()}
_LAYERS: dict[str, tuple[tuple[float, str, Mutations], ...]] = {
    "model": ((4.0, "data.pkl", PICKLE), (4.0, "", CONTENT), (3.0, "", ZIP), (0.5, "byteorder", RAW), (1.5, "", RAW)),
    "torchscript": (
        *((6.0, ".py", CODE), (2.5, "data.pkl", PICKLE), (0.7, "constants.pkl", PICKLE), (2.0, "", ZIP)),
        *((0.7, ".py", RAW), (1.0, "", RAW)),
    ),
    "onnx": ((9.0, "", GRAPH), (1.0, "", RAW)),
    "sb3": ((5.0, "data", JSON), (4.0, "policy.pth", {}), (2.0, "", ZIP), (0.5, "version", RAW), (0.7, "", RAW)),
    "sbx": ((3.0, "data", JSON), (5.0, "data", PACKED), (2.0, "", ZIP), (0.7, "", RAW)),
    "statistics": ((5.0, "", PICKLE), (1.0, "", RAW)),
    "checkpoint": ((3.0, "data.pkl", PICKLE), (4.0, "", CONTENT), (1.0, "", ZIP), (1.0, "", RAW)),
    "config": ((6.0, "", JSON), (1.0, "", RAW)),
    "torch": ((5.0, "data.pkl", PICKLE), (3.0, "", CONTENT), (2.0, "", ZIP), (1.5, "", RAW)),
    "old_torch": ((5.0, "", OLD), (2.0, "", RAW)),
    "hdf5": ((3.0, "", HDF5), (1.0, "", RAW)),
    "raw": ((1.0, "", RAW),),
    "safetensors": ((5.0, "", HEADER), (2.0, "", RAW)),
    "pickle": ((5.0, "", PICKLE), (1.0, "", RAW)),
}

_INNER: Mutations = {
    "weights, opcodes": (4.0, inside(lambda name: name.endswith("data.pkl"), PICKLE)),
    "weights, content": (3.0, CONTENT["content"][1]),
    "weights, archive": (2.0, lambda generator, content: ZIP[drawn(generator, ZIP)][1](generator, content)),
    "weights, bytes": (1.0, lambda generator, content: RAW[drawn(generator, RAW)][1](generator, content)),
}
_READING = {"content", "weights, content"}
"""Mutations that read the file with torch, which is only done with a file that is sound so far."""
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class Input:
    """A damaged file: what it was, what was done to it, and its content."""

    number: int
    sound: Sound
    done: tuple[str, ...]
    content: bytes


def make_input(kind: str, number: int, *, seed: int, files: Sequence[Sound]) -> Input:
    """Return input ``number`` of ``kind``; one in about three is changed more than once."""
    generator = random.Random(f"{seed}/{kind}/{number}")
    chosen = generator.choice([one for one in files if one.kind == kind])
    content, done = chosen.content, list[str]()
    for _ in range(generator.choice((1, 1, 1, 1, 2, 2, 3, 5))):
        name, content = _mutated(generator, chosen.container, content, sound=not done)
        done.append(name)
    return Input(number=number, sound=chosen, done=tuple(done), content=content)


def _mutated(generator: random.Random, container: str, content: bytes, *, sound: bool) -> tuple[str, bytes]:
    """Apply one mutation; where a file has lost the structure for all that are tried, its bytes are changed."""
    for _ in range(_TRIES):
        layers = _LAYERS[container]
        _, entry, mutations = generator.choices(layers, [weight for weight, _, _ in layers])[0]
        mutations = mutations or _INNER
        name = drawn(generator, mutations)
        if name in _READING and not sound:
            continue
        mutate = mutations[name][1]
        try:
            changed = _inside(entry, mutations, name)(generator, content) if entry else mutate(generator, content)
        except Exception:  # what is damaged already can lack anything
            continue
        if changed != content:
            return f"{entry}: {name}" if entry else name, changed
    name = drawn(generator, RAW)
    return name, RAW[name][1](generator, content or b"\0")


def _inside(entry: str, mutations: Mutations, name: str) -> Mutate:
    return inside(lambda found: found.endswith(entry), {name: mutations[name]})
