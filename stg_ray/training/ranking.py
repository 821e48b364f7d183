"""Metrics of rankings and of decisions, computed often: after every epoch of every network, for every task.

They are scikit-learn's, which the tests compare them with. What that library does to find out what its arguments are
takes ten to fifty times as long as these for the few hundred rows that small sets are validated on.
"""

from __future__ import annotations

import numpy as np


class Ranking:
    """Rows from the highest score to the lowest; equal scores are one place.

    Args:
        labels: (n,) whether each row is positive; at least one is, and one is not.
        scores: (n,) larger where more likely; NaN, as of a network that diverged, has no ranking.

    Example:
        >>> ranking = Ranking(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.4]))
        >>> ranking.average_precision, ranking.roc_auc
        (0.8333333333333333, 0.875)
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        order = np.argsort(scores, kind="stable")[::-1]
        ranked = scores[order]
        self.is_defined = not np.isnan(ranked[0])  # NaN are sorted last, and so come first
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of equal scores
        self.positives = np.cumsum(labels[order], dtype=np.float64)[ends]
        self.rows = ends + 1.0

    @property
    def average_precision(self) -> float:
        """The sum over the places, from the first, of the precision there times the recall that it adds."""
        if not self.is_defined:
            return float("nan")
        recall = self.positives / self.positives[-1]
        return float(np.sum(np.diff(recall, prepend=0.0) * (self.positives / self.rows)))

    @property
    def roc_auc(self) -> float:
        """The area under the curve of recall over false positive rate, by trapezoids."""
        if not self.is_defined:
            return float("nan")
        negatives = self.rows - self.positives
        heights = np.append(0.0, self.positives)
        area = np.sum(np.diff(negatives, prepend=0.0) * (heights[1:] + heights[:-1])) / 2
        return float(area / (self.positives[-1] * negatives[-1]))


def decision_scores(labels: np.ndarray, predicted: np.ndarray, n_classes: int, *, binary: bool) -> dict[str, float]:
    """Return accuracy, balanced accuracy (mean recall of the classes that occur) and F1.

    Args:
        labels: (n,) integer classes.
        predicted: (n,) integer classes.
        n_classes: their number.
        binary: whether F1 is that of class 1, instead of the mean over the classes that occur or are predicted.
    """
    pairs = np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    right, true, said = np.diag(pairs), pairs.sum(axis=1), pairs.sum(axis=0)
    occur = true > 0
    f1 = 2 * right / np.maximum(true + said, 1)
    return {
        "accuracy": float(right.sum() / len(labels)),
        "balanced_accuracy": float((right[occur] / true[occur]).mean()),
        "f1": float(f1[1] if binary else f1[(true + said) > 0].mean()),
    }


def r2(labels: np.ndarray, values: np.ndarray) -> float:
    """Return the coefficient of determination of values (n,); 1 or 0 where the labels are all equal."""
    labels, values = labels.astype(np.float64), values.astype(np.float64)
    residual, total = np.square(labels - values).sum(), np.square(labels - labels.mean()).sum()
    if total == 0:
        return float(residual == 0)
    return float(1 - residual / total)
