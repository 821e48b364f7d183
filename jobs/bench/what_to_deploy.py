"""Is what a run says to deploy worth it? Every plan on many task sets, by one recipe; what is chosen against the rest.

    STG_RAY_DATA=... python -m jobs.bench.what_to_deploy [--sets yeast conflict ...] [--quick] [--keep FOLDER]

Every set has the defaults, with `epochs: auto`; groups are at least two, so that there is something to compare. On test
rows, in trainings of all plans: what was chosen on validation rows against one network of all tasks, and against the
best of the plans of as many networks or as long a training that do not look at the tasks; the groups of the search
against random ones; and what the search expected of its groups, over one network trained as long.

--null asks instead whether choosing misleads: in each of 20 draws the labels of every row of digits are shuffled
between the tasks, so that no groups are better than others. In one of them a clear gain over one network may be seen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import stg_ray as sr
from jobs.bench.known_sets import KNOWN_SETS, read_table, told
from jobs.bench.measure import show
from jobs.bench.planted_sets import Arrays, digits
from stg_ray.cluster.session import session
from stg_ray.config.plans import trained_plans
from stg_ray.progress import Reporter
from stg_ray.report.comparison import Comparison, Difference
from stg_ray.report.summary import PlanRow

SEEDS = 3
N_NULL = 20
PLANS = [
    "ours",
    "searched",
    "ours_and_all",
    "branches",
    "all_in_one",
    "all_in_one_equal_cost",
    "all_in_one_ensemble",
    "random",
]
BLIND = ("all_in_one", "all_in_one_equal_cost", "all_in_one_ensemble")
"""Plans that do not look at the tasks."""
WITHIN = -0.005
"""A difference above this is none."""


def of_table(file: str) -> Callable[[int], Arrays]:
    """Return a builder of a table with features x_*, or fingerprints, labels y_* and a column of the split."""

    def build(seed: int) -> Arrays:
        del seed
        frame, inputs, columns = read_table(file)
        labels = frame[columns].to_numpy(np.float32)
        arrays = {"inputs": inputs, "labels": labels, "names": np.array(columns)}
        return arrays | ({"split": frame["split"].to_numpy(str)} if "split" in frame else {})

    return build


REAL: dict[str, Callable[[int], Arrays]] = {
    "yeast": of_table("mulan/yeast.parquet"),
    "scene": of_table("mulan/scene.parquet"),
    "emotions": of_table("mulan/emotions.parquet"),
    "sider": of_table("molecules/sider.parquet"),
    "tox21": of_table("molecules/tox21.parquet"),
    "bibtex": of_table("mulan/bibtex.parquet"),
    "landmine": of_table("own_rows/landmine.parquet"),
    "school": of_table("own_rows/school.parquet"),
}
PLANTED = ("conflict", "permuted", "gaussian", "digits, turned", "digits and random")
SETS = {**REAL, **{name: KNOWN_SETS[name].build for name in PLANTED}}
OWN_ROWS = {"landmine", "school", "permuted"}
SETTINGS: dict[str, dict[str, Any]] = {
    "conflict": {"model": {"trunk": "mlp", "width": 4, "depth": 1}},
    "permuted": {"model": {"trunk": "mlp", "width": 8, "depth": 1}},
}
"""Narrow trunks, in which tasks that want different features are in each other's way."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--quick", action="store_true", help="few epochs and trainings, to see that it works")
    parser.add_argument("--null", action="store_true", help="is the choice honest where there is nothing to choose?")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the runs here, and go on with those that are there")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting")
    arguments = parser.parse_args()
    about = {"benchmark": "what_to_deploy", "quick": arguments.quick, "null": arguments.null, "set": arguments.set}
    if arguments.null:
        rows, result = null(arguments.keep, arguments.quick, arguments.set)
        show("What to deploy, where nothing can be gained", rows, {**about, **result})
        return
    rows, result = [], {}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, session(None):
        for name in arguments.sets:
            try:
                run, seconds = deployed(name, Path(arguments.keep or scratch), arguments.quick, arguments.set)
            except FileNotFoundError:
                rows.append((f"{name}: its file is not in STG_RAY_DATA", "", ""))
                continue
            result[name] = figures(run) | {"seconds": round(seconds, 1)}
            rows += lines(name, result[name])
    for key, text in {
        "against_blind": "chosen no worse than the best plan that does not look at the tasks",
        "against_one": "chosen clearly better than one network of all tasks",
        "search_against_random": "groups of the search clearly better than random ones",
    }.items():
        found = [own[key] for own in result.values() if key in own]
        n = sum(d["low"] > 0 if "clearly" in text else d["mean"] > WITHIN or d["high"] > 0 for d in found)
        rows.append((text, f"{n} of {len(found)} sets", ""))
    show("What to deploy", rows, {**about, "sets": result})


