"""Is a task's certainty right? Against new samples, and beside a bootstrap over parts.

    python -m jobs.bench.certainty [--quick]

40 tasks in 5 groups are planted in samples that lie in 16 parts. The truth is the share of 60 new draws of all samples
in which a task stays in the group that the first draw gave it. It is compared with what the first draw itself says: by
normal noise of its standard errors, and by its parts drawn with replacement, as the affinity stage keeps them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jobs.bench.measure import show
from stg_ray.affinities.base import Partial
from stg_ray.affinities.data_map import DataMapDistance
from stg_ray.affinities.resampling import BlockSums
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.grouping.certainty import certainty
from stg_ray.grouping.clusterers.spectral import Spectral
from stg_ray.grouping.graph import TaskGraph, task_graph
from stg_ray.grouping.resamples import resampled_graphs
from stg_ray.tasks import Task

TASKS, GROUPS, PARTS, DRAWS = 40, 5, 16, 60
NAMED = [Task(f"t{t}") for t in range(TASKS)]
Samples = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def gaussian(strength: float, n_samples: int) -> Samples:
    """Each group has a direction of its own, and each task its own noise."""

    def draw(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        shared = rng.normal(size=(n_samples, GROUPS))[:, labels]
        return strength * shared + rng.normal(size=(n_samples, TASKS))

    return draw


def heavy(strength: float, n_samples: int) -> Samples:
    """Like confidences of tasks against the rest: a few hard samples of the group's own classes decide."""

    def draw(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        of = rng.integers(0, TASKS, n_samples)
        own, near = of[:, None] == np.arange(TASKS), labels[of][:, None] == labels
        hard = rng.exponential(size=(n_samples, 1))
        confusion = near * rng.random((n_samples, 1)) * rng.exponential(size=near.shape)
        noise = 0.15 * rng.exponential(size=near.shape)
        return hard * (0.5 * own * rng.random(near.shape) + strength * confusion + noise)

    return draw


def partials(x: np.ndarray) -> list[Partial]:
    sums = []
    for part in np.array_split(x, PARTS):
        norm = np.square(part).sum(axis=0)
        squared = np.maximum(norm[:, None] + norm - 2 * part.T @ part, 0)
        np.fill_diagonal(squared, 0)
        n = len(part)
        sums.append({"squared": squared, "count": np.full_like(squared, n), "samples": np.array(n)})
    return sums


def graph_of(matrices: Sequence[TaskMatrix]) -> TaskGraph:
    return task_graph(matrices, neighbours=5)


def compare(samples: Samples, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, GROUPS, TASKS)
    blocks, first = BlockSums(), partials(samples(rng, labels))
    for partial in first:
        blocks.add(partial)
    matrix = DataMapDistance.combine(first, NAMED)
    resamples = blocks.resampled(DataMapDistance, NAMED, seed)
    new = [DataMapDistance.combine(partials(samples(rng, labels)), NAMED) for _ in range(DRAWS)]
    order = np.arange(TASKS)
    ways = {
        "truth": [graph_of([one]) for one in new],
        "noise": resampled_graphs([matrix], None, [matrix.errors], graph_of, order=order, seed=seed),
        "parts": resampled_graphs([matrix], [resamples], None, graph_of, order=order, seed=seed),
    }
    found = Spectral(GROUPS).fit(graph_of([matrix])).labels_
    clusterer = Spectral(int(found.max()) + 1)
    return {way: certainty(found, clusterer, graphs) for way, graphs in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one draw each, to see that it works")
    repetitions = 1 if parser.parse_args().quick else 12
    settings = {
        "Gaussian, weak": gaussian(0.35, 400),
        "Gaussian, strong": gaussian(0.7, 400),
        "heavy tails, hardly any structure": heavy(0.1, 1000),
        "heavy tails, weak": heavy(0.2, 1000),
        "heavy tails, strong": heavy(0.3, 1000),
    }
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {}
    for name, samples in settings.items():
        runs = [compare(samples, seed) for seed in range(repetitions)]
        found = {way: np.concatenate([run[way] for run in runs]) for way in runs[0]}
        truth = round(float(found["truth"].mean()), 3)
        result[name] = {"truth": truth}
        for way in ("noise", "parts"):
            error = round(float(np.sqrt(np.square(found[way] - found["truth"]).mean())), 3)
            mean = round(float(found[way].mean()), 3)
            result[name][way] = {"mean": mean, "error": error}
            rows.append((f"{name}, {way}", f"mean {mean:.2f}, error {error:.2f}", f"{truth:.2f}"))
    show("Certainty", rows, result)


if __name__ == "__main__":
    main()
