"""Grouping: planted structure and noise, thousands of tasks, selection under budgets, and the five Taskonomy tasks.

    python -m jobs.bench.grouping [--quick]

Planted are blocks of equal size: distances 1 within a block and 2 between, plus noise of a standard deviation. The
Taskonomy losses are read from $STG_RAY_DATA, and left out where they are not there.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from jobs.bench.measure import run_measured, show
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.grouping import Conditions, group_tasks, select, select_measured
from stg_ray.grouping.clusterers.registry import CLUSTERERS

Rows = list[tuple[str, str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--large", type=int, help=argparse.SUPPRESS)  # what the process that is measured does
    arguments = parser.parse_args()
    if arguments.large:
        n_tasks = arguments.large
        affinities = [planted(n_tasks, n_tasks // 20, 0.2, 0)[0] for _ in range(2)]
        group_tasks(affinities, errors=[np.full((n_tasks, n_tasks), 0.1)] * 2)
        return
    rows: Rows = []
    result: dict[str, Any] = {"quick": arguments.quick}
    recovery(rows, result, quick=arguments.quick)
    without_structure(rows, result, draws=10 if arguments.quick else 100)
    for n_tasks, seconds, mebibytes in [(200, 20, 1024)] if arguments.quick else [(1000, 20, 1024), (3000, 60, 3072)]:
        large(rows, result, n_tasks, f"{seconds} s", f"{mebibytes} MiB")
    budgets(rows, result, (40,) if arguments.quick else (40, 200))
    if (folder := Path(os.environ.get("STG_RAY_DATA", "nowhere")) / "taskonomy_groups").is_dir():
        taskonomy(rows, result, folder)
    show("Grouping", rows, result)


def planted(n_tasks: int, n_blocks: int, noise: float, seed: int) -> tuple[TaskMatrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_tasks) % n_blocks)
    values = np.triu(np.abs(np.where(labels[:, None] == labels, 1.0, 2.0) + noise * rng.normal(size=(n_tasks,) * 2)), 1)
    return TaskMatrix(tuple(f"t{t}" for t in range(n_tasks)), values + values.T, "distance"), labels


def recovery(rows: Rows, result: dict[str, Any], *, quick: bool) -> None:
    """The largest noise up to which every draw is recovered, its number of groups given, and chosen."""
    sizes = [(20, 4), (100, 10)] if quick else [(20, 4), (100, 10), (100, 20), (300, 15), (1000, 20), (1000, 50)]
    levels = (0.1, 0.2, 0.3, 0.4, 0.5)
    result["recovered_up_to"] = {}
    for n_tasks, n_blocks in sizes:
        draws = 3 if quick or n_tasks >= 300 else 10
        for n_groups in (n_blocks, "auto"):
            best = 0.0
            for noise in levels:
                found = [planted(n_tasks, n_blocks, noise, seed) for seed in range(draws)]
                if any(
                    adjusted_rand_score(labels, group_tasks(matrix, n_groups=n_groups).labels) < 1
                    for matrix, labels in found
                ):
                    break
                best = noise
            how = "auto" if n_groups == "auto" else "number given"
            result["recovered_up_to"][f"{n_tasks}/{n_blocks}/{how}"] = best
            rows.append((f"{n_blocks} blocks of {n_tasks} tasks, {how}: ARI 1 up to noise", f"{best}", "0.1 or more"))


def without_structure(rows: Rows, result: dict[str, Any], draws: int) -> None:
    """Frequency with which noise is one group."""

    def pairs(n_tasks: int, rng: np.random.Generator) -> np.ndarray:
        values = np.triu(rng.random((n_tasks, n_tasks)), 1)
        return values + values.T

    def cloud(n_tasks: int, rng: np.random.Generator) -> np.ndarray:
        points = rng.normal(size=(n_tasks, 6)) * [8, 4, 2, 1, 1, 1]
        return np.linalg.norm(points[:, None] - points, axis=2)

    result["noise_is_one_group"] = {}
    for n_tasks in (15, 40, 100):
        for name, noise in (("independent pairs", pairs), ("a stretched cloud", cloud)):
            one = 0
            for seed in range(draws):
                values = noise(n_tasks, np.random.default_rng([n_tasks, seed]))
                one += len(group_tasks(values, kind="distance").groups) == 1
            result["noise_is_one_group"][f"{n_tasks}/{name}"] = one / draws
            rows.append((f"{name} of {n_tasks} tasks: one group", f"{one / draws:.0%} of {draws}", "95 %"))


def large(rows: Rows, result: dict[str, Any], n_tasks: int, in_time: str, in_memory: str) -> None:
    """Graph of two affinities, structure, number of groups, clusterer and certainty, in a process of its own."""
    seconds, mebibytes = run_measured(["-m", "jobs.bench.grouping", "--large", str(n_tasks)])
    result[f"large/{n_tasks}"] = {"seconds": round(seconds, 1), "mebibytes": round(mebibytes)}
    rows.append((f"{n_tasks} tasks, auto, with certainty, the process's start included", f"{seconds:.1f} s", in_time))
    rows.append((f"{n_tasks} tasks, peak memory", f"{mebibytes:.0f} MiB", in_memory))


def budgets(rows: Rows, result: dict[str, Any], sizes: tuple[int, ...]) -> None:
    result["budget"] = {}
    for n_tasks in sizes:
        for overlap in (False, True):
            values = np.random.default_rng(0).normal(size=(n_tasks, n_tasks))
            began = time.monotonic()
            found = select(values, Conditions(networks=n_tasks // 8, overlap=overlap))
            seconds = time.monotonic() - began
            what = f"{n_tasks} tasks{', overlapping' if overlap else ''}"
            result["budget"][what] = {"score": found.score, "bound": found.bound, "seconds": round(seconds, 2)}
            measured = f"{seconds:.1f} s, score {found.score:.3f}, at most {found.bound:.3f}"
            rows.append((f"{n_tasks // 8} networks of {what}", measured, "10 s at 40 tasks"))


def taskonomy(rows: Rows, result: dict[str, Any], folder: Path) -> None:
    """From the losses of pairs alone: the measured loss of the groups that each method chooses, above the optimum.

    The affinity of task a to b is how much a's loss falls in the pair, relative to a alone. Each task is served by the
    best of the chosen groups as it was measured. Mean over budgets of 1 to 5 networks and all settings, on test losses.
    """
    table = pd.read_csv(folder / "group_losses.csv", dtype={"group": str})
    table = table[(table["measure"] == "test") & (table["network"] == "full")]
    excess: dict[str, list[float]] = {}
    for _, rows_of in table.groupby("setting"):
        losses = {
            tuple(int(task) for task in group): row
            for group, row in zip(rows_of["group"], rows_of[[f"loss_t{t}" for t in range(5)]].to_numpy(), strict=True)
        }
        alone = np.array([losses[t,][t] for t in range(5)])
        gain = np.zeros((5, 5))
        for a, b in combinations(range(5), 2):
            gain[a, b], gain[b, a] = 1 - losses[a, b][[a, b]] / alone[[a, b]]
        for n in range(1, 6):
            best = -select_measured(np.stack(list(losses.values())), networks=n).score
            chosen = {
                "budget": select(gain, Conditions(networks=n)).groups,
                "budget, overlapping": select(gain, Conditions(networks=n, overlap=True)).groups,
                "budget, uncentred": select(gain, Conditions(networks=n), centre=False).groups,
                "budget, uncentred, overlapping": select(
                    gain, Conditions(networks=n, overlap=True), centre=False
                ).groups,
            }
            for method in CLUSTERERS:
                groups = group_tasks(gain, kind="affinity", method=method, n_groups=n)
                chosen[method] = [tuple(groups.tasks.index(task) for task in own) for own in groups.groups]
            for method, groups_of in chosen.items():
                found = np.stack([losses[own] for own in groups_of])
                excess.setdefault(method, []).append(np.nanmin(found, axis=0).mean() / best - 1)
            rng = np.random.default_rng(n)
            for _ in range(20):
                labels = rng.permutation(np.arange(5) % n)
                found = np.stack([losses[tuple(np.flatnonzero(labels == g).tolist())] for g in range(n)])
                excess.setdefault("random groups", []).append(np.nanmin(found, axis=0).mean() / best - 1)
    result["taskonomy_excess_loss"] = {method: round(float(np.mean(own)), 4) for method, own in excess.items()}
    for method, own in excess.items():
        rows.append((f"Taskonomy from pairs, {method}: loss above the optimum", f"{np.mean(own):.1%}", "0 %"))


if __name__ == "__main__":
    main()
