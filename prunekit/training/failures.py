"""Errors that end a run: the reason, the step, and what is left of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from prunekit.errors import PrunekitError
from prunekit.files import unwritable
from prunekit.training.checkpoint import checkpoints_in, require_finite


@contextmanager
def explained(folder: Path, model: BaseAlgorithm) -> Iterator[None]:
    """Add the step and the last checkpoint to an error; distinguish weights that are not finite from other faults."""
    try:
        yield
    except OSError as error:
        raise _stopped(unwritable(folder, error), folder, model) from error
    except PrunekitError as error:
        raise _stopped(error, folder, model) from error
    except ValueError as error:  # torch's distributions refuse what is not finite
        try:
            require_finite(model)
        except PrunekitError as reason:
            raise _stopped(reason, folder, model) from error
        raise


def _stopped(error: PrunekitError, folder: Path, model: BaseAlgorithm) -> PrunekitError:
    found = checkpoints_in(folder)
    left = f"the last good checkpoint is {found[-1]}; `resume` continues from it" if found else "it has no checkpoint"
    return type(error)(f"{error}; training stopped at step {model.num_timesteps}: {left}")
