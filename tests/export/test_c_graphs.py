"""C of graphs that are no chains: several inputs, names, memory, what is not written, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chain_policies import METADATA, chains, digest, rows_for
from compiled_policy import MISSING, REASON, STRICT, acted
from numpy.typing import NDArray

import prunekit.ops  # noqa: F401  (registers them)
from prunekit.errors import InputError
from prunekit.export.c_code import CCode
from prunekit.export.c_float import float_to_c, run_float32
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.clip import Clip
from prunekit.ops.concat import Concat
from prunekit.ops.flatten import Flatten
from prunekit.ops.identity import Identity
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.normalize import Normalize
from prunekit.ops.slice import Slice
from prunekit.policy.graphs import graph_of
from prunekit.runtimes.native import NativePolicy

DIGESTS = json.loads(Path(__file__).with_name("chain_digests.json").read_text())
CHAINS = dict(chains())
compiles = pytest.mark.skipif(bool(MISSING), reason=REASON)


def values(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer(inputs: int, outputs: int, seed: int = 0) -> Affine:
    return Affine(weight=values(outputs, inputs, seed=seed), bias=values(outputs, seed=seed + 50))


def graph(inputs: dict[str, tuple[int, ...]], *nodes: tuple[Op, Sequence[str], str]) -> Graph:
    made = tuple(Node(op=op, inputs=tuple(read), outputs=(name,)) for op, read, name in nodes)
    ports = tuple(Port(name=name, shape=shape) for name, shape in inputs.items())
    return Graph(inputs=ports, nodes=made, outputs=("action", "outputs"))


def agrees(policy: Graph, folder: Path, code: CCode | None = None) -> bool:
    """Return whether the compiled C has the bits of its twin on some inputs."""
    inputs = {port.name: values(16, *port.shape, seed=at) for at, port in enumerate(policy.inputs)}
    flat = np.concatenate([value.reshape(16, -1) for value in inputs.values()], axis=1)
    found = acted(code or float_to_c(policy, "some_policy", {}), flat, folder)
    return found.tobytes() == run_float32(policy, inputs)["action"].tobytes()


@pytest.mark.parametrize("name", CHAINS)
def test_the_c_of_a_chain_is_to_the_byte_what_it_was_before_there_were_graphs(name: str) -> None:
    """Flash, instructions and bits that were measured hold for it."""
    policy = CHAINS[name]
    plain = float_to_c(graph_of(policy), "some_policy", {})
    tested = float_to_c(graph_of(policy), "p", METADATA, {"obs": rows_for(policy)})
    assert [digest(plain), digest(tested)] == DIGESTS[name]


@compiles
def test_several_inputs_are_a_pointer_each(tmp_path: Path) -> None:
    policy = graph(
        {"Position": (3,), "camera": (2, 2), "unused": (5,)},
        (Normalize(mean=values(3), scale=np.abs(values(3)), clip=5.0), ["Position"], "n"),
        (Flatten(), ["camera"], "flat"),
        (Concat(parts=2), ["n", "flat"], "both"),
        (layer(7, 4), ["both"], "outputs"),
        (Argmax(start=2), ["outputs"], "action"),
    )
    recorded = {port.name: values(8, *port.shape, seed=3) for port in policy.inputs}
    code = float_to_c(policy, "some_policy", {}, recorded)
    assert (
        "int32_t some_policy_action(const float position[SOME_POLICY_POSITION], "
        "const float camera[SOME_POLICY_CAMERA], const float unused[SOME_POLICY_UNUSED]);"
    ) in code.header
    assert "#define SOME_POLICY_INPUTS 12\n#define SOME_POLICY_POSITION 3\n" in code.header
    assert "camera is [2, 2], the last axis side by side." in code.header
    assert "NaN counts as the normalizer's mean, or 0 where there is none." in code.header
    assert agrees(policy, tmp_path, code)
    with pytest.raises(InputError, match="takes policies with one input; some_policy has 3"):
        NativePolicy(code)


@compiles
def test_names_of_inputs_never_clash_with_what_the_c_is_made_of(tmp_path: Path) -> None:
    parts = ["int", "Action", "i", "a", "inputs", "float", "class", "obs/1", "obs 1", "1", "?", "p_tanh", "linux"]
    policy = graph(
        dict.fromkeys(parts, (2,)),
        (Concat(parts=len(parts)), parts, "all"),
        (layer(2 * len(parts), 3), ["all"], "h"),
        (Activation(kind="tanh"), ["h"], "outputs"),
        (Identity(), ["outputs"], "action"),
    )
    code = float_to_c(policy, "p", {})
    assert agrees(policy, tmp_path, code)
    (tmp_path / "user.cpp").write_text('#include "p.h"\nint main() { return 0; }\n')
    command = ["g++", "-std=gnu++17", "-Wall", "-Wextra", "-Werror", "-c", "user.cpp"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")


@compiles
def test_cpp_calls_the_c(tmp_path: Path) -> None:
    policy = graph({"obs": (3,)}, (layer(3, 2), ["obs"], "outputs"), (Identity(), ["outputs"], "action"))
    float_to_c(policy, "p", {}).write(tmp_path)
    (tmp_path / "user.cpp").write_text(
        '#include "p.h"\nint main() { float x[P_INPUTS] = {}, y[P_OUTPUTS]; p_action(x, y); return y[0] != y[0]; }\n'
    )
    for command in (["gcc", *STRICT, "-c", "p.c"], ["g++", "-Wall", "-Wextra", "user.cpp", "p.o", "-o", "user"]):
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert subprocess.run([tmp_path / "user"], check=False).returncode == 0


def residual(width: int, blocks: int) -> Graph:
    nodes: list[tuple[Op, Sequence[str], str]] = [(layer(5, width), ["obs"], "x0")]
    for at in range(blocks):
        norm = LayerNorm(scale=values(width, seed=at), shift=values(width, seed=at + 9), epsilon=1e-5, count=width)
        nodes += [(norm, [f"x{at}"], f"n{at}"), (layer(width, 2 * width, at), [f"n{at}"], f"h{at}")]
        nodes += [(Activation(kind="relu"), [f"h{at}"], f"r{at}"), (layer(2 * width, width, at), [f"r{at}"], f"d{at}")]
        nodes.append((Add(), [f"x{at}", f"d{at}"], f"x{at + 1}"))
    nodes += [(layer(width, 3), [f"x{blocks}"], "outputs"), (Identity(), ["outputs"], "action")]
    return graph({"obs": (5,)}, *nodes)


@compiles
def test_a_residual_network_takes_three_arrays_however_deep_it_is(tmp_path: Path) -> None:
    for blocks in (1, 5):
        code = float_to_c(residual(6, blocks), "some_policy", {})
        assert code.source.count("    float a[") == code.source.count("    float c[") == 1
        assert "    float d[" not in code.source
        assert code.source.count("static void some_policy_layer_norm(") == 1
    assert agrees(residual(6, 5), tmp_path, code)


@compiles
@pytest.mark.parametrize("first", [0, 1])
def test_stretches_of_one_array_that_overlap_are_added_in_time(first: int, tmp_path: Path) -> None:
    """A sum is written over what it reads, but not where it would overwrite what is still to be read."""
    left, right = ([at != drop for at in range(6)] for drop in ((5, 0) if first else (0, 5)))
    policy = graph(
        {"obs": (4,)},
        (layer(4, 6), ["obs"], "x"),
        (Slice(selected=np.array(left)), ["x"], "l"),
        (Slice(selected=np.array(right)), ["x"], "r"),
        (Add(), ["l", "r"], "sum"),
        (Add(), ["sum", "sum"], "outputs"),
        (Identity(), ["outputs"], "action"),
    )
    assert agrees(policy, tmp_path)


@compiles
def test_a_value_that_is_read_later_is_not_written_over(tmp_path: Path) -> None:
    policy = graph(
        {"obs": (4,)},
        (layer(4, 6), ["obs"], "x"),
        (Activation(kind="silu"), ["x"], "y"),
        (Clip(low=-0.5, high=0.5), ["x"], "z"),
        (Add(), ["y", "z"], "s"),
        (Add(), ["s", "x"], "t"),
        (layer(6, 2), ["t"], "outputs"),
        (Clip(low=-1.0, high=float("inf")), ["outputs"], "action"),
    )
    assert agrees(policy, tmp_path)


def test_what_the_action_does_not_depend_on_is_not_written() -> None:
    policy = graph(
        {"obs": (4,)},
        (layer(4, 3), ["obs"], "x"),
        (layer(4, 9, 1), ["obs"], "outputs"),
        (Identity(), ["x"], "action"),
    )
    assert float_to_c(policy, "p", {}).source.count("static const float") == 2


@compiles
def test_an_action_that_is_an_input_is_copied(tmp_path: Path) -> None:
    policy = graph({"obs": (4,)}, (Identity(), ["obs"], "outputs"), (Identity(), ["outputs"], "action"))
    assert agrees(policy, tmp_path)


def test_integers_that_are_read_or_given_beside_the_action_are_refused() -> None:
    policy = graph({"obs": (4,)}, (Identity(), ["obs"], "outputs"), (Argmax(), ["outputs"], "action"))
    integers = replace(
        policy,
        inputs=(*policy.inputs, Port(name="step", shape=(1,), dtype="int64")),
        nodes=(*policy.nodes[:1], Node(op=Identity(), inputs=("step",), outputs=("action",))),
    )
    with pytest.raises(InputError, match="input 'step' is int64, but C takes floats"):
        float_to_c(integers, "p", {})
    two = graph({"obs": (2, 4)}, (Identity(), ["obs"], "outputs"), (Argmax(), ["outputs"], "action"))
    with pytest.raises(InputError, match=r"node 'action' \(Argmax\): C gives numbers .* only as the policy's action"):
        float_to_c(two, "p", {})
