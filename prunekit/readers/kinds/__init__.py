"""The readers, one per kind of policy file, in the order in which they are tried."""

from __future__ import annotations

from prunekit.readers.kinds import (
    brax,
    cleanrl,
    onnx_file,
    prunekit_model,
    rl_games,
    rllib,
    rltools,
    rsl_rl,
    sb3_zip,
    sbx_zip,
    skrl,
    state_dict,
    torchscript_file,
    unread,
)
from prunekit.readers.registry import Reader


def before() -> tuple[Reader, ...]:
    """Return the readers of whole policies."""
    return (prunekit_model.READER, sb3_zip.READER, sbx_zip.READER, onnx_file.READER, torchscript_file.READER)


def after() -> tuple[Reader, ...]:
    """Return the readers of checkpoints, the least specific last."""
    known = (rsl_rl.READER, skrl.READER, rl_games.READER, cleanrl.READER, rllib.READER, brax.READER, rltools.READER)
    return (*known, state_dict.READER, *unread.READERS)
