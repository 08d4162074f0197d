"""What integers keep of a policy's return, and what noise of their size keeps of it: parts of ``devices.py``.

An episode that ends in a fall ends elsewhere, or not at all, when actions differ by little, so 100 episodes of a policy
that falls now and then earn something else under any change. Float32 with noise in its weights tells how much.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import make_environment
from prunekit.export.c import CSettings, c_code
from prunekit.export.c_float import run_float32
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.export.recording import spread_over
from prunekit.policy.graphs import graph_of
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import Affine, Program
from prunekit.rollouts import episode_return, random_returns
from prunekit.runtimes.native import NativePolicy
from prunekit.stats.bootstrap import bootstrap_bound, retention

SEEDS = range(10_000, 10_100)
NOISE_SEEDS = range(5)
MORE_SEEDS = range(20_000, 21_000)
_ROWS = 1_000


def by_integers(
    policy: str, program: Program, seen: NDArray[np.float32], forms: Mapping[str, Bits | None]
) -> dict[str, Any]:
    """Return the returns of 100 episodes in every form, and what each keeps of that in float32.

    float64 stands beside them: what roundings of float32 alone change.
    """

    def exact(observation: Any) -> Any:
        seen = np.asarray(observation, np.float32)[None].astype(np.float64)
        action = run_oracle(program, seen)[0][0]
        return int(action) if action.dtype == np.int64 else action.astype(np.float32)

    returns = {"random": _random(policy, SEEDS), "float64": _played(policy, exact, SEEDS)}
    for form, bits in forms.items():
        returns[form] = _played(policy, _native(program, bits, seen), SEEDS)
        print(time.strftime("%H:%M:%S"), policy, form, np.mean(returns[form]), flush=True)
    against = {form: _retention(returns, form) for form in (*forms, "float64")}
    return {"policy": policy, "seeds": [SEEDS[0], SEEDS[-1]], "returns": returns, "retention": against}


def under_noise(
    policy: str, program: Program, seen: NDArray[np.float32], seed: int, known: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return what float32 keeps, over the same 100 episodes, under noise whose effect is as large as w8a16's error.

    Every weight is multiplied by one plus a normal number of its own, all of one standard deviation, such that the
    scores before the head err as much on recorded observations ``seen``, root mean square, as those of w8a16. Like the
    error of integers, and unlike noise drawn anew at every step, that is one function of the observation. ``known``
    are the returns of float32 and of the random policy.
    """
    rows = spread_over(seen, _ROWS)
    exact = _outputs(program, rows)
    wanted = _size(run_quantized(quantize(graph_of(program), seen, 16), rows)[1] - exact)
    deviation = 1e-3
    for _ in range(4):
        deviation *= wanted / _size(_outputs(noisy(program, deviation, seed), rows) - exact)
    changed = noisy(program, deviation, seed)
    found = _size(_outputs(changed, rows) - exact)
    if _played(policy, _native(program, None, seen), SEEDS[:1])[0] != known["float32"][0]:
        raise SystemExit(f"{policy}: float32 earns something else on this machine; measure int8 on it first")
    returns = _played(policy, _native(changed, None, seen), SEEDS)
    kept = _retention({**known, "noise": returns}, "noise")
    print(time.strftime("%H:%M:%S"), policy, f"noise {seed}", kept["estimate"], kept["lower95"], flush=True)
    sizes = {"error_of_w8a16": wanted, "error_of_noise": found, "deviation_of_weights": deviation}
    return {"policy": policy, "noise_seed": seed, **sizes, "returns": returns, "retention": kept}


def _outputs(program: Program, rows: NDArray[np.float32]) -> NDArray[Any]:
    return run_float32(graph_of(program), {"obs": rows})["outputs"]


def noisy(program: Program, deviation: float, seed: int) -> Program:
    """Return ``program`` with every weight times 1 + ``deviation`` * N(0, 1)."""
    generator = np.random.default_rng(seed)
    ops = [
        replace(op, weight=(op.weight * (1.0 + deviation * generator.standard_normal(op.weight.shape))).astype("f4"))
        if isinstance(op, Affine)
        else op
        for op in program.ops
    ]
    return replace(program, ops=tuple(ops))


def over_more(policy: str, program: Program, seen: NDArray[np.float32], bits: Bits | None) -> list[float]:
    """Return the returns of 1,000 other episodes."""
    return _played(policy, _native(program, bits, seen), MORE_SEEDS)


def random_over_more(policy: str) -> list[float]:
    """Return those of the random policy."""
    return _random(policy, MORE_SEEDS)


def kept_over_more(policy: str, returns: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return what w8a16 keeps of the return in float32 over 1,000 episodes."""
    against = {"w8a16": _retention(returns, "w8a16")}
    return {"policy": policy, "seeds": [MORE_SEEDS[0], MORE_SEEDS[-1]], "returns": returns, "retention": against}


def _native(program: Program, bits: Bits | None, seen: NDArray[np.float32]) -> Callable[[Any], Any]:
    return NativePolicy(c_code(program, CSettings(name="policy", activations=bits), {}, seen)[0]).act


def _played(policy: str, act: Callable[[Any], Any], seeds: Sequence[int]) -> list[float]:
    environment = make_environment(policy.split()[0], {})
    return [episode_return(environment, act, seed) for seed in seeds]


def _random(policy: str, seeds: Sequence[int]) -> list[float]:
    return random_returns(make_environment(policy.split()[0], {}), seeds)


def _retention(returns: Mapping[str, Sequence[float]], form: str) -> dict[str, Any]:
    small, dense, random = (np.asarray(returns[name]) for name in (form, "float32", "random"))
    bound = bootstrap_bound(small, dense, random, np.random.default_rng(0))
    return {**retention(small, dense, random, np.random.default_rng(0)).to_dict(), "lower95": bound}


def _size(error: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
