"""Means, paired differences and their intervals: by hand, and against SciPy."""

import numpy as np
import pytest
from scipy import stats

from elastier_trainer.errors import DataError
from elastier_trainer.study.statistics import (
    Estimate,
    estimate,
    interaction,
    ladder_steps,
    paired_difference,
    relative_loss_change,
)


def test_the_interval_of_three_numbers_is_that_of_the_textbook() -> None:
    # Mean 2, standard deviation 1, t(0.975, 2) = 4.302653.
    found = estimate([1.0, 2.0, 3.0])
    reach = 4.302653 / 3**0.5
    assert found.mean == 2.0
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), abs=1e-6)
    assert found.reach == pytest.approx(reach, abs=1e-6)


@pytest.mark.parametrize("seeds", [2, 5, 12])
def test_the_paired_interval_is_that_of_scipy(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    left, right = rng.normal(0.8, 0.01, seeds), rng.normal(0.79, 0.01, seeds)
    found = paired_difference(dict(enumerate(left)), dict(enumerate(right)))
    expected = stats.ttest_rel(left, right).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.seeds == seeds


def test_pairing_goes_by_seed_and_leaves_out_seeds_that_one_side_lacks() -> None:
    found = paired_difference({0: 0.5, 1: 0.7, 9: 0.1}, {1: 0.6, 0: 0.4, 8: 0.9})
    assert found is not None
    assert found.seeds == 2
    assert found.mean == pytest.approx(0.1)
    assert paired_difference({0: 0.5}, {1: 0.5}) is None


def test_one_seed_has_a_mean_and_no_interval() -> None:
    assert estimate([0.25]) == Estimate(mean=0.25, low=None, high=None, seeds=1)


def test_half_the_loss_is_a_change_of_minus_a_half_and_more_loss_is_plus() -> None:
    halved = relative_loss_change({0: 0.9, 1: 0.8}, {0: 0.8, 1: 0.6})
    worse = relative_loss_change({0: 0.7}, {0: 0.8})
    assert halved is not None
    assert worse is not None
    assert (halved.mean, halved.low, halved.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert worse.mean == pytest.approx(0.5)


def test_the_change_is_a_mean_of_ratios_and_not_a_ratio_of_means() -> None:
    found = relative_loss_change({0: 0.8, 1: 0.9}, {0: 0.6, 1: 0.8})
    uneven = relative_loss_change({0: 0.7, 1: 0.9}, {0: 0.6, 1: 0.8})
    assert found is not None
    assert uneven is not None
    assert found.mean == pytest.approx(-0.5)
    assert uneven.mean == pytest.approx((-0.25 - 0.5) / 2)


def test_a_perfect_baseline_has_no_loss_to_be_a_share_of() -> None:
    with pytest.raises(DataError, match=r"perfect one for seeds \[1\]"):
        relative_loss_change({0: 0.5, 1: 0.5}, {0: 0.5, 1: 1.0})


@pytest.mark.parametrize("values", [[], [0.1, float("nan")]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="expected finite values"):
        estimate(values)


def test_a_ladder_is_compared_rung_by_rung_from_the_smallest_up() -> None:
    steps = ladder_steps([{0: 0.70, 1: 0.71}, {0: 0.72, 1: 0.73}, {0: 0.71, 1: 0.72}])
    assert [step.mean for step in steps if step is not None] == pytest.approx([0.02, -0.01])


def test_gains_that_add_up_have_no_interaction_and_gains_beyond_are_positive() -> None:
    neither, first, second = {0: 0.70, 1: 0.60}, {0: 0.73, 1: 0.63}, {0: 0.71, 1: 0.61}
    sum_of_both = interaction(both={0: 0.74, 1: 0.64}, first=first, second=second, neither=neither)
    beyond = interaction(both={0: 0.75, 1: 0.67}, first=first, second=second, neither=neither)
    assert sum_of_both is not None
    assert beyond is not None
    assert sum_of_both.mean == pytest.approx(0, abs=1e-12)
    # By hand: 0.01 and 0.03, so mean 0.02, standard deviation 0.0141421, t(0.975, 1) = 12.7062.
    assert beyond.mean == pytest.approx(0.02)
    assert beyond.high == pytest.approx(0.02 + 12.7062 * 0.0141421 / 2**0.5, abs=1e-5)
