"""Does it matter which tasks are together, and can the comparison of plans mislead? Random groups against others.

    STG_RAY_DATA=... python -m jobs.bench.grouping_matters [--sets yeast tox21 ...] [--quick] [--keep FOLDER]

Random groups are fed in as ours against other random groups, in 20 comparisons without a draw in common: in one of them
a clear difference should be seen. The same trainings tell whether there is anything to choose on a set: by how much one
grouping differs from another, a training from the next, and how much better than random groups the best ones are in
hindsight. The number of groups and the epochs are fixed beforehand (see SETS).
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import stg_ray as sr
from jobs.bench.hindsight import hindsight
from jobs.bench.measure import show
from stg_ray.artifacts.groups import Groups
from stg_ray.cluster.session import session
from stg_ray.progress import Reporter
from stg_ray.report.comparison import Comparison, Difference, Trainings

SEEDS = 3
N_NULL = 20
MULAN: dict[str, Any] = {"features": ["x_*"], "labels": ["y_*"], "split": "split"}
SETS: dict[str, dict[str, Any]] = {
    "yeast": {
        "data": {"parquet": {"files": "mulan/yeast.parquet", **MULAN}},
        "grouping": {"groups": 4},
        "epochs": 10,
    },
    "tox21": {
        "data": {"parquet": {**MULAN, "files": "molecules/tox21.parquet", "features": [], "bits": "fp_morgan2_2048"}},
        "grouping": {"groups": 4},
        "epochs": 10,
    },
    "bibtex": {
        "data": {"parquet": {"files": "mulan/bibtex.parquet", **MULAN}, "constant_tasks": "drop"},
        "grouping": {"groups": 5},
        "epochs": 10,
    },
    "cifar10-15": {"data": {"preset": "cifar10-15", "limit": 10_000}, "grouping": {"groups": 4}, "epochs": 6},
    "cifar100": {"data": {"preset": "cifar100", "limit": 10_000}, "grouping": {"groups": 5}, "epochs": 6},
}
FOLDERS = {"yeast": "mulan", "tox21": "molecules", "bibtex": "mulan", "cifar10-15": "cifar10", "cifar100": "cifar100"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["yeast"])
    parser.add_argument("--quick", action="store_true", help="few rows, epochs and seeds, to see that it works")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the runs here, and go on with those that are there")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting")
    arguments = parser.parse_args()
    data = Path(os.environ.get("STG_RAY_DATA", "nowhere"))
    missing = [FOLDERS[name] for name in arguments.sets if not (data / FOLDERS[name]).is_dir()]
    if missing:
        raise SystemExit(f"set STG_RAY_DATA to a folder with {', '.join(sorted(set(missing)))}, or choose --sets")
    rows, result = [], {}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, session(None):
        for name in arguments.sets:
            own, result[name] = compare(name, Path(arguments.keep or scratch), arguments.quick, arguments.set)
            rows += own
    about = {"benchmark": "grouping_matters", "quick": arguments.quick, "set": arguments.set}
    show("Does it matter which tasks are together?", rows, {**about, "sets": result})


def config_of(name: str, quick: bool, retrain: dict[str, Any], overrides: list[str]) -> sr.Config:
    about = SETS[name]
    epochs = 2 if quick else about["epochs"]
    values = {
        "data": about["data"] | ({"limit": 1000} if quick else {}),
        "grouping": about["grouping"],
        "profile": {"epochs": epochs},
        "retrain": {"epochs": epochs, "seeds": 2 if quick else SEEDS, **retrain},
    }
    return sr.load_config(values, overrides)


def compare(name: str, folder: Path, quick: bool, overrides: list[str]) -> tuple[list, dict[str, Any]]:
    """Random groups as ours: how often a clear difference is seen where there is none.

    Each comparison has three draws of its own: one is called ours, the other two are the random groups of a run.
    """
    n_null = 3 if quick else N_NULL
    config = config_of(name, quick, {"plans": ["random"], "random_groups": 3 * n_null}, overrides)
    run = sr.run(config, str(folder / f"{name}-null"), until="retrain", reporter=Reporter(Console(quiet=True)))
    values, networks = draws(run)
    false = {}
    for seeds in range(1, config.retrain.seeds + 1):
        threes = [slice(3 * i, 3 * i + 3) for i in range(n_null)]
        false[seeds] = sum(_compared(values[three, :, :seeds], networks[three, :, :seeds]).is_clear for three in threes)
    rows = [
        (f"{name}: random groups as ours, {seeds} trainings: clear differences", f"{n} of {n_null}", "2")
        for seeds, n in false.items()
    ]
    groupings, trainings = spread(values)
    text = f"{groupings:.4f} between groupings, {trainings:.4f} between trainings of one"
    rows.append((f"{name}: standard deviation of the mean over tasks", text, ""))
    labels = [Groups.from_dict(run.run_dir.read_json(f"plans/random_{draw}.json")).labels for draw in range(3 * n_null)]
    gain = hindsight(values.mean(axis=2), np.stack(labels))
    rows.append((f"{name}: best groups in hindsight, above random groups", f"{gain:+.4f}", ""))
    if gain > 0:
        needed = math.ceil((1.96 * trainings / gain) ** 2)
        rows.append((f"{name}: trainings of each network that would tell them apart", f"{needed} or more", ""))
    result = {"clear": false, "comparisons": n_null, "hindsight": gain}
    return rows, result | {"spread": {"groupings": groupings, "trainings": trainings}}


def spread(values: np.ndarray) -> tuple[float, float]:
    """Standard deviations of the mean over tasks from grouping to grouping, and from training to training, by the
    analysis of variance; values: (draws, tasks, seeds)."""
    means = values.mean(axis=1)
    within = means.var(axis=1, ddof=1).mean()
    between = means.mean(axis=1).var(ddof=1) - within / means.shape[1]
    return math.sqrt(max(0.0, between)), math.sqrt(within)


def draws(run: sr.Run) -> tuple[np.ndarray, np.ndarray]:
    """(draws, tasks, seeds) test average precision of the random groups of a run, and the networks that serve them."""
    table = run.results
    table = table[(table["split"] == "test") & (table["metric"] == "average_precision")]
    table["draw"] = table["plan"].str.removeprefix("random_").astype(int)
    cubes = table.pivot(index=["draw", "task"], columns="seed", values=["value", "group"]).sort_index()
    shape = table["draw"].nunique(), -1, table["seed"].nunique()
    return cubes["value"].to_numpy().reshape(shape), cubes["group"].to_numpy(dtype=np.int64).reshape(shape)


def _compared(values: np.ndarray, networks: np.ndarray) -> Difference:
    """The first draw, as ours, against the others, as random groups; values, networks: (draws, T, S)."""
    n_others, _, seeds = values[1:].shape
    ours = Trainings(values[0], networks[0], np.zeros(seeds, dtype=np.int64))
    flat = [np.concatenate(list(each[1:]), axis=1) for each in (values, networks)]
    others = Trainings(flat[0], flat[1], np.repeat(np.arange(n_others), seeds))
    return Comparison({"ours": ours, "random": others}).difference("ours", "random")


if __name__ == "__main__":
    main()
