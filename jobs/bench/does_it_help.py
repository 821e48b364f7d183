"""Does grouping help, and is what a run says to deploy worth it? Every plan on many task sets, by one recipe.

    STG_RAY_DATA=... python -m jobs.bench.does_it_help [--sets yeast conflict ...] [--quick] [--keep FOLDER]
    python -m jobs.bench.does_it_help --table

Every set has the defaults, with `epochs: auto`; groups are at least two, so that there is something to compare. On test
rows, in trainings of all plans: what was chosen on validation rows against one network of all tasks, and against the
best of the plans of as many networks or as long a training that do not look at the tasks; ours and the groups of the
search against random ones; and what the search expected of its groups, over one network trained as long.

A set is trained once for its settings: what came out is kept in does_it_help.jsonl, beside this file, and all of it is
shown by --table, for the guide. --keep keeps the runs as well, and goes on with one that was interrupted.

--draw makes planted sets anew: defaults are chosen on others than they are judged by.

--null asks instead whether choosing misleads: in each of 20 draws the labels of every row of digits are shuffled
between the tasks, so that no groups are better than others. In one of them a clear gain over one network may be seen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import stg_ray as sr
from jobs.bench.compared_sets import SETS, config_of, deployed
from jobs.bench.measure import show
from jobs.bench.planted_sets import digits
from stg_ray.cluster.session import LazySession, session
from stg_ray.config.plans import trained_plans
from stg_ray.progress import Reporter
from stg_ray.report.comparison import Comparison, Difference
from stg_ray.report.summary import PlanRow

N_NULL = 20
BLIND = ("all_in_one", "all_in_one_equal_cost", "all_in_one_ensemble")
"""Plans that do not look at the tasks."""
WITHIN = -0.005
"""A difference above this is none."""
DECISIVE = ("seed", "model", "profile", "affinity", "grouping", "search", "retrain")
"""Sections of the configuration that decide what comes out for a set."""
KEPT = Path(__file__).with_suffix(".jsonl")
"""What was found of each set, by its settings."""
COUNTED = {
    "against_blind": "chosen no worse than the best plan that does not look at the tasks",
    "against_one": "chosen clearly better than one network of all tasks",
    "ours_against_random": "our groups clearly better than random ones",
    "search_against_random": "groups of the search clearly better than random ones",
}
DIFFERENCES = {
    "against_one": "chosen, over one network",
    "against_blind": "chosen, over the best blind plan",
    "ours_against_random": "ours, over random groups",
    "search_against_random": "searched, over random groups",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--quick", action="store_true", help="few epochs and trainings, to see that it works")
    parser.add_argument("--null", action="store_true", help="is the choice honest where there is nothing to choose?")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the runs here, and go on with those that are there")
    parser.add_argument("--again", action="store_true", help="do not take what was kept of the sets")
    parser.add_argument("--table", action="store_true", help="show what was kept, as a table of Markdown, and no more")
    parser.add_argument("--draw", type=int, default=0, help="of planted sets: others than 0 are for choosing defaults")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(kept()))
        return
    about = {"benchmark": "does_it_help", "quick": arguments.quick, "null": arguments.null, "set": arguments.set}
    if arguments.null:
        rows, result = null(arguments.keep, arguments.quick, arguments.set)
        show("What to deploy, where nothing can be gained", rows, {**about, **result})
        return
    rows, result = [], {}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, LazySession(None) as ray:
        for name in arguments.sets:
            if not SETS[name].is_there:
                rows.append((f"{name}: {SETS[name].folder} is not in STG_RAY_DATA", "", ""))
                continue
            config = config_of(name, Path(arguments.keep or scratch), arguments.quick, arguments.set, arguments.draw)
            key = config.fingerprint(DECISIVE)
            own = {} if arguments.again or arguments.draw else kept().get(name, {})
            if own.get("key") != key:
                ray.start()
                run, seconds = deployed(config)
                own = {"set": name, "key": key, "date": f"{datetime.now():%Y-%m-%d}", "seconds": round(seconds, 1)}
                own |= {"seeds": config.retrain.seeds, **figures(run)}
                if not arguments.quick and not arguments.draw:
                    keep(own)
            result[name] = own
            rows += lines(name, own)
    for key, text in COUNTED.items():
        found = [own[key] for own in result.values()]
        n = sum(d["low"] > 0 if "clearly" in text else d["mean"] > WITHIN or d["high"] > 0 for d in found)
        rows.append((text, f"{n} of {len(found)} sets", ""))
    show("Does grouping help, and what to deploy", rows, {**about, "sets": result})


def kept() -> dict[str, dict[str, Any]]:
    """Return what was found of sets before, on this machine or another."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    return {own["set"]: own for own in map(json.loads, lines)}


def keep(own: dict[str, Any]) -> None:
    """Keep what was found of a set, in the place of what was there; sets are in their order."""
    found = kept() | {own["set"]: own}
    KEPT.write_text("".join(f"{json.dumps(found[name])}\n" for name in SETS if name in found))


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the table of the guide, a set a row: means of plans, and differences with their intervals, bold where
    these are without zero."""

    def text(d: dict[str, float]) -> str:
        bold = "**" if d["low"] > 0 or d["high"] < 0 else ""
        return f"{bold}{d['mean']:+.3f}{bold} ({d['low']:+.3f} {d['high']:+.3f})"

    titles = list(dict.fromkeys(title for own in found.values() for title in own["means"]))
    rows = [("set (tasks)", *titles, "chosen", *DIFFERENCES.values())]
    rows.append(("---",) * len(rows[0]))
    for name, own in found.items():
        means = [f"{own['means'][title]:.3f}" if title in own["means"] else "" for title in titles]
        rows.append((f"{name} ({own['tasks']})", *means, own["chosen"], *(text(own[key]) for key in DIFFERENCES)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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
        "means": {row.title: row.mean for row in summary.plans if row.plan.copies is None},
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
