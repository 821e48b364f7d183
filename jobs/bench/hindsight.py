"""Gain to be had from a choice of groups: the worth of the best ones, had their test scores been known."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge


def hindsight(values: np.ndarray, labels: np.ndarray, n_splits: int = 10) -> float:
    """Estimate the gain of the best groups over random ones of the same sizes, had we known their test scores.

    Half of the draws tell what each task gains from each other in its group, by a ridge regression, and so the best
    groups; the other half tells what these are worth, so that chance is not counted as gain.

    Args:
        values: (draws, tasks) of random groups.
        labels: (draws, tasks) group of each task.
    """
    together = labels[:, :, None] == labels[:, None, :]
    gains = []
    for split in range(n_splits):
        halves = np.array_split(np.random.default_rng(split).permutation(len(values)), 2)
        found, judge = (_effects(values[half], together[half]) for half in halves)
        for one, other in ((found, judge), (judge, found)):
            best = best_groups(one, labels[0])
            gains.append(worth(other, best) - np.mean([worth(other, draw) for draw in labels]))
    return float(np.mean(gains))


def _effects(values: np.ndarray, together: np.ndarray) -> np.ndarray:
    """(T, T): what task t gains from each other task in its group; together: (draws, T, T)."""
    n_tasks = values.shape[1]
    effects = np.zeros((n_tasks, n_tasks))
    for t in range(n_tasks):
        others = np.arange(n_tasks) != t
        effects[t, others] = Ridge(alpha=1.0).fit(together[:, t, others], values[:, t]).coef_
    return effects


def worth(effects: np.ndarray, labels: np.ndarray) -> float:
    return float((effects * (labels[:, None] == labels)).sum() / len(labels))


def best_groups(effects: np.ndarray, labels: np.ndarray, n_starts: int = 20) -> np.ndarray:
    """Groups of these sizes from which no exchange of two tasks is an improvement, the best from several starts."""
    pairs = effects + effects.T
    found = []
    for start in range(n_starts):
        best = np.random.default_rng(start).permutation(labels)
        while True:
            gain = pairs @ (best[:, None] == np.unique(best))  # (T, G), of a task in each group
            own = gain[np.arange(len(best)), np.searchsorted(np.unique(best), best)]
            moved = gain[:, np.searchsorted(np.unique(best), best)]  # (T, T): t in the place of u
            exchange = moved + moved.T - 2 * pairs - own[:, None] - own
            exchange[best[:, None] == best] = 0
            t, u = np.unravel_index(np.argmax(exchange), exchange.shape)
            if exchange[t, u] <= 1e-12:
                break
            best[[t, u]] = best[[u, t]]
        found.append(best)
    return max(found, key=lambda labels: worth(effects, labels))
