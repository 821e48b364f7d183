"""Do groups help initialisations? Whole runs: ours, one for all, random groups of the same sizes, and known groups.

    python -m jobs.bench.meta_sets DATA_ROOT --keep FOLDER [--sets landmine school omniglot cifar100] [--seeds 3]
                                   [--epochs 20] [--set SECTION.KEY=VALUE]

Omniglot's 50 alphabets and CIFAR-100's 20 super-classes by ANIL, 5-way; landmine's 29 fields and the 139 schools by
MAML. Tasks are compared where training begins (`--set affinity.start=meta`: where all of them have learned one
initialisation). Scores are of episodes whose query rows are test rows; intervals are for other trainings of the same
plans. What is trained is kept in FOLDER, and the same command goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

import stg_ray as sr
from jobs.bench.known_sets import KNOWN_SETS, school, told
from jobs.bench.measure import show

IMAGES = {"steps": 3, "learn_rates": True, "episodes": 16}
OF_IMAGES = {"learner": "anil", "lr": 2e-3, "optimizer": "adam"}
BY_MAML = {"learner": "maml", "lr": 5e-3, "optimizer": "adam"}
CNN = {"trunk": "jobs.bench.meta_omniglot:trunk", "dropout": 0.0}
MLP = {"trunk": "mlp", "width": 64, "dropout": 0.0}
SETS: dict[str, dict[str, Any]] = {
    "landmine": {"model": MLP, "meta": {"shots": 5, "queries": 5, "episodes": 16}, "retrain": BY_MAML},
    "school": {"model": MLP, "meta": {"shots": 6, "queries": 4, "episodes": 16}, "retrain": BY_MAML},
    "omniglot": {"data": {"preset": "omniglot"}, "model": CNN, "meta": IMAGES, "retrain": OF_IMAGES},
    "cifar100": {
        "data": {"preset": "cifar100-coarse", "limit": 10_000},
        "model": CNN,
        "meta": IMAGES,
        "retrain": OF_IMAGES,
    },
}
ARRAYS = {"landmine": KNOWN_SETS["landmine"].build, "school": school}
GROUPS = {"landmine": 2, "school": 4, "omniglot": 5, "cifar100": 5}
"""How many, whatever the structure: as many as there are terrains, and few."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder of the data")
    parser.add_argument("--keep", metavar="FOLDER", required=True, help="folder of the runs")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["landmine", "school"])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of every plan")
    parser.add_argument("--epochs", type=int, default=20, help="of 50 steps each, for every network")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting")
    arguments = parser.parse_args()
    os.environ["STG_RAY_DATA"] = arguments.root
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {"benchmark": "meta_sets", "seeds": arguments.seeds, "sets": {}}
    for name in arguments.sets:
        own = compared(name, arguments)
        rows += [(f"{name}: {what}", text, "") for what, text in own.items()]
        result["sets"][name] = own
    show("Groups of initialisations", rows, result)


def compared(name: str, arguments: argparse.Namespace) -> dict[str, str]:
    """Run a set, or go on with it, and return what is to be shown of it."""
    folder = Path(arguments.keep)
    plans = ["ours", "all_in_one", "all_in_one_equal_cost", "random", *(["known"] if name == "landmine" else [])]
    about = SETS[name]
    settings = about | {
        "data": about.get("data", {}) | (npz_of(name, folder) if name in ARRAYS else {"root": arguments.root}),
        "profile": {"epochs": 1, "workers": 1},
        "affinity": {"methods": ["landscape"], "statistic": "sign", "start": "initial", "layers": "all"},
        "grouping": {"groups": GROUPS[name], "min_groups": 2},
        "retrain": about["retrain"] | {"plans": plans, "seeds": arguments.seeds, "epochs": arguments.epochs},
    }
    run = sr.run(sr.load_config(settings, arguments.set), folder / name)
    found = {"groups": ", ".join(str(len(group)) for group in run.groups.groups)}
    for row in run.summary.plans:
        found[row.plan.name] = f"{row.mean:.3f} {run.summary.metric}"
    for against, gain in run.summary.against.items():
        interval = f"({gain.low:+.3f} to {gain.high:+.3f})" if gain.is_known else "(noise not known)"
        found[f"ours minus {against}, {run.summary.metric}"] = f"{gain.mean:+.3f} {interval}"
    print(run.summary.verdict)
    return found


def npz_of(name: str, folder: Path) -> dict[str, Any]:
    """Write the arrays of a set once, and return the settings that read them."""
    path = folder / f"{name}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **ARRAYS[name](0))
    with np.load(path) as arrays:
        tasks = told(arrays)
    return {"npz": str(path), "constant_tasks": "drop", "tasks": tasks}


if __name__ == "__main__":
    main()
