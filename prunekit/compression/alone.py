"""The search of a single branch, without others or a budget: for tests, and to compare rivals with the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prunekit.compression.branch import Branch, Phase, RoundSettings
from prunekit.compression.candidates import BranchResult, Candidate
from prunekit.compression.rounds import advance
from prunekit.compression.student import ImitationDataset, Scale
from prunekit.compression.task import Worker


def search_branch(
    worker: Worker,
    settings: RoundSettings,
    index: int = 0,
    over: Callable[[], bool] = lambda: False,
) -> BranchResult:
    """Search the branch of ``settings.search.starts[index]`` alone, to its end or until ``over()``.

    Raises FailedEpisodeError if the environment fails under the teacher.
    """
    search, before = settings.search, worker.runner.steps
    dataset = ImitationDataset(worker.teacher)
    for observations in worker.demonstrations(range(search.first_seed, search.first_seed + search.teacher_episodes)):
        dataset.add(observations)
    start = search.starts[index]
    scale = Scale.of(dataset, worker.runner.spaces)
    branch = Branch(start=start, number=index, scale=scale, dataset=dataset, target=start)
    found: list[Candidate] = []
    tuned_steps = 0
    worker.runner.stopped = over
    while branch.phase is not Phase.DONE and not (found and over()):
        round_ = advance(worker, branch, replace(settings, in_any_case=not found))
        tuned_steps += round_.tuned_steps
        worker.runner.stopped = over
        found += round_.candidates
        if round_.failed is not None:
            found = [replace(one, failure=branch.failure) if one.hidden == round_.failed else one for one in found]
        if round_.stopped:
            break
    return BranchResult(candidates=found, steps=worker.runner.steps - before + tuned_steps, failure=branch.failure)