def null(keep: str | None, quick: bool, overrides: list[str]) -> tuple[list, dict[str, Any]]:
    """Count the draws in which what was chosen, or the groups of the search, seem better than one network."""
    n_draws = 3 if quick else N_NULL
    clear = {"chosen": 0, "searched": 0}
    chosen: list[str] = []
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, session(None):
        folder = Path(keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for draw in range(n_draws):
            arrays, rng = digits(), np.random.default_rng([11, draw])
            arrays["labels"] = rng.permuted(arrays["labels"], axis=1)
            np.savez(path := folder / f"null-{draw}.npz", **arrays)
            training = {"epochs": 3 if quick else 10, "batch_size": 32}
            config = sr.load_config(
                {
                    "data": {"npz": str(path)},
                    "model": {"trunk": "mlp", "width": 16, "depth": 1},
                    "profile": {"workers": 1, **training},
                    "grouping": {"groups": 3},
                    "search": {"length": 0.3},
                    "retrain": {"plans": ["ours", "searched", "all_in_one"], "seeds": 3, **training},
                },
                overrides,
            )
            run = sr.run(config, str(folder / f"null-{draw}"), reporter=Reporter(Console(quiet=True)))
            by_plan = {row.plan.name: row for row in run.summary.plans}
            chosen.append(run.run_dir.read_json("chosen.json")["plan"])
            for what, plan in (("chosen", chosen[-1]), ("searched", "searched")):
                clear[what] += _difference(by_plan[plan], by_plan["all_in_one"])["low"] > 0
    rows = [
        (f"{what}: clearly better than one network", f"{n} of {n_draws}", f"{max(1, n_draws // 20)}")
        for what, n in clear.items()
    ]
    return rows, {"clear": clear, "draws": n_draws, "chosen": chosen}


def deployed(name: str, folder: Path, quick: bool, overrides: list[str]) -> tuple[sr.Run, float]:
    """Run a set, or go on with its run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    if not path.exists():
        arrays = dict(SETS[name](0))
        arrays.pop("groups", None)
        if "split" not in arrays:
            arrays["split"] = np.where(np.arange(len(arrays["inputs"])) % 4 == 3, "test", "train")
        np.savez(path, **arrays)
    with np.load(path) as arrays:
        tasks = told(arrays["labels"])
    method = {"affinity": {"methods": ["landscape"]}} if name in OWN_ROWS else {}
    fast = {"epochs": 2, "seeds": 2} if quick else {"seeds": SEEDS}
    plans = [plan for plan in PLANS if plan != "branches" or name not in SETTINGS]  # a trunk of one layer has none
    config = sr.load_config(
        {
            "data": {"npz": str(path), "constant_tasks": "drop", "tasks": tasks},
            "profile": {"workers": 1, **({"epochs": 2} if quick else {})},
            "grouping": {"min_groups": 2},
            "retrain": {"plans": plans, **fast},
            **method,
            **SETTINGS.get(name, {}),
        },
        overrides,
    )
    began = time.monotonic()
    return sr.run(config, str(folder / name), reporter=Reporter(Console(quiet=True))), time.monotonic() - began


def figures(run: sr.Run) -> dict[str, Any]:
    """Compare what was chosen, and the groups of the search, by the trainings of all plans on test rows."""
    summary, chosen, search = run.summary, run.run_dir.read_json("chosen.json"), run.run_dir.read_json("search.json")
    by_plan = {(row.plan.name, row.serving): row for row in summary.plans}
    plan = trained_plans(run.config.retrain)[chosen["plan"]].of_all_draws.name
    key = plan, chosen["serving"]
    blind = {key: row for key, row in by_plan.items() if row.plan.base in BLIND}
    best = max(blind, key=lambda each: blind[each].mean)
    one, searched, random = (by_plan[name, "argmax"] for name in ("all_in_one", "searched", "random"))
    return {
        "tasks": len(summary.index.tasks),
        "groups": len(summary.groups.groups),
        "chosen": by_plan[key].title,
        "mean": by_plan[key].mean,
        "best_blind": blind[best].title,
        "against_blind": _difference(by_plan[key], blind[best]),
        "against_one": _difference(by_plan[key], one),
        "ours_against_random": _difference(by_plan["ours", "argmax"], random),
        "search_against_random": _difference(searched, random),
        "search_against_one": _difference(searched, one),
        "expected": search["expected"],
        "expected_over_random": search["over_random"],
        "search_cost": search["cost"],
        "means": {row.title: row.mean for row in summary.plans},
    }


def _difference(row: PlanRow, other: PlanRow) -> dict[str, float]:
    if row.plan.name == other.plan.name and row.serving == other.serving:
        return {"mean": 0.0, "low": 0.0, "high": 0.0}
    d: Difference = Comparison({"a": row.trainings, "b": other.trainings}).difference("a", "b")
    return {"mean": d.mean, "low": d.low, "high": d.high}


def lines(name: str, own: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The table's lines of a set."""

    def text(key: str) -> str:
        d = own[key]
        return f"{d['mean']:+.4f} ({d['low']:+.4f} {d['high']:+.4f})"

    return [
        (f"{name}: {own['tasks']} tasks, {own['groups']} groups; chosen", f"{own['chosen']}, {own['mean']:.4f}", ""),
        (f"{name}: chosen against one network", text("against_one"), ""),
        (f"{name}: chosen against {own['best_blind']}", text("against_blind"), f"above {WITHIN}, or 0 within"),
        (f"{name}: ours against random groups", text("ours_against_random"), ""),
        (
            f"{name}: searched against random groups, expected {own['expected_over_random']:+.4f} of short trainings",
            text("search_against_random"),
            "",
        ),
        (
            f"{name}: searched against one network, expected {own['expected']:+.4f} of short trainings",
            text("search_against_one"),
            "",
        ),
        (f"{name}: cost of the search, in trainings of its plan", f"{own['search_cost']:.1f}", "3"),
    ]


if __name__ == "__main__":
    main()
