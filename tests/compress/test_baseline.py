"""What teacher and random policy earn: what is luck of the first seeds is taken out of what students earn there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.compression.candidates import Baseline

SEEDS = st.integers(0, 2**32 - 1)


def baseline_of(generator: np.random.Generator, spread: float = 100.0) -> Baseline:
    return Baseline(teacher=generator.normal(200.0, spread, 400), random=generator.normal(0.0, 10.0, 80))


@given(seed=SEEDS, count=st.integers(1, 80))
def test_a_copy_of_the_teacher_keeps_all_however_few_episodes_it_played(seed: int, count: int) -> None:
    baseline = baseline_of(np.random.default_rng(seed))
    played = baseline.paired(baseline.teacher[:count].tolist())
    assert baseline.kept(played) == pytest.approx(np.ones(count))
    assert played.retention == pytest.approx(1.0)
    assert played.teacher.mean() == pytest.approx(baseline.teacher.mean())
    assert played.random.mean() == pytest.approx(baseline.random.mean())
    assert baseline.kept(played).mean() == pytest.approx(played.retention)


@given(seed=SEEDS, count=st.integers(0, 120))
def test_what_is_kept_is_the_retention_of_what_was_played(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    baseline = baseline_of(generator)
    played = baseline.paired(generator.normal(190.0, 100.0, count).tolist())
    assert len(played) == len(baseline.kept(played)) == count
    if count:
        assert baseline.kept(played).mean() == pytest.approx(played.retention)


@pytest.mark.parametrize("common", [0.0, 0.5, 1.0])
def test_a_retention_is_known_better_than_by_pairs_alone(common: float) -> None:
    """Errors of the estimate for a student that is as good, over many selections of 20 episodes."""
    errors, paired = [], []
    for seed in range(400):
        generator = np.random.default_rng(seed)
        baseline = baseline_of(generator)
        own = generator.normal(200.0, 100.0, 20)
        small = common * baseline.teacher[:20] + (1.0 - common) * own
        errors.append(float(baseline.kept(baseline.paired(small.tolist())).mean()) - 1.0)
        paired.append(float((small - baseline.teacher[:20]).mean()) / baseline.gain)
    assert abs(np.mean(errors)) < 0.02
    if common == 1.0:
        assert np.abs(errors).max() < 1e-9
    else:
        assert np.std(errors) < 0.85 * np.std(paired)


def test_the_error_of_a_retention_is_that_of_what_is_not_in_common() -> None:
    generator = np.random.default_rng(0)
    baseline = baseline_of(generator)
    noise = generator.normal(0.0, 1.0, 80)
    kept = baseline.kept(baseline.paired((baseline.teacher[:80] + noise).tolist()))
    assert float(kept.std()) < 0.01
    loose = baseline.kept(baseline.paired(generator.normal(200.0, 100.0, 80).tolist()))
    assert float(loose.std()) == pytest.approx(0.5, rel=0.2)
