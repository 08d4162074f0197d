"""A folder for the Hugging Face hub: a policy in both formats, a card, and its certificate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunekit.cards.card import CERTIFICATE, README, facts_on_record, may_be_written, model_card
from prunekit.errors import InputError
from prunekit.export.onnx import checked_onnx
from prunekit.files import write_together
from prunekit.outputs import require_not_foreign
from prunekit.policy.sizes import sizes_of
from prunekit.readers.policy_file import PolicyFile

if TYPE_CHECKING:
    from prunekit.policy.model_file import ModelFile

FILES = ("policy.onnx", "policy.pt", README, CERTIFICATE)


def write_card_folder(policy: PolicyFile, folder: Path, env: str | None = None) -> list[Path]:
    """Write ``policy.onnx``, ``policy.pt``, ``README.md``, and ``certificate.json`` if the file has a certificate.

    Either all files are written or none. Masked units are removed. ``env`` is the environment for the card if the file
    names none. Returns the paths. Raises InputError if there is a README.md that is not a card of prunekit, or another
    file that prunekit did not write, and as an ONNX export does.
    """
    from prunekit.policy.model_file import to_bytes

    onnx, pt, card, certificate = (folder / name for name in FILES)
    if not may_be_written(card):
        raise InputError(f"{card}: was not written by prunekit and would be overwritten; name another folder as `out`")
    metadata: dict[str, Any] = dict(policy.metadata)
    if certificate.exists() and "certificate" not in metadata:
        raise InputError(
            f"{certificate}: belongs to another policy, and this one has none; name another folder as `out`"
        )
    require_not_foreign((onnx, pt, certificate))
    file = _living(policy, metadata)
    graph = file.graph
    content, _ = checked_onnx(graph, onnx, file.provenance)
    sizes = sizes_of(graph)
    inputs = [*(port.name for port in graph.inputs), *(state.before for state in graph.states)]
    record = metadata if env is None or "env" in metadata else {**metadata, "env": {"id": env}}
    facts = facts_on_record(
        record, name=folder.resolve().name, hidden=sizes.hidden, parameters=sizes.parameters, inputs=inputs
    )
    files = {onnx: content, pt: to_bytes(file), card: model_card(facts).encode()}
    if "certificate" in metadata:
        files[certificate] = (json.dumps(metadata, indent=1, allow_nan=False) + "\n").encode()
    write_together(files)
    return list(files)


def _living(policy: PolicyFile, metadata: dict[str, Any]) -> ModelFile:
    """Return the policy as a model file without its masked units."""
    from prunekit.export.shrinking import shrink_graph
    from prunekit.policy.model_file import ModelFile, full_masks

    if policy.masks is not None and any(not keep.all() for keep in policy.masks.values()):
        return shrink_graph(policy.graph, policy.masks, metadata, actions=policy.actions).file
    return ModelFile(graph=policy.graph, masks=full_masks(policy.graph), provenance=metadata, actions=policy.actions)
