"""Sound checkpoints of other libraries, and mutations of the containers that they are in."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from fuzzing.hdf5_files import dense, gru, rltools_file
from fuzzing.pickles import PICKLE
from fuzzing.texts import JSON
from fuzzing.values import NUMBERS, Mutate, Mutations

_OLD_PICKLES = 5


def sound_weights() -> Iterator[tuple[str, str, str, bytes]]:
    """Yield (kind, container, name, content) of small checkpoints; all are of 4 values in and one or two out."""
    for kind, name, content in _checkpoints():
        yield kind, "torch", name, _saved(content)
        if kind in ("rsl_rl", "skrl", "state_dict"):
            yield kind, "old_torch", f"{name}, old", _saved(content, _use_new_zipfile_serialization=False)
    arrays = {name: value.detach().numpy() for name, value in _actor().state_dict().items()}
    yield "state_dict", "safetensors", "safetensors", safetensors(arrays)
    yield "state_dict", "pickle", "arrays", pickle.dumps(arrays)
    layers = {
        f"hidden_{index}": {"kernel": arrays[f"{2 * index}.weight"].T, "bias": arrays[f"{2 * index}.bias"]}
        for index in range(2)
    }
    statistics = {"mean": np.zeros(4, np.float32), "std": np.ones(4, np.float32)}
    for protocol in (2, 4, 5):
        yield "brax", "pickle", f"protocol {protocol}", pickle.dumps((statistics, {"params": layers}, {}), protocol)
    state = {f"encoder.encoder.net.mlp.0.{kind}": arrays[f"0.{kind}"] for kind in ("weight", "bias")}
    state |= {f"pi.net.mlp.0.{kind}": arrays[f"2.{kind}"] for kind in ("weight", "bias")}
    yield "rllib", "pickle", "module state", pickle.dumps(state)
    for name, start in (("tflite", b"\x1c\0\0\0TFL3"), ("msgpack", b"\x81\xa6params")):
        yield "unread", "raw", name, start + bytes(range(64))
    generator = np.random.default_rng(0)
    last = ("dense", dense(generator, 6, 2), "TANH")
    for libver in ("earliest", "latest"):
        chain = [("dense", dense(generator, 4, 6), "RELU"), last]
        yield "rltools", "hdf5", libver, rltools_file(chain, libver=libver)
    recurrent = [("gru", gru(generator, 4, 6), ""), last]
    yield "rltools", "hdf5", "recurrent", rltools_file(recurrent)
    yield "unread", "pickle", "pickle", pickle.dumps({"params": [1, 2.0, "three"]})
    yield "unread", "torch", "torch", _saved({"steps": torch.tensor(3)})


def _actor() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ELU(), nn.Linear(6, 2))


def _checkpoints() -> Iterator[tuple[str, str, Any]]:
    """Yield (kind, name, what is saved)."""
    actor = _actor().state_dict()
    model = {f"actor.{name}": value for name, value in actor.items()}
    norm = {"_mean": torch.zeros(1, 4), "_std": torch.ones(1, 4), "count": torch.tensor(3)}
    yield (
        "rsl_rl",
        "actor-critic",
        {
            "model_state_dict": {"std": torch.ones(2), **model},
            "obs_norm_state_dict": norm,
            "iter": 3,
            "infos": None,
        },
    )
    mlp = {f"mlp.{name}": value for name, value in actor.items()}
    normalizer = {f"obs_normalizer.{name}": value for name, value in norm.items()}
    yield "rsl_rl", "5.x", {"actor_state_dict": {"distribution.std_param": torch.ones(2), **mlp, **normalizer}}
    scaler = {"running_mean": torch.zeros(4), "running_variance": torch.ones(4)}
    yield "skrl", "agent", {"policy": actor, "state_preprocessor": scaler, "optimizer": {"step": np.float32(1)}}
    games = {f"a2c_network.actor_mlp.{name}": value for name, value in actor.items() if name[0] == "0"}
    last = {kind: actor[f"2.{kind}"] for kind in ("weight", "bias")}
    statistics = {"running_mean": torch.zeros(4), "running_var": torch.ones(4), "count": torch.ones(())}
    for head in ("mu", "logits"):
        network = {**games, **{f"a2c_network.{head}.{kind}": value for kind, value in last.items()}}
        network |= {f"running_mean_std.{name}": value for name, value in statistics.items()}
        yield "rl_games", head, {"model": network, "epoch": 3}
    mean = {f"actor_mean.{name}": value for name, value in actor.items()}
    yield "cleanrl", "ppo", {**mean, "actor_logstd": torch.zeros(1, 2)}
    squashed = {f"fc1.{kind}": actor[f"0.{kind}"] for kind in last} | {f"fc_mu.{kind}": last[kind] for kind in last}
    yield "cleanrl", "td3", ({**squashed, "action_scale": torch.ones(2), "action_bias": torch.zeros(2)}, {}, {})
    yield "state_dict", "plain", actor


def _saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def safetensors(arrays: dict[str, Any]) -> bytes:
    """Return a file of safetensors of float32 arrays."""
    header, body = {}, b""
    for name, value in arrays.items():
        start, body = len(body), body + value.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [start, len(body)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _in_header(mutate: Mutate) -> Mutate:
    def mutated(generator: random.Random, content: bytes) -> bytes:
        end = 8 + struct.unpack_from("<Q", content)[0]
        text = mutate(generator, content[8:end])
        return struct.pack("<Q", len(text)) + text + content[end:]

    return mutated


def _length(generator: random.Random, content: bytes) -> bytes:
    return struct.pack("<Q", generator.choice(NUMBERS) % 2**64) + content[8:]


def _in_old_pickle(mutate: Mutate) -> Mutate:
    """Change one of the pickles that an old file begins with, most often the object itself."""

    def mutated(generator: random.Random, content: bytes) -> bytes:
        stream, ends = io.BytesIO(content), [0]
        for _ in range(_OLD_PICKLES):
            for _ in pickletools.genops(stream):
                pass
            ends.append(stream.tell())
        index = generator.choice((0, 1, 2, 3, 3, 3, 3, 4, 4))
        start, stop = ends[index], ends[index + 1]
        return content[:start] + mutate(generator, content[start:stop]) + content[stop:]

    return mutated


def _hdf5(generator: random.Random, content: bytes) -> bytes:
    """Put an address, a size or a message's kind over another, at the places where such numbers lie."""
    changed = bytearray(content)
    for _ in range(generator.randrange(1, 4)):
        size = generator.choice((1, 2, 4, 8))
        place = generator.randrange(8, len(changed) - 8) // size * size
        other = generator.randrange(0, len(changed) - 8) // 8 * 8
        odd = generator.choice((generator.choice(NUMBERS), other, generator.randrange(32), place))
        changed[place : place + size] = (odd % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(changed)


HDF5: Mutations = {"numbers": (3.0, _hdf5)}
HEADER: Mutations = {
    **{f"header, {name}": (weight, _in_header(mutate)) for name, (weight, mutate) in JSON.items()},
    "header, length": (2.0, _length),
}
OLD: Mutations = {f"old, {name}": (weight, _in_old_pickle(mutate)) for name, (weight, mutate) in PICKLE.items()}
