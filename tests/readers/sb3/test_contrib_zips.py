"""Zips that sb3-contrib wrote: read as its own ``predict`` acts, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from sb3_zips import Odd, assert_acts_alike, assert_refused, flat, head, saved, spread_out_, with_data, with_state
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from prunekit.ops.argmax import Argmax
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.policy.description import op_counts
from prunekit.policy.sizes import sizes_of
from prunekit.readers.sb3.graph import read_zip

BOX = spaces.Box(np.float32([-2.0, -1.0]), np.float32([2.0, 0.5]))
WIDE = spaces.Box(-30.0, 30.0, (2,))
CHOICE = spaces.Discrete(3)
SMALL: dict[str, Any] = {"net_arch": [8, 5]}
BUFFER: dict[str, Any] = {"buffer_size": 20}
ROLLOUT: dict[str, Any] = {"n_steps": 8, "batch_size": 8}
MASKED = [CHOICE, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)]

# algorithm, policy, actions, options of the policy, others; its head
MODELS: dict[str, tuple[Any, str, spaces.Space[Any], dict[str, Any], dict[str, Any], type]] = {
    "TQC": (TQC, "MlpPolicy", BOX, SMALL, BUFFER, TanhToBounds),
    "TQC, gSDE": (TQC, "MlpPolicy", BOX, SMALL, {**BUFFER, "use_sde": True}, TanhToBounds),
    "TQC, gSDE, clip of its own": (
        *(TQC, "MlpPolicy", BOX, {**SMALL, "clip_mean": 0.7}),
        *({**BUFFER, "use_sde": True}, TanhToBounds),
    ),
    "TQC, gSDE, not clipped": (
        *(TQC, "MlpPolicy", BOX, {**SMALL, "clip_mean": 0.0}),
        *({**BUFFER, "use_sde": True}, TanhToBounds),
    ),
    "QR-DQN": (QRDQN, "MlpPolicy", CHOICE, {**SMALL, "n_quantiles": 7}, BUFFER, Argmax),
    "QR-DQN, no hidden layer": (QRDQN, "MlpPolicy", CHOICE, {"net_arch": []}, BUFFER, Argmax),
    "TRPO, box": (TRPO, "MlpPolicy", WIDE, SMALL, ROLLOUT, ClipToBounds),
    "TRPO, discrete": (TRPO, "MlpPolicy", CHOICE, SMALL, ROLLOUT, Argmax),
    "ARS, linear, discrete": (ARS, "LinearPolicy", CHOICE, {}, {}, Argmax),
    "ARS, linear, box": (ARS, "LinearPolicy", WIDE, {}, {}, ClipToBounds),
    "ARS, linear, squashed": (
        *(ARS, "LinearPolicy", BOX, {"squash_output": True, "with_bias": True}),
        *({}, TanhToBounds),
    ),
    "ARS, box": (ARS, "MlpPolicy", BOX, {}, {}, TanhToBounds),
    "ARS, clipped": (ARS, "MlpPolicy", WIDE, {"net_arch": [6], "squash_output": False}, {}, ClipToBounds),
    "ARS, no bias, tanh": (
        *(ARS, "MlpPolicy", CHOICE, {"net_arch": [6], "with_bias": False, "activation_fn": nn.Tanh}),
        *({}, Argmax),
    ),
    **{f"MaskablePPO, {one}": (MaskablePPO, "MlpPolicy", one, SMALL, ROLLOUT, type(None)) for one in MASKED},
    "CrossQ": (CrossQ, "MlpPolicy", BOX, SMALL, BUFFER, TanhToBounds),
    "CrossQ, gSDE": (CrossQ, "MlpPolicy", BOX, SMALL, {**BUFFER, "use_sde": True}, TanhToBounds),
    "CrossQ, PReLU": (CrossQ, "MlpPolicy", BOX, {**SMALL, "activation_fn": nn.PReLU}, BUFFER, TanhToBounds),
    "CrossQ, epsilon": (CrossQ, "MlpPolicy", BOX, {**SMALL, "batch_norm_eps": 0.5}, BUFFER, TanhToBounds),
    "CrossQ, no norm": (CrossQ, "MlpPolicy", BOX, {**SMALL, "batch_norm": False}, BUFFER, TanhToBounds),
    "CrossQ, no hidden layer": (CrossQ, "MlpPolicy", BOX, {"net_arch": {"pi": [], "qf": [4]}}, BUFFER, TanhToBounds),
}


def model_of(name: str) -> BaseAlgorithm:
    algorithm, policy, actions, options, others, _ = MODELS[name]
    model = algorithm(policy, Odd(flat(), actions), policy_kwargs=dict(options), device="cpu", seed=3, **others)
    spread_out_(model, 0.5)
    generator = torch.Generator().manual_seed(5)
    for title, buffer in model.policy.named_buffers():
        if title.endswith("ra_var"):
            buffer.uniform_(0.2, 4.0, generator=generator)
        elif title.endswith("ra_mean"):
            buffer.normal_(generator=generator)
    model.policy.set_training_mode(False)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_acts_as_predict_does(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    found = read_zip(saved(model, tmp_path))
    assert_acts_alike(found.graph, model)
    wanted = MODELS[name][-1]
    assert wanted is type(None) or type(head(found.graph)) is wanted
    assert ", ".join((" with sb3-contrib", name.split(",")[0], "4-")) in found.recognised


@pytest.mark.parametrize("name", MODELS)
def test_notes_say_what_is_left_out_or_assumed(name: str, tmp_path: Path) -> None:
    words = {"MaskablePPO": "mask", "QR-DQN": "means over", "gSDE": "gSDE: the mean action"}
    notes = read_zip(saved(model_of(name), tmp_path)).notes
    for word, note in words.items():
        assert any(note in one for one in notes) == (word in name)
    assert len(notes) == sum(word in name for word in words)


def test_norms_and_quantiles_take_no_op_of_their_own(tmp_path: Path) -> None:
    counts = {"Affine": 3, "Activation": 2}
    norm = read_zip(saved(model_of("CrossQ"), tmp_path)).graph
    assert op_counts(norm) == {"Affine": 3, "Activation": 2, "TanhToBounds": 1}
    quantiles = read_zip(saved(model_of("QR-DQN"), tmp_path)).graph
    assert op_counts(quantiles) == {**counts, "Argmax": 1}
    assert sizes_of(quantiles).parameters == 4 * 8 + 8 + 8 * 5 + 5 + 5 * 3 + 3


def test_recurrent_policies_are_refused_by_name(tmp_path: Path) -> None:
    model = RecurrentPPO("MlpLstmPolicy", Odd(flat(), CHOICE), device="cpu", **ROLLOUT)
    assert_refused(saved(model, tmp_path), r"recurrent \(RecurrentPPO\)")


REFUSED: dict[str, tuple[str, Any, Any, str]] = {
    "negative variance": ("CrossQ", None, lambda s: s["actor.latent_pi.0.ra_var"].fill_(-1.0), "NaN or infinite"),
    "no mean": ("CrossQ", None, lambda s: s.pop("actor.latent_pi.3.ra_mean"), "lacks .*ra_mean"),
    "short norm": ("CrossQ", None, lambda s: s.update({"actor.latent_pi.3.scale": torch.ones(3)}), "lengths"),
    "other width": (
        "CrossQ",
        None,
        lambda s: s.update({f"actor.latent_pi.6.{part}": torch.ones(3) for part in NORM}),
        "does not fit",
    ),
    "epsilon that is text": (
        "CrossQ",
        lambda d: d["policy_kwargs"].update(batch_norm_eps="0"),
        None,
        "positive number",
    ),
    "clip of text": ("TQC, gSDE", lambda d: d["policy_kwargs"].update(clip_mean="2"), None, "positive number"),
    "clip of nothing": ("TQC, gSDE", lambda d: d["policy_kwargs"].update(clip_mean=0), None, "positive number"),
    "quantiles of half an action": (
        *("QR-DQN", None),
        lambda s: s.update(
            {f"{LAST}weight": torch.ones(20, 5), f"{LAST}bias": torch.ones(20)},
        ),
        "not an integer number of quantiles",
    ),
    "actions without number": ("QR-DQN", lambda d: d["action_space"].update(n="many"), None, "not an integer"),
    "no actions": ("QR-DQN", lambda d: d["action_space"].update(n=0), None, "not an integer"),
    "half a switch": (
        *("MaskablePPO, MultiBinary(3)", None),
        lambda s: s.update({"action_net.weight": torch.ones(5, 5), "action_net.bias": torch.ones(5)}),
        "not two for each switch",
    ),
    "squashing of text": ("ARS, box", lambda d: d["policy_kwargs"].update(squash_output="no"), None, "not a boolean"),
    "bias of another layer": ("ARS, box", None, lambda s: s.update({"action_net.1.bias": torch.ones(2)}), "holds"),
}
NORM = ("ra_mean", "ra_var", "scale", "bias")
LAST = "quantile_net.quantile_net.4."


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_together_is_refused(name: str, tmp_path: Path) -> None:
    which, change_data, change_state, reason = REFUSED[name]
    path = saved(model_of(which), tmp_path)
    if change_data is not None:
        path = with_data(path, tmp_path, change_data)
    else:
        path = with_state(path, tmp_path, change_state)
    assert_refused(path, reason)
