"""The tasks as a graph: each joined to those that are most alike, in the colours of their groups.

This is a drawing of the affinities, not what groups are made from: of each affinity the pairs are ranked, so that
those of different units can be averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from scipy import stats

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.report.charts.svg import NAME_WIDTH, drawing, short, tag
from stg_ray.shown import shown_name

NEIGHBOURS = 3
"""Tasks that each one is joined to, the most alike."""
MOST_TASKS = 150
"""Number of tasks above which groups are drawn instead."""
MOST_NAMED = 24
"""Number of tasks up to which they are named in the drawing."""
MOST_GROUPS_NAMED = 30
WIDTH, HEIGHT = 480, 470
CHARACTER_WIDTH = 7.0
SIDES = ((13.0, 4.5, "start"), (-13.0, 4.5, "end"), (0.0, -13.0, "middle"), (0.0, 23.0, "middle"))
"""Places of a name beside its point, the preferred one first."""


def mean_ranks(matrices: Sequence[TaskMatrix], weights: Sequence[float] | None = None) -> np.ndarray:
    """Average the ranks of all pairs over several matrices.

    Args:
        matrices: of the same K tasks.
        weights: of each; equal if not given.

    Returns:
        (K, K) symmetric, from 0 (least alike) to 1; NaN on the diagonal, and for pairs without a value.
    """
    k = len(matrices[0].tasks)
    upper = np.triu_indices(k, 1)
    total, weight = np.zeros(len(upper[0])), np.zeros(len(upper[0]))
    for matrix, factor in zip(matrices, weights or [1.0] * len(matrices), strict=True):
        values = (matrix.values + matrix.values.T)[upper] * (-1 if matrix.kind == "distance" else 1)
        known = np.isfinite(values)
        total[known] += factor * stats.rankdata(values[known]) / max(1, known.sum())
        weight[known] += factor
    ranks = np.full((k, k), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        ranks[upper] = np.where(weight > 0, total / weight, np.nan)
    ranks.T[upper] = ranks[upper]
    return ranks


def nearest_pairs(ranks: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of which one is among the `NEIGHBOURS` most alike of the other."""
    known = np.where(np.isfinite(ranks), ranks, -1.0)
    pairs = set()
    for t, row in enumerate(known):
        for other in np.argsort(-row, kind="stable")[:NEIGHBOURS].tolist():
            if row[other] >= 0:
                pairs.add((min(t, other), max(t, other)))
    return sorted(pairs)


