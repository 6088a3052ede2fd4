"""Metrics and their intervals, against other ways of computing them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elastier_trainer.errors import DataError
from elastier_trainer.metrics import accuracy_with_interval, auc, auc_with_interval, r2_with_interval


def test_the_auc_counts_pairs_in_order_and_ties_by_half() -> None:
    assert auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert auc([1, 1, 1, 1], [0, 1, 0, 1]) == 0.5
    assert auc(torch.tensor([3.0, -1.0]), torch.tensor([1.0, 0.0])) == 1.0


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=40))
def test_the_interval_equals_delongs_formula_over_all_pairs(rows: list[tuple[int, bool]]) -> None:
    ones = [score for score, label in rows if label]
    zeros = [score for score, label in rows if not label]
    if min(len(ones), len(zeros)) < 2:
        return
    wins = np.array([[(one > zero) + (one == zero) / 2 for zero in zeros] for one in ones])
    variance = wins.mean(1).var(ddof=1) / len(ones) + wins.mean(0).var(ddof=1) / len(zeros)
    found = auc_with_interval([score for score, _ in rows], [label for _, label in rows])
    reach = 1.959963984540054 * math.sqrt(variance)
    assert found.value == pytest.approx(wins.mean(), abs=1e-12)
    assert found.value == pytest.approx(auc([score for score, _ in rows], [label for _, label in rows]))
    assert found.low == pytest.approx(max(0, wins.mean() - reach), abs=1e-12)
    assert found.high == pytest.approx(min(1, wins.mean() + reach), abs=1e-12)
    assert found.rows == len(rows)


def test_the_interval_is_as_wide_as_the_bootstraps() -> None:
    rng = np.random.default_rng(0)
    labels_R = rng.random(800) < 0.25
    scores_R = rng.normal(size=800) + labels_R
    found = auc_with_interval(scores_R, labels_R)
    resamples = rng.integers(0, 800, (600, 800))
    low, high = np.quantile([auc(scores_R[rows], labels_R[rows]) for rows in resamples], [0.025, 0.975])
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)
    assert (found.low + found.high) / 2 == pytest.approx((low + high) / 2, abs=0.005)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth = 0.7602499  # Phi(1 / sqrt 2), of two normals one deviation apart
    labels_R = np.arange(200) < 60
    found = [auc_with_interval(rng.normal(size=200) + labels_R, labels_R) for _ in range(1000)]
    assert np.mean([interval.low <= truth <= interval.high for interval in found]) == pytest.approx(
        0.95, abs=0.02
    )


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1, 2, 3], [0, 0, 0], "an AUC needs both classes, got 3 rows of class 0 and 0 of class 1"),
        ([], [], "an AUC needs both classes"),
        ([1, 2, math.nan], [0, 1, 1], "expected finite scores, got nan at row 2"),
        ([1, 2, 3], [0, 1, 2], "expected labels 0 and 1"),
        ([1, 2, 3], [0, 1], "expected a score and a label per row"),
        ([[1], [2]], [[0], [1]], "expected a score and a label per row"),
    ],
)
def test_what_has_no_auc_is_refused(scores: list[float], labels: list[float], message: str) -> None:
    for metric in (auc, auc_with_interval):
        with pytest.raises(DataError, match=message):
            metric(scores, labels)


def test_one_row_of_a_class_has_no_interval() -> None:
    assert auc([1, 2, 3], [0, 0, 1]) == 1
    with pytest.raises(DataError, match="two rows of each class, got 2 of class 0 and 1 of class 1"):
        auc_with_interval([1, 2, 3], [0, 0, 1])


def test_the_accuracy_has_wilsons_interval() -> None:
    found = accuracy_with_interval([0, 1, 2, 2, 1, 0, 0, 1, 2, 0], [0, 1, 2, 2, 1, 0, 0, 1, 0, 1])
    n, share, z = 10, 0.8, 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert found.value == pytest.approx(0.8)
    assert (found.low, found.high) == pytest.approx((middle - reach, middle + reach))
    assert found.rows == 10


def test_a_perfect_accuracy_is_not_certain() -> None:
    found = accuracy_with_interval([1, 2, 3], [1, 2, 3])
    assert found.value == found.high == 1
    assert 0.4 < found.low < 0.5


def test_no_rows_have_no_accuracy() -> None:
    with pytest.raises(DataError, match="an accuracy needs at least one row"):
        accuracy_with_interval([], [])
    with pytest.raises(DataError, match="expected a score and a label per row"):
        accuracy_with_interval([1, 2], [1])


def test_r2_is_1_for_the_truth_and_0_for_the_mean() -> None:
    labels = [1.0, 2.0, 4.0, 9.0]
    assert r2_with_interval(labels, labels).value == 1
    assert r2_with_interval([4.0] * 4, labels).value == 0
    assert r2_with_interval([-1.0] * 4, labels).value < 0


def test_the_interval_of_r2_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(600):
        predicted_R = rng.normal(size=300)
        found = r2_with_interval(predicted_R, predicted_R + 0.5 * rng.normal(size=300))
        covered.append(found.low <= 0.8 <= found.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([1, 2, 3], [5, 5, 5], "two rows with different labels, got 3 rows, none different"),
        ([1], [5], "two rows with different labels, got 1 rows"),
        ([1, math.inf], [5, 6], "expected finite scores, got inf at row 1"),
        ([1, 2], [5, math.nan], "expected finite labels, got nan at row 1"),
        ([1, 2], [5], "expected a score and a label per row"),
    ],
)
def test_what_has_no_r2_is_refused(predicted: list[float], labels: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        r2_with_interval(predicted, labels)
