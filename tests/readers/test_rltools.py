"""Checkpoints of RLtools in HDF5, and HDF5 files that would lead elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from fuzzing.hdf5_files import Layer, dense, gru, rltools_file

from prunekit.errors import ArtifactError, InputError
from prunekit.graph.reference import initial_states, run_step
from prunekit.policy.description import op_counts
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import policy_kind, read_policy

Array = np.ndarray[Any, np.dtype[Any]]
ROWS = np.random.default_rng(1).normal(0.0, 2.0, (40, 5)).astype(np.float32)


def fast_tanh(x: Array) -> Array:
    x = np.clip(x, -3.0, 3.0)
    return x * (27.0 + x**2) / (27.0 + 9.0 * x**2)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "IDENTITY": lambda x: x,
    "RELU": lambda x: np.maximum(x, 0.0),
    "TANH": np.tanh,
    "FAST_TANH": fast_tanh,
    "SIGMOID": lambda x: 1.0 / (1.0 + np.exp(-x)),
}


def layers(*words: str, widths: tuple[int, ...] = (5, 7, 6, 3)) -> list[Layer]:
    generator = np.random.default_rng(2)
    pairs = zip(widths, widths[1:], words, strict=False)
    return [("dense", dense(generator, read, made), word) for read, made, word in pairs]


def outputs(chain: list[Layer], rows: Array = ROWS) -> Array:
    rows = rows.astype(np.float64)
    for _, arrays, word in chain:
        rows = FUNCTIONS[word](rows @ arrays["weights"].T + arrays["biases"])
    return rows


def written(content: bytes, folder: Path) -> Path:
    path = folder / "checkpoint.h5"
    path.write_bytes(content)
    return path


def action(path: Path, **options: Any) -> Array:
    graph = read_policy(path, PolicyOptions(**options)).graph
    return np.asarray(run_step(graph, {"obs": ROWS}, {})[0]["action"])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("word", FUNCTIONS)
def test_layers_with_their_activations(word: str, libver: str, tmp_path: Path) -> None:
    chain = layers(word, "RELU", "FAST_TANH" if word == "FAST_TANH" else "TANH")
    path = written(rltools_file(chain, libver=libver), tmp_path)
    assert policy_kind(path) == "rltools"
    assert read_policy(path).recognised.startswith("RLtools checkpoint, actor, ")
    np.testing.assert_allclose(action(path), outputs(chain), rtol=1e-5, atol=1e-6)


def test_an_mlp_within_a_sequence_and_a_head(tmp_path: Path) -> None:
    chain = layers("RELU", "TANH", "IDENTITY")
    path = written(rltools_file(chain, mlp=True), tmp_path)
    np.testing.assert_allclose(action(path), outputs(chain), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(action(path, head="tanh"), np.tanh(outputs(chain)), rtol=1e-5, atol=1e-6)


def test_standardized_observations_and_a_squashed_mean(tmp_path: Path) -> None:
    mean, precision = np.arange(5, dtype=np.float32), np.linspace(0.5, 2.0, 5, dtype=np.float32)
    chain = layers("RELU", "IDENTITY", widths=(5, 7, 6))
    first: Layer = ("standardize", {"mean": mean[None], "precision": precision[None]}, "")
    path = written(rltools_file([first, *chain, ("sample_and_squash", {}, "")]), tmp_path)
    wanted = np.tanh(outputs(chain, (ROWS - mean) * precision)[:, :3])
    np.testing.assert_allclose(action(path), wanted, rtol=1e-5, atol=1e-6)
    assert read_policy(path).notes == ("its action is that of evaluation, without noise",)


def test_a_gru_keeps_its_state_over_a_sequence(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    first, last = dense(generator, 5, 6), dense(generator, 4, 3)
    cell = gru(generator, 6, 4)
    path = written(rltools_file([("dense", first, "RELU"), ("gru", cell, ""), ("dense", last, "IDENTITY")]), tmp_path)
    file = read_policy(path)
    assert file.recognised.endswith(", recurrent")
    assert op_counts(file.graph)["GRU"] == 1
    module = torch.nn.GRUCell(6, 4, dtype=torch.float64)
    names = {"weight_ih": "weights_input", "weight_hh": "weights_hidden", "bias_ih": "biases_input"}
    names["bias_hh"] = "biases_hidden"
    module.load_state_dict({name: torch.tensor(cell[own]) for name, own in names.items()})
    state = torch.tensor(cell["initial_hidden_state"], dtype=torch.float64)[None]
    states = initial_states(file.graph, 1, np.float64)
    for row in ROWS:
        inner = np.maximum(row @ first["weights"].T + first["biases"], 0.0)
        state = module(torch.tensor(inner, dtype=torch.float64), state)
        wanted = state.detach().numpy() @ last["weights"].T + last["biases"]
        found, states = run_step(file.graph, {"obs": row[None]}, states)[:2]
        np.testing.assert_allclose(found["action"], wanted, rtol=1e-5, atol=1e-6)


def hdf5(change: Callable[[Any], object], folder: Path, *, libver: str = "earliest") -> Path:
    path = written(rltools_file(layers("RELU", "TANH", "IDENTITY"), libver=libver), folder)
    with h5py.File(path, "a", libver=libver) as file:
        change(file)
    return path


def stored_outside(file: Any) -> None:
    group = file["actor/layers/0/weights"]
    del group["parameters"]
    group.create_dataset("parameters", (7, 5), "f4", external=[("secret.bin", 0, 140)])


def replaced(file: Any, **options: Any) -> None:
    group = file["actor/layers/0/weights"]
    data = group["parameters"][:]
    del group["parameters"]
    group.create_dataset("parameters", data=data, **options)


HOSTILE: dict[str, tuple[Callable[[Any], object], str]] = {
    "a link to another file": (
        lambda file: file.__setitem__("other", h5py.ExternalLink("secret.h5", "/actor")),
        "a link to something in another file, which is not followed",
    ),
    "numbers in another file": (stored_outside, "in another file, which is never opened"),
    "a soft link": (lambda file: file.__setitem__("soft", h5py.SoftLink("/actor")), "as a link to something elsewhere"),
    "form a cycle": (lambda file: file["actor"].__setitem__("again", file["actor"]), "two names for one object"),
    "pieces": (lambda file: replaced(file, chunks=(1, 5)), "in pieces, which is not read; write it without chunks"),
    "packed": (lambda file: replaced(file, compression="gzip"), "packed, which is not read"),
    "a layer of another kind": (
        lambda file: file["actor/layers/1"].attrs.__setitem__("type", "conv2d"),
        "is a 'conv2d', not read",
    ),
    "an activation of another kind": (
        lambda file: file["actor/layers/1"].attrs.__setitem__("activation_function", "SWIRL"),
        "the activation 'SWIRL'",
    ),
    "no actor": (lambda file: file.move("actor", "net/inner"), "no network of RLtools was found"),
    "layers that do not fit": (
        lambda file: file.__delitem__("actor/layers/1"),
        "reads 6 values, but the layer before it gives 7",
    ),
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_leads_elsewhere_is_refused(
    name: str, libver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(bytes(140))
    Path("secret.h5").write_bytes(rltools_file(layers("RELU", "TANH", "IDENTITY")))
    change, words = HOSTILE[name]
    path = hdf5(change, tmp_path, libver=libver)
    with pytest.raises(InputError, match=words) as refused:
        read_policy(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    content = rltools_file(layers("RELU", "TANH", "IDENTITY"))
    generator = np.random.default_rng(4)
    damaged = [content[: len(content) // 3], content[:40]]
    for _ in range(150):
        changed = bytearray(content)
        for place in generator.integers(8, len(content), 4):
            changed[place] = generator.integers(0, 256)
        damaged.append(bytes(changed))
    refused = []
    for one in damaged:
        try:
            read_policy(written(one, tmp_path))
        except (InputError, ArtifactError) as error:
            refused.append(str(error))
    assert len(refused) > 2
    assert not any("\n" in words for words in refused)


def test_other_hdf5_files_are_told_the_way(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("model_weights/dense/kernel:0", data=np.ones((3, 2), np.float32))
    with pytest.raises(InputError, match=r"export the policy to ONNX \(of Keras: tf2onnx\)"):
        read_policy(written(buffer.getvalue(), tmp_path))
