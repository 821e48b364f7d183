"""Search by measuring, on published tables of trained groups: what is kept of what all measurements would give.

    STG_RAY_DATA=... python -m jobs.bench.measured_groups [--draws 20]

ETTm1 (7 tasks, all 127 groups) and Taskonomy (5 tasks, all 31 groups, 4 settings): partitions into 2, 3 and 4 groups
are chosen on validation scores and scored on test, as mean gains over single tasks. Kept is the gain over random
partitions, as a share of that of the partition that all groups' validation scores would choose; means over the three
numbers of groups, with a standard error of 0.02 to 0.04 by 20 searches of each. MIMIC (27 tasks, 3,185 groups): rank
correlation of predicted and measured gains of groups left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import stg_ray as sr
from jobs.bench.measure import show
from stg_ray.retraining.search.partitions import members_of
from stg_ray.retraining.search.surrogate import GroupSurrogate

BUDGETS = {"ETTm1": (10, 20, 30, 40), "Taskonomy": (8, 12, 15)}
N_GROUPS = (2, 3, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="number of searches, each with another seed")
    arguments = parser.parse_args()
    data = Path(os.environ.get("STG_RAY_DATA", "nowhere"))
    if not (data / "measured_groups").is_dir():
        raise SystemExit("set STG_RAY_DATA to a folder with measured_groups and taskonomy_groups")
    rows: list = []
    result: dict[str, Any] = {"benchmark": "measured_groups", "draws": arguments.draws, "kept": {}}
    for name, tables in {"ETTm1": [ettm1(data)], "Taskonomy": [taskonomy(data, n) for n in range(1, 5)]}.items():
        for budget in BUDGETS[name]:
            began = time.monotonic()
            kept = float(np.mean([kept_by_search(table, budget, arguments.draws) for table in tables]))
            n_searches = len(tables) * len(N_GROUPS) * arguments.draws
            seconds = (time.monotonic() - began) / n_searches
            n_all = len(tables[0][0])
            expected = "75 %" if budget in (30, 15) else ""
            text = f"{kept:.0%} ({seconds:.1f} s a search)"
            rows.append((f"{name}: kept with {budget} of {n_all} groups", text, expected))
            result["kept"][f"{name}, {budget}"] = round(kept, 3)
    result["rank_correlation"] = {}
    for n, (of_groups, of_tasks) in mimic(data):
        text = f"{of_groups:.2f} ({of_tasks:.2f} of each task's)"
        rows.append((f"MIMIC: rank correlation of left-out gains, {n} measured", text, "0.5" if n == 300 else ""))
        result["rank_correlation"][n] = [round(of_groups, 3), round(of_tasks, 3)]
    show("Groups that were measured", rows, result)


Table = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(M, K) members of every group, boolean, and the gains of its tasks on validation and on test rows."""


def ettm1(data: Path, file: str = "ettm1.csv") -> Table:
    table = pd.read_csv(data / "measured_groups" / file)
    names = [column.removeprefix("val_") for column in table.columns.astype(str) if column.startswith("val_")]
    groups = np.array([np.isin(names, group.split()) for group in table["group"]])
    val, test = (table[[f"{split}_{name}" for name in names]].to_numpy() for split in ("val", "test"))
    return groups, val, test


def taskonomy(data: Path, setting: int) -> Table:
    """Gains are falls of the loss, relative to the task alone."""
    table = pd.read_csv(data / "taskonomy_groups" / "group_losses.csv", dtype={"group": str})
    table = table[(table["setting"] == setting) & (table["network"] == "full")]
    losses = [f"loss_t{t}" for t in range(5)]
    splits = [table[table["measure"] == m].set_index("group")[losses] for m in ("validation", "test")]
    names = splits[0].index
    groups = np.array([[str(t) in name for t in range(5)] for name in names])
    gains = []
    for split in splits:
        alone = np.array([split.loc[str(t), f"loss_t{t}"] for t in range(5)])
        gains.append(1 - split.loc[names].to_numpy() / alone)
    return groups, gains[0], gains[1]


def kept_by_search(table: Table, budget: int, draws: int) -> float:
    """The share that is kept, mean over the numbers of groups and over searches."""
    groups, val, test = table
    number = {group.tobytes(): m for m, group in enumerate(groups)}
    gained, possible = [], []
    for n_groups in N_GROUPS:
        partitions = np.array(
            [[number[g.tobytes()] for g in part] for part in all_partitions(groups.shape[1], n_groups)]
        )
        by_val, by_test = (np.nansum(split, axis=1)[partitions].sum(axis=1) for split in (val, test))
        chosen = [searched(groups, val, number, n_groups=n_groups, budget=budget, seed=seed) for seed in range(draws)]
        gained.append(np.mean([np.nansum(test[part]) for part in chosen]) - by_test.mean())
        possible.append(by_test[by_val.argmax()] - by_test.mean())
    return float(np.mean(gained) / np.mean(possible))


def searched(
    groups: np.ndarray, val: np.ndarray, number: dict[bytes, int], *, n_groups: int, budget: int, seed: int
) -> list[int]:
    """Numbers of the groups that a search chooses."""
    search = sr.GroupSearch(groups.shape[1], n_groups, budget, seed=seed)
    while wanted := search.ask():
        for group in wanted:
            search.tell(group, val[number[group.tobytes()]])
    return [number[group.tobytes()] for group in members_of(search.best())]


def all_partitions(n_tasks: int, n_groups: int) -> Iterator[np.ndarray]:
    """All partitions into that many groups, as (G, K) boolean members."""

    def extended(labels: list[int]) -> Iterator[list[int]]:
        if len(labels) == n_tasks:
            if max(labels) == n_groups - 1:
                yield labels
            return
        for label in range(min(max(labels, default=-1) + 2, n_groups)):
            yield from extended([*labels, label])

    return (members_of(np.array(labels)) for labels in extended([]))


def mimic(data: Path) -> Iterator[tuple[int, tuple[float, float]]]:
    """Rank correlations of the gains of 1,000 left-out groups, and of each task's, by the number of measured groups."""
    groups, val, test = ettm1(data, "mimic27.csv")
    for n in (100, 300, 1000):
        of_groups, of_tasks = [], []
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(len(groups))
            measured, left = order[:n], order[n : n + 1000]
            mean, _ = GroupSurrogate(groups[measured], val[measured]).predict(groups[left])
            predicted, gains = np.where(groups[left], mean, np.nan), test[left]
            of_groups.append(spearmanr(np.nanmean(predicted, axis=1), np.nanmean(gains, axis=1))[0])
            of_tasks.append(
                np.mean(
                    [
                        spearmanr(p[known], g[known])[0]
                        for p, g, known in zip(predicted.T, gains.T, groups[left].T, strict=True)
                    ]
                )
            )
        yield n, (float(np.mean(of_groups)), float(np.mean(of_tasks)))


if __name__ == "__main__":
    main()
