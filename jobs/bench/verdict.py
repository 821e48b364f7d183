"""Is the verdict calibrated? How often plans are called different that are not, by simulated and by real trainings.

    python -m jobs.bench.verdict [--train] [--draws 2000]

Four plans as a run has them: ours, all in one, one at equal cost, and two draws of random groups. Where no plans
differ, a single comparison should be called clear in 5 % of all runs, and any of the three, after Holm's correction,
in at most 5 %. Simulated trainings have noise that all tasks of a network share beside that of each task; in
"unequal", that of one network for all tasks has nine times the variance. Real trainings are those of one plan, 30
seeds, kept beside this file; --train makes them again (a quarter of an hour on two cores): scikit-learn's digits with
2, 15 and 100 tasks, four networks or one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

import stg_ray as sr
from jobs.bench.measure import show
from stg_ray.cluster.session import session
from stg_ray.progress import Reporter
from stg_ray.report.comparison import Comparison, Trainings, holm

KEPT = Path(__file__).with_name("verdict_trainings.parquet")
SETS = {2: "jobs.bench.verdict_sets:two", 15: None, 100: "jobs.bench.verdict_sets:hundred"}
SEEDS = (1, 2, 3, 5)
N_DRAWS_OF_GROUPS = 2
N_NETWORKS = 4
OTHERS = ("all_in_one", "all_in_one_equal_cost", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="train the real networks again")
    parser.add_argument("--draws", type=int, default=2000, help="number of runs that are simulated, for each line")
    arguments = parser.parse_args()
    if arguments.train:
        train().to_parquet(KEPT, compression="zstd", index=False)
    rows: list = []
    result: dict[str, Any] = {"benchmark": "verdict", "draws": arguments.draws, "simulated": {}, "real": {}}
    for kind, n_tasks, source in [*simulations(), *real_trainings()]:
        for seeds in SEEDS:
            alone, any_clear, known = rates(source, seeds, arguments.draws)
            about = f"{kind}, {n_tasks} tasks, {seeds} training{'s' * (seeds > 1)} of each plan"
            text = f"{alone:.1%} of single comparisons, any of three {any_clear:.1%}"
            rows.append((about, text if known else "no verdict", "3 to 7 %"))
            group = "simulated" if kind.startswith("simulated") else "real"
            result[group][f"{kind}, {n_tasks}, {seeds}"] = [round(alone, 4), round(any_clear, 4), known]
    show("How often are plans called different that are not?", rows, result)


def rates(source: Callable[[np.random.Generator, int], dict[str, Trainings]], seeds: int, draws: int) -> list[Any]:
    """Shares of single comparisons and of whole verdicts that are clear, and whether there are verdicts."""
    rng = np.random.default_rng(0)
    alone, any_clear, known = 0.0, 0, False
    for _ in range(draws):
        comparison = Comparison(plans := source(rng, seeds))
        differences = {other: comparison.difference("ours", other) for other in OTHERS if other in plans}
        alone += sum(d.is_clear for d in differences.values()) / len(differences)
        any_clear += any(d.is_clear for d in holm(differences).values())
        known |= any(d.is_known for d in differences.values())
    return [alone / draws, any_clear / draws, known]


def simulations() -> list[tuple[str, int, Callable[..., dict[str, Trainings]]]]:
    """Kinds of simulated trainings, with their numbers of tasks."""
    return [
        (f"simulated, {'un' * (scale != 1)}equal noise", n_tasks, _simulated(n_tasks, scale))
        for scale in (1.0, 3.0)
        for n_tasks in SETS
    ]


def _simulated(n_tasks: int, scale: float) -> Callable[[np.random.Generator, int], dict[str, Trainings]]:
    """Trainings of plans that do not differ; scale: of the noise of one network for all tasks."""

    def draw(rng: np.random.Generator, seeds: int) -> dict[str, Trainings]:
        difficulty = rng.random((n_tasks, 1))

        def trainings(n: int, n_networks: int, scale: float) -> Trainings:
            networks = np.repeat(np.arange(n_tasks)[:, None] % n_networks, n, axis=1)
            shared = rng.normal(size=(n_networks, n))[networks[:, 0]]
            noise = shared + rng.normal(size=(n_tasks, n)) * rng.random((n_tasks, 1))
            values = difficulty + 0.01 * scale * noise
            return Trainings(values, networks, np.repeat(np.arange(n // seeds), seeds))

        return {
            "ours": trainings(seeds, N_NETWORKS, 1.0),
            "all_in_one": trainings(seeds, 1, scale),
            "all_in_one_equal_cost": trainings(seeds, 1, 1.0),
            "random": trainings(N_DRAWS_OF_GROUPS * seeds, N_NETWORKS, 1.0),
        }

    return draw


def real_trainings() -> list[tuple[str, int, Callable[..., dict[str, Trainings]]]]:
    """The kept trainings of each plan of each set, drawn without replacement for plans that do not differ."""
    return [
        (f"real {str(plan).replace('_', ' ')}", int(str(n_tasks)), _drawn(of_plan))
        for (n_tasks, plan), of_plan in pd.read_parquet(KEPT).groupby(["tasks", "plan"])
    ]


def _drawn(table: pd.DataFrame) -> Callable[[np.random.Generator, int], dict[str, Trainings]]:
    """Runs whose plans are trainings of one plan."""
    cube = table.pivot(index="task", columns="seed", values=["value", "group"])
    values, networks = cube["value"].to_numpy(), cube["group"].to_numpy(dtype=np.int64)

    def draw(rng: np.random.Generator, seeds: int) -> dict[str, Trainings]:
        order = iter(rng.permutation(values.shape[1]).tolist())

        def trainings(n: int) -> Trainings:
            chosen = [next(order) for _ in range(n)]
            return Trainings(values[:, chosen], networks[:, chosen], np.repeat(np.arange(n // seeds), seeds))

        return {name: trainings(N_DRAWS_OF_GROUPS * seeds if name == "random" else seeds) for name in ("ours", *OTHERS)}

    return draw


def train() -> pd.DataFrame:
    """Train two plans 30 times on digits with 2, 15 and 100 tasks; test average precision of each task."""
    tables = []
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder, session(None):
        for n_tasks, function in SETS.items():
            config = sr.load_config(
                {
                    "data": {"function": function} if function else {"preset": "digits"},
                    "model": {"trunk": "mlp", "width": 10, "depth": 1},
                    "profile": {"epochs": 10, "batch_size": 32, "workers": 1},
                    "affinity": {"methods": ["data_map"]},
                    "grouping": {"groups": 2 if n_tasks == 2 else 4},
                    "retrain": {
                        "plans": ["ours", "all_in_one"],
                        "epochs": 10,
                        "batch_size": 32,
                        "seeds": 30,
                    },
                }
            )
            run = sr.run(config, f"{folder}/{n_tasks}", reporter=Reporter(Console(quiet=True)))
            results = run.results
            kept = results[(results["split"] == "test") & (results["metric"] == "average_precision")]
            tables.append(kept[["plan", "seed", "task", "group", "value"]].assign(tasks=n_tasks))
    return pd.concat(tables).astype({"value": "float32", "seed": "int16", "tasks": "int16", "group": "int16"})


if __name__ == "__main__":
    main()
