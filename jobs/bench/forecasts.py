"""How often is a run's forecast of what grouping brings right? Forecasts by half a training, and whole trainings.

    STG_RAY_DATA=... python -m jobs.bench.forecasts [--sets yeast conflict ...] [--quick] [--keep FOLDER]

For every set of compared_sets a run with all plans is made, or read back; a copy of it without networks makes the
forecast, from half of the first training. It is compared with the other trainings, on test rows: what our groups bring
over one network of all tasks, over as many averaged as there are groups, and over random groups of the same sizes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

import stg_ray as sr
from jobs.bench.compared_sets import SETS, config_of, deployed
from jobs.bench.measure import show
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.outlook import ENSEMBLE, ONE, RANDOM
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.session import session
from stg_ray.config.loading import set_values
from stg_ray.data.parts import read_index
from stg_ray.progress import Reporter
from stg_ray.retraining.forecast import OURS, forecast
from stg_ray.retraining.plans import make_plans, network_specs
from stg_ray.training.metrics import LEAST_R2, primary_metric

KEPT = ("parts", "profile", "affinity", ".stages", "groups.json", "config.yaml")
"""What a forecast needs of a run."""

OVER = {ONE: "one network", ENSEMBLE: "the ensemble", RANDOM: "random groups"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--quick", action="store_true", help="few epochs and trainings, to see that it works")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the runs here, and go on with those that are there")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting")
    arguments = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    sets: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, session(None):
        folder = Path(arguments.keep or scratch)
        for name in arguments.sets:
            try:
                run, _ = deployed(config_of(name, folder, arguments.quick, arguments.set))
            except FileNotFoundError:
                rows.append((f"{name}: its file is not in STG_RAY_DATA", "", ""))
                continue
            told = told_by(run, folder / "forecasts" / name)
            if told is None:
                rows.append((f"{name}: no forecast", "", ""))
                continue
            sets[name] = compared(run, told)
            for plan, own in sets[name]["gains"].items():
                text = f"{own['mean']:+.3f} ({own['low']:+.3f} {own['high']:+.3f}), came {own['came']:+.3f}"
                rows.append((f"{name} ({own['trainings']}): over {OVER[plan]}", text, ""))
    gains = [gain for own in sets.values() for gain in own["gains"].values()]
    inside = sum(gain["low"] <= gain["came"] <= gain["high"] for gain in gains)
    over_one = [own["gains"][ONE] for own in sets.values()]
    told_none = [gain["came"] for gain in over_one if gain["mean"] <= 0]
    told_gain = [gain["came"] for gain in over_one if gain["low"] > 0]
    same_sign = sum(gain["mean"] * gain["came"] > 0 for gain in over_one)
    rows += [
        ("gains within the interval", f"{inside} of {len(gains)}", "9 of 10"),
        ("over one network: of the sign that was expected", f"{same_sign} of {len(over_one)}", ""),
        ("expected to help: what came", " ".join(f"{came:+.3f}" for came in told_gain), "above 0"),
        ("not expected to help: what came", " ".join(f"{came:+.3f}" for came in told_none), "at most 0"),
    ]
    about = {"benchmark": "forecasts", "quick": arguments.quick, "set": arguments.set}
    show("Forecasts of what grouping brings", rows, {**about, "sets": sets, "inside": inside, "of": len(gains)})


def told_by(run: sr.Run, folder: Path) -> dict[str, Any] | None:
    """Make the forecast in a copy of a run that has no networks yet; one that was made before is read."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for name in KEPT:
            source = Path(run.run_dir.root) / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    copy = RunDir(str(folder))
    config = set_values(copy.read_config(), ["retrain.forecast=tell"])
    ours, tasks = Groups.from_dict(copy.read_json("groups.json")), read_index(copy.sub("parts")).tasks
    plans = make_plans(ours, tasks, config)
    profiled = hashlib.sha256(copy.read_bytes("profile/network.pt")).hexdigest()[:16]
    with Reporter(Console(quiet=True)).stage("retrain") as progress:
        return forecast(copy, config, plans, list(network_specs(plans, config, profiled)), progress)


def compared(run: sr.Run, told: dict[str, Any]) -> dict[str, Any]:
    """The forecast beside the gains on test rows in all trainings but the first, of which it is half."""
    metric = {task.name: primary_metric(task, run.config.metric) for task in read_index(run.run_dir.sub("parts")).tasks}
    results: pd.DataFrame = run.results
    own = results[
        (results["split"] == "test")
        & (results["metric"] == results["task"].map(metric))
        & (results["seed"] != run.config.seed)
    ]
    own = own.assign(value=own["value"].where(own["metric"] != "r2", own["value"].clip(lower=LEAST_R2)))
    means = own.groupby(["seed", "plan"])["value"].mean().unstack("plan")
    means[RANDOM] = means.filter(regex="^random_").mean(axis=1)
    gains = {}
    for plan, gain in told["expected"].items():
        came = means[OURS] - means[plan]
        error = float(came.std() / len(came) ** 0.5)
        gains[plan] = {**gain, "came": float(came.mean()), "error": error, "trainings": len(came)}
    return {"epochs": told["epochs"], "outlook": told["outlook"], "gains": gains}


if __name__ == "__main__":
    main()
