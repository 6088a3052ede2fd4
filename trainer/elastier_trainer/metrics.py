"""How good scores are: the AUC, and how sure one can be of it.

Shapes: R rows, M of them with label 1, N with label 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score

from elastier_trainer.errors import DataError

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A metric and the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    rows: int


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: how often a row of label 1 scores above one of label 0; ties count half.

    Args:
        scores: R finite numbers, such as logits.
        labels: R labels, 0 or 1.

    Raises:
        DataError: Another shape, a score that is not finite, another label, or one class only.
    """
    scores_R, labels_R = _checked(scores, labels)
    return float(roc_auc_score(labels_R, scores_R))


def auc_with_interval(scores: ArrayLike, labels: ArrayLike) -> Interval:
    """The AUC with its 95 % interval by the method of DeLong.

    DeLong, DeLong and Clarke-Pearson (1988), doi:10.2307/2531595, from ranks as in Sun and Xu (2014),
    doi:10.1109/LSP.2014.2337313. The interval is cut at 0 and 1.

    Raises:
        DataError: As `auc`, and for fewer than two rows of a class, which have no variance.
    """
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
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    return Interval(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), rows=m + n)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores_R, labels_R = (np.asarray(values, dtype=np.float64) for values in (scores, labels))
    if scores_R.ndim != 1 or scores_R.shape != labels_R.shape:
        raise DataError(
            f"expected a score and a label per row, got shapes {scores_R.shape}, {labels_R.shape}"
        )
    finite_R = np.isfinite(scores_R)
    if not finite_R.all():
        row = int(np.argmin(finite_R))
        raise DataError(f"expected finite scores, got {scores_R[row]} at row {row}")
    ones, zeros = int((labels_R == 1).sum()), int((labels_R == 0).sum())
    if ones + zeros != len(labels_R):
        raise DataError(f"expected labels 0 and 1, got {np.unique(labels_R)[:6].tolist()}")
    if not ones or not zeros:
        raise DataError(f"an AUC needs both classes, got {zeros} rows of class 0 and {ones} of class 1")
    return scores_R, labels_R
