"""A round of a branch: the next step of its phase, and what that came to."""

from __future__ import annotations

from prunekit.compression import imitation
from prunekit.compression.branch import Branch, Phase, Round, RoundSettings
from prunekit.compression.finetune import settle, tune
from prunekit.compression.round_context import RoundContext
from prunekit.compression.task import Worker
from prunekit.errors import FailedEpisodeError
from prunekit.rollouts import StoppedError


def advance(worker: Worker, branch: Branch, settings: RoundSettings) -> Round:
    """Play one round of ``branch``, which is changed, and return what it came to."""
    context = RoundContext(worker, branch, settings)
    before = worker.runner.steps
    stopped = False
    try:
        _go(context)
    except StoppedError:
        stopped = True
    except FailedEpisodeError as error:
        branch.failure, branch.phase = str(error), Phase.DONE
    steps = worker.runner.steps - before + context.tuned_steps
    return Round(
        branch=branch,
        candidates=tuple(context.candidates),
        steps=steps,
        tuned_steps=context.tuned_steps,
        stopped=stopped,
        failed=context.failed,
    )


def _go(context: RoundContext) -> None:
    match context.branch.phase:
        case Phase.START:
            imitation.start(context)
        case Phase.TEACH:
            imitation.teach(context)
        case Phase.SHRINK:
            imitation.shrink(context)
        case Phase.TUNE if context.branch.unjudged and not context.round.ahead:
            settle(context)
        case Phase.TUNE:
            tune(context)
        case Phase.DONE:
            raise AssertionError("a branch that is done has no round")
