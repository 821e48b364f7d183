"""Groups as the page shows them: cards with what is certain, and beside the known groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from stg_ray.report.evidence import Evidence

MOST_TASKS, SHOWN_TASKS = 12, 8
"""A card with more tasks than the first shows as many as the second."""
MOST_CARDS = 9
"""Of the first screen."""
SHOWN_IN_MANY = {4: 8, 6: 6, 9: 3}
"""Tasks of a card of the first screen, by the number of cards up to which they have room."""


@dataclass(frozen=True)
class Card:
    """A group.

    Attributes:
        number: of the group.
        name: its task with the largest membership.
        tasks: names and certainties (None where unknown) of its tasks, those that belong to it most first.
        certainty: mean of the tasks that it serves; None where unknown.
        gain: mean of its tasks over all in one, on test rows; None where unknown.
    """

    number: int
    name: str
    tasks: list[tuple[str, float | None]]
    certainty: float | None
    gain: float | None

    def shown(self, most: int = MOST_TASKS, n: int = SHOWN_TASKS) -> list[tuple[str, float | None]]:
        """Return the tasks that the card names: all, if they are not many."""
        return self.tasks if len(self.tasks) <= most else self.tasks[:n]


@dataclass(frozen=True)
class Known:
    """Agreement of the groups with those that the task set knows.

    Attributes:
        ari: adjusted Rand index (Hubert and Arabie 1985): 1 for the same groups, 0 on average by chance.
        nmi: normalised mutual information, from 0 to 1.
        rows: each known group, with its tasks by the group that was found for them.
    """

    ari: float
    nmi: float
    rows: list[tuple[str, list[tuple[int, list[str]]]]]


def cards_of(evidence: Evidence, gains: np.ndarray | None) -> list[Card]:
    """Return a card for each group.

    Args:
        gains: (K,) of the tasks over all in one, if known.
    """
    groups = evidence.groups
    certainty, position = groups.certainty or {}, {name: t for t, name in enumerate(groups.tasks)}
    membership = np.array(groups.membership)
    cards = []
    for g, members in enumerate(groups.groups):
        tasks = sorted(members, key=lambda name, g=g: -membership[position[name], g])  # type: ignore[misc]
        served = [position[name] for name in members if groups.serving[name] == g]
        gain = float(np.nanmean(gains[served])) if gains is not None and np.isfinite(gains[served]).any() else None
        cards.append(
            Card(g, evidence.centres[g], [(t, certainty.get(t)) for t in tasks], groups.mean_certainty(g), gain)
        )
    return cards


def known_of(evidence: Evidence) -> Known | None:
    """Compare the groups with the known ones; None where a task has none, or all have the same."""
    tasks = evidence.summary.index.tasks
    known = [task.group for task in tasks]
    if None in known or len(set(known)) < 2:
        return None
    labels = evidence.groups.labels
    rows: dict[str, dict[int, list[str]]] = {}
    for task, g in zip(tasks, labels.tolist(), strict=True):
        rows.setdefault(str(task.group), {}).setdefault(g, []).append(task.name)
    by_size = [(name, sorted(found.items(), key=lambda pair: -len(pair[1]))) for name, found in rows.items()]
    return Known(float(adjusted_rand_score(known, labels)), float(normalized_mutual_info_score(known, labels)), by_size)
