"""Is structure found where it is, and not where it is not? Planted groups of tasks and tasks without any, by draws.

    python -m jobs.bench.structure [--quick] [--draws 40] [--tasks 10 20 40]

Tasks are columns of 400 samples. Compared are their correlations, what is left of these without a constant, as the
default affinities are, and the distances of columns, each of them scaled at random, as hard tasks are. Printed is the
share of draws in which structure is found, and the mean adjusted Rand index of the groups by default.

    groups       have a factor of their own each, whose loadings are 0.6 (weak) or 1.5 (strong), beside noise of 1
    newsgroups   groups of a quarter, two fifths (two), three tenths (two) and a twentieth of the tasks; loadings 0.41
    continuum    all tasks have loadings, drawn at random, on a few common factors
    one factor   loadings on one factor, from 0 to 1.5
    independent  nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

import stg_ray as sr
from jobs.bench.measure import show
from stg_ray.affinities.adjusted import without_rates

SAMPLES = 400
SHARES = (5, 4, 4, 3, 3, 1)
"""Of the groups of 20 Newsgroups' 20 tasks."""

Tasks = tuple[np.ndarray, np.ndarray]
"""Columns (400, K) of tasks, and their groups (K,), one where there is no structure."""


def groups_of(n_groups: int, loading: float) -> Callable[[np.random.Generator, int], Tasks]:
    return lambda rng, n_tasks: grouped(rng, np.arange(n_tasks) % n_groups, loading)


def newsgroups(rng: np.random.Generator, n_tasks: int) -> Tasks:
    share = (np.arange(n_tasks) + 0.5) * sum(SHARES) / n_tasks
    return grouped(rng, np.searchsorted(np.cumsum(SHARES), share), 0.41)


def grouped(rng: np.random.Generator, group: np.ndarray, loading: float) -> Tasks:
    factors = rng.normal(size=(SAMPLES, group.max() + 1))
    return loading * factors[:, group] + rng.normal(size=(SAMPLES, len(group))), group


def continuum(n_factors: int, noise: float) -> Callable[[np.random.Generator, int], Tasks]:
    def draw(rng: np.random.Generator, n_tasks: int) -> Tasks:
        columns = rng.normal(size=(SAMPLES, n_factors)) @ rng.normal(size=(n_factors, n_tasks))
        return columns + noise * rng.normal(size=columns.shape), np.zeros(n_tasks, int)

    return draw


def one_factor(rng: np.random.Generator, n_tasks: int) -> Tasks:
    columns = rng.normal(size=(SAMPLES, 1)) * rng.uniform(0, 1.5, n_tasks) + rng.normal(size=(SAMPLES, n_tasks))
    return columns, np.zeros(n_tasks, int)


def independent(rng: np.random.Generator, n_tasks: int) -> Tasks:
    return rng.normal(size=(SAMPLES, n_tasks)), np.zeros(n_tasks, int)


PLANTED = {
    "two groups, weak": groups_of(2, 0.6),
    "two groups, strong": groups_of(2, 1.5),
    "three groups, weak": groups_of(3, 0.6),
    "three groups, strong": groups_of(3, 1.5),
    "newsgroups": newsgroups,
}
NONE = {
    "independent": independent,
    "one factor": one_factor,
    "continuum of two": continuum(2, 1.0),
    "continuum of three": continuum(3, 1.0),
    "continuum of six": continuum(6, 0.5),
}


def correlations(columns: np.ndarray, rng: np.random.Generator) -> sr.TaskMatrix:
    del rng
    return matrix(np.corrcoef(columns.T), "affinity")


def adjusted(columns: np.ndarray, rng: np.random.Generator) -> sr.TaskMatrix:
    del rng
    return matrix(without_rates(np.corrcoef(columns.T), np.zeros((columns.shape[1], 1))), "affinity")


def distances(columns: np.ndarray, rng: np.random.Generator) -> sr.TaskMatrix:
    scaled = columns * rng.lognormal(0, 0.3, columns.shape[1])
    squared = np.square(scaled[:, :, None] - scaled[:, None]).sum(axis=0)
    return matrix(np.sqrt(squared), "distance")


def matrix(values: np.ndarray, kind: str) -> sr.TaskMatrix:
    return sr.TaskMatrix(tuple(f"task {t}" for t in range(len(values))), values, kind)


KINDS = {"correlations": correlations, "adjusted": adjusted, "distances": distances}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three draws of ten tasks, to see that it works")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10, 20, 40])
    arguments = parser.parse_args()
    n_draws, numbers = (3, [10]) if arguments.quick else (arguments.draws, arguments.tasks)
    rows, result = [], {}
    with threadpool_limits(1):
        for name, draw in (PLANTED | NONE).items():
            for kind, compare in KINDS.items():
                for n_tasks in numbers:
                    found, agreement = np.mean([measured(draw, compare, n_tasks, r) for r in range(n_draws)], axis=0)
                    result[f"{name}; {kind}; {n_tasks}"] = {"found": float(found), "ari": float(agreement)}
                texts = [result[f"{name}; {kind}; {n}"] for n in numbers]
                text = ", ".join(f"{own['found']:.2f} ({own['ari']:.2f})" for own in texts)
                rows.append((f"{name}: {kind}", text, "at most 0.05" if name in NONE else ""))
    title = f"Structure found (and adjusted Rand index) of {', '.join(map(str, numbers))} tasks"
    show(title, rows, {"benchmark": "structure", "quick": arguments.quick, "draws": n_draws, "sets": result})


def measured(
    draw: Callable[[np.random.Generator, int], Tasks],
    compare: Callable[[np.ndarray, np.random.Generator], sr.TaskMatrix],
    n_tasks: int,
    seed: int,
) -> tuple[float, float]:
    """Return whether structure is found in a draw, and the agreement of the groups by default with the planted ones."""
    rng = np.random.default_rng([11, seed, n_tasks])
    columns, known = draw(rng, n_tasks)
    groups = sr.group(compare(columns, rng), seed=seed)
    return float(len(groups.groups) > 1), float(adjusted_rand_score(known, groups.labels))


if __name__ == "__main__":
    main()
