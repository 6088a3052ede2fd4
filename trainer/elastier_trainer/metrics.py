"""How good outputs are (AUC, accuracy, R²), and how sure one can be of it.

Shapes: R rows, M of them with label 1, N with label 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from elastier_trainer.errors import DataError

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A metric and the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    rows: int


_NORMAL_REACH = float(ndtri((1 + CONFIDENCE) / 2))
"""Standard errors that the interval of a normal estimate reaches to either side."""


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: how often a row of label 1 scores above one of label 0; ties count half.

    Args:
        scores: R finite numbers, such as logits.
        labels: R labels, 0 or 1.

    Raises:
        DataError: Another shape, a score that is not finite, another label, or one class only.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - seconds of imports

    scores_R, labels_R = _checked(scores, labels)
    return float(roc_auc_score(labels_R, scores_R))


def auc_with_interval(scores: ArrayLike, labels: ArrayLike) -> Interval:
    """The AUC with its 95 % interval by the method of DeLong.

    DeLong, DeLong and Clarke-Pearson (1988), doi:10.2307/2531595, from ranks as in Sun and Xu (2014),
    doi:10.1109/LSP.2014.2337313. The interval is cut at 0 and 1.

    Raises:
        DataError: As `auc`, and for fewer than two rows of a class, which have no variance.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - a second of imports

    scores_R, labels_R = _checked(scores, labels)
    ones_M, zeros_N = scores_R[labels_R == 1], scores_R[labels_R == 0]
    m, n = len(ones_M), len(zeros_N)
    if min(m, n) < 2:
        raise DataError(f"an interval needs two rows of each class, got {n} of class 0 and {m} of class 1")
    ranks_MN = rankdata(np.concatenate([ones_M, zeros_N]))
    # Each row's own share: the fraction of the other class that it is on the right side of.
    shares_M = (ranks_MN[:m] - rankdata(ones_M)) / n
    shares_N = 1 - (ranks_MN[m:] - rankdata(zeros_N)) / m
    value = float(shares_M.mean())
    error = float(np.sqrt(shares_M.var(ddof=1) / m + shares_N.var(ddof=1) / n))
    reach = _NORMAL_REACH * error
    return Interval(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), rows=m + n)


def accuracy_with_interval(predicted: ArrayLike, labels: ArrayLike) -> Interval:
    """Share of rows whose predicted class is their label, with Wilson's 95 % interval.

    Wilson (1927), doi:10.1080/01621459.1927.10502953.

    Args:
        predicted: R class indices.
        labels: R class indices.

    Raises:
        DataError: No rows, or another number of predictions than of labels.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - a second of imports

    predicted_R, labels_R = np.asarray(predicted), np.asarray(labels)
    _check_shapes(predicted_R, labels_R)
    if not len(labels_R):
        raise DataError("an accuracy needs at least one row, got none")
    found = binomtest(int((predicted_R == labels_R).sum()), len(labels_R))
    ends = found.proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(
        value=float(found.statistic), low=float(ends.low), high=float(ends.high), rows=len(labels_R)
    )


def r2_with_interval(predicted: ArrayLike, labels: ArrayLike) -> Interval:
    """Explained share of the labels' variance, with its 95 % interval by the delta method.

    R² is 1 minus a ratio of two means, of squared errors and of squared deviations; its variance is that of
    the ratio to first order. The interval is cut at 1; a model worse than the mean has an R² below 0.

    Args:
        predicted: R finite numbers.
        labels: R finite numbers in the same unit.

    Raises:
        DataError: Another shape, a number that is not finite, fewer than two rows, or labels all equal.
    """
    from sklearn.metrics import r2_score  # noqa: PLC0415 - seconds of imports

    predicted_R, labels_R = _finite(predicted, labels)
    rows = len(labels_R)
    if rows < 2 or np.ptp(labels_R) == 0:
        raise DataError(f"an R² needs two rows with different labels, got {rows} rows, none different")
    value = float(r2_score(labels_R, predicted_R))
    deviations_R = (labels_R - labels_R.mean()) ** 2
    influences_R = (predicted_R - labels_R) ** 2 - (1 - value) * deviations_R
    error = float(influences_R.std(ddof=1) / deviations_R.mean() / np.sqrt(rows))
    reach = _NORMAL_REACH * error
    return Interval(value=value, low=value - reach, high=min(1.0, value + reach), rows=rows)


def _check_shapes(scores_R: NDArray[Any], labels_R: NDArray[Any]) -> None:
    if scores_R.ndim != 1 or scores_R.shape != labels_R.shape:
        raise DataError(
            f"expected a score and a label per row, got shapes {scores_R.shape}, {labels_R.shape}"
        )


def _finite(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores_R, labels_R = (np.asarray(values, dtype=np.float64) for values in (scores, labels))
    _check_shapes(scores_R, labels_R)
    for what, numbers_R in (("scores", scores_R), ("labels", labels_R)):
        finite_R = np.isfinite(numbers_R)
        if not finite_R.all():
            row = int(np.argmin(finite_R))
            raise DataError(f"expected finite {what}, got {numbers_R[row]} at row {row}")
    return scores_R, labels_R


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores_R, labels_R = _finite(scores, labels)
    ones, zeros = int((labels_R == 1).sum()), int((labels_R == 0).sum())
    if ones + zeros != len(labels_R):
        raise DataError(f"expected labels 0 and 1, got {np.unique(labels_R)[:6].tolist()}")
    if not ones or not zeros:
        raise DataError(f"an AUC needs both classes, got {zeros} rows of class 0 and {ones} of class 1")
    return scores_R, labels_R