def places(ranks: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (K, 2) places in the unit square: forces pull alike tasks together (Fruchterman and Reingold 1991).

    Tasks begin around their group's place on a circle, so no random numbers are drawn.
    """
    import networkx as nx

    k, n = len(labels), int(labels.max()) + 1
    angles = 2 * math.pi * labels / max(1, n)
    number = np.array([int((labels[:t] == labels[t]).sum()) for t in range(k)])
    spread = 0.25 * np.stack([np.cos(2.4 * number), np.sin(2.4 * number)], axis=1) * np.sqrt(number + 0.5)[:, None] / 3
    start = (n > 1) * np.stack([np.cos(angles), np.sin(angles)], axis=1) + spread
    graph = nx.Graph()
    graph.add_nodes_from(range(k))
    for a, b in nearest_pairs(ranks):
        graph.add_edge(a, b, weight=float(ranks[a, b]) * (3 if labels[a] == labels[b] else 0.6))
    found = nx.spring_layout(graph, pos=dict(enumerate(start)), iterations=60, seed=0, k=1.9 / math.sqrt(k))
    points = np.array([found[t] for t in range(k)])
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: np.ndarray = (points - low) / np.maximum(high - low, 1e-9)
    return scaled


def task_graph(groups: Groups, ranks: np.ndarray) -> Markup:
    """Draw the tasks as points in the colours of their groups, joined to the most alike.

    Args:
        groups: of the K tasks.
        ranks: (K, K) as `mean_ranks` returns them.
    """
    labels = groups.labels
    at = places(ranks, labels)
    named = len(labels) <= MOST_NAMED
    x = (52 if named else 20) + at[:, 0] * (WIDTH - (150 if named else 40))
    y = 24 + at[:, 1] * (HEIGHT - 48)
    radius = 8.0 if named else max(4.0, 60 / math.sqrt(len(labels)))
    x, y = _apart(x, y, 2 * radius + 2)
    parts = [
        tag(
            "line",
            class_="edge" if labels[a] != labels[b] else "edge within",
            x1=x[a],
            y1=y[a],
            x2=x[b],
            y2=y[b],
            style=None if labels[a] != labels[b] else f"stroke:var(--g{labels[a]})",
        )
        for a, b in nearest_pairs(ranks)
    ]
    beside = _beside(x, y, [short(name, 18) for name in groups.tasks]) if named else []
    for t, name in enumerate(groups.tasks):
        tip = f"{shown_name(name)}, group {labels[t]}"
        circle = tag(
            "circle", class_="node", cx=x[t], cy=y[t], r=radius, style=f"fill:var(--g{labels[t]})", data_tip=tip
        )
        parts.append(circle)
        if named:
            dx, dy, anchor = beside[t]
            parts.append(tag("text", short(name, 18), class_="name halo", x=x[t] + dx, y=y[t] + dy, text_anchor=anchor))
    return drawing(WIDTH, HEIGHT, f"{len(labels)} tasks, each joined to the {NEIGHBOURS} most alike", *parts)


def _apart(x: np.ndarray, y: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Push points apart, a little at a time, that are closer than this."""
    points = np.stack([x, y], axis=1)
    for _ in range(40):
        offset = points[:, None] - points[None]
        distance = np.hypot(offset[..., 0], offset[..., 1])
        np.fill_diagonal(distance, np.inf)
        push = np.maximum(0, least - distance)[..., None] * offset / np.maximum(distance, 1e-6)[..., None]
        if not push.any():
            break
        points = np.clip(points + 0.4 * push.sum(axis=1), 10, [WIDTH - 10, HEIGHT - 10])
    return points[:, 0], points[:, 1]


def _beside(x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> list[tuple[float, float, str]]:
    """Return where each name stands beside its point, and its anchor: the first side on which it meets no other."""
    taken = [(px - 8, py - 8, px + 8, py + 8) for px, py in zip(x, y, strict=True)]
    chosen = []
    for t, name in enumerate(names):
        wide, best = CHARACTER_WIDTH * len(name), (math.inf, SIDES[0], taken[t])
        for dx, dy, anchor in SIDES:
            left = x[t] + dx - {"start": 0.0, "end": 1.0, "middle": 0.5}[anchor] * wide
            box = (left, y[t] + dy - 11, left + wide, y[t] + dy + 3)
            outside = max(0.0, -box[0]) + max(0.0, box[2] - WIDTH) + max(0.0, -box[1]) + max(0.0, box[3] - HEIGHT)
            meets = 100 * outside + sum(_common(box, other) for o, other in enumerate(taken) if o != t)
            if meets < best[0]:
                best = (meets, (dx, dy, anchor), box)
        chosen.append(best[1])
        taken.append(best[2])
    return chosen


def _common(one: tuple[float, float, float, float], two: tuple[float, float, float, float]) -> float:
    """The area that two boxes share."""
    wide, high = min(one[2], two[2]) - max(one[0], two[0]), min(one[3], two[3]) - max(one[1], two[1])
    return max(0.0, wide) * max(0.0, high)


def group_map(groups: Groups, ranks: np.ndarray, names: Sequence[str]) -> Markup:
    """Draw how alike the tasks of each two groups are: a square for each pair of groups, on the diagonal within one.

    Args:
        names: of the groups.
    """
    labels, n = groups.labels, len(groups.groups)
    member = np.eye(n)[labels]
    known = np.isfinite(ranks)
    pairs = member.T @ known @ member
    with np.errstate(invalid="ignore"):
        means = (member.T @ np.where(known, ranks, 0) @ member) / pairs
    left = 170 if n <= MOST_GROUPS_NAMED else 20
    room = int((left - 18) / NAME_WIDTH)
    side = min((WIDTH - left - 10) / n, (HEIGHT - 20) / n)
    low, high = np.nanmin(means), np.nanmax(means)
    parts = []
    for a in range(n):
        y = 10 + a * side
        if n <= MOST_GROUPS_NAMED:
            parts.append(
                tag("text", short(names[a], room), class_="name", x=left - 18, y=y + side / 2 + 4, text_anchor="end")
            )
        parts.append(tag("rect", x=left - 12, y=y + 1, width=7, height=side - 2, style=f"fill:var(--g{a})"))
        for b in range(n):
            if not np.isfinite(means[a, b]):
                continue
            strength = (means[a, b] - low) / max(high - low, 1e-9)
            tip = f"{shown_name(names[a])} and {shown_name(names[b])}: mean rank {means[a, b]:.2f}"
            if a == b:
                tip = f"within {shown_name(names[a])}: mean rank {means[a, b]:.2f}"
            parts.append(
                tag("rect", class_="cell", x=left + b * side, y=y, width=side - 1, height=side - 1,
                    style=f"fill-opacity:{0.06 + 0.94 * strength:.2f}", data_tip=tip)
            )  # fmt: skip
    return drawing(WIDTH, 20 + n * side, f"How alike the tasks of each two of {n} groups are, by mean ranks", *parts)
