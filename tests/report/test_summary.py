"""The outcome of a run from its tables: plans are compared as they are served, and with those that started alike."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import PlanName
from stg_ray.config.plans import TITLES
from stg_ray.data.parts import write_parts
from stg_ray.report import summarize
from stg_ray.report.charts.palette import COLORS
from stg_ray.report.terminal import print_summary
from stg_ray.report.words import OTHERS
from stg_ray.retraining.results import Scored, costs_table, results_table
from stg_ray.stages import LOOKS

CONFIG = sr.load_config(
    {
        "data": {"npz": "by hand"},
        "retrain": {"plans": ["ours", "all_in_one", "all_in_one_ensemble", "random"], "start": "both"},
    }
)
MEANS = {
    ("ours", "argmax"): 0.5,
    ("ours", "ensemble"): 0.9,
    ("all_in_one", "argmax"): 0.4,
    ("all_in_one_ensemble", "ensemble"): 0.7,
    ("all_in_one_ensemble_2", "ensemble"): 0.65,
    ("random_0", "argmax"): 0.3,
    ("random_1", "argmax"): 0.5,
    ("ours_profiled", "argmax"): 0.6,
    ("random_0_profiled", "argmax"): 0.55,
}


@pytest.fixture
def run(make_task_set: Callable[..., sr.TaskSet], tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path)
    names = write_parts(make_task_set(blocks=(2, 2)), run.sub("parts")).names
    run.write_json("groups.json", Groups.from_labels(names, np.array([0, 0, 1, 1]), "by hand").to_dict())
    run.write_json("failures.json", [])
    scored, networks = [], []
    for (plan, serving), mean in MEANS.items():
        for seed in range(2):
            values = {name: mean + 0.01 * t + 0.001 * seed for t, name in enumerate(names)}
            scores = {name: {"average_precision": value, "roc_auc": 0.0} for name, value in values.items()}
            scored.append(_scored(plan, serving, seed, scores))
            if (plan, serving) != ("ours", "ensemble"):  # the networks of ours, once more
                about = {"plan": plan, "seed": seed, "cost": 10, "seconds": 1.0}
                networks += [{**about, "group": g} for g in range(1 if plan == "all_in_one" else 2)]
    run.write_parquet("results.parquet", results_table(scored))
    run.write_parquet("costs.parquet", costs_table(networks))
    return run


def _scored(plan: str, serving: Serving, seed: int, scores: dict[str, dict[str, float]]) -> Scored:
    return Scored(plan, seed, serving, "test", scores, dict.fromkeys(scores, 0))


def test_plans_are_compared_as_they_are_served(run: RunDir) -> None:
    summary = summarize(run, CONFIG)
    expected = {"all_in_one": 0.1, "all_in_one_ensemble": -0.2, "random": 0.1, "random_profiled": 0.05}
    assert list(summary.against) == ["all_in_one", "all_in_one_ensemble", "random", "random_profiled"]
    for other, difference in summary.against.items():
        np.testing.assert_allclose(difference.mean, expected[other], atol=1e-12)
    assert summary.verdict.startswith("Our groups are better than all tasks in one network (+0.1000, 95 % interval")
    assert "; worse than as many networks of all tasks, which predict together (-0.2000" in summary.verdict
    assert "Where all networks start from the profile, our groups are better than random groups of" in summary.verdict


def test_draws_of_random_groups_are_one_plan_and_costs_are_relative_to_all_in_one(run: RunDir) -> None:
    rows = {(row.plan.name, row.serving): row for row in summarize(run, CONFIG).plans}
    assert rows["random", "argmax"].values.shape == (4, 4), "tasks, and draws times seeds"
    np.testing.assert_allclose(rows["random", "argmax"].mean, 0.4 + 0.015 + 0.0005)
    assert rows["all_in_one_ensemble", "ensemble"].title == "all in one ensemble"
    assert rows["all_in_one_ensemble", "ensemble"].cost == 2, "of one training"
    titles = [row.title for row in summarize(run, CONFIG).plans]
    assert titles[titles.index("all in one") :][:3] == ["all in one", "all in one ensemble, 2", "all in one ensemble"]
    assert rows["ours", "argmax"].cost == rows["ours", "ensemble"].cost == 2, "the same networks"
    assert rows["all_in_one", "argmax"].difference is None
    assert rows["random_profiled", "argmax"].title == "random groups, from profile"


def test_plans_that_all_start_from_the_profile_are_named_as_plans_from_scratch_are(run: RunDir) -> None:
    results = run.read_parquet("results.parquet").to_pandas()
    alone = results[~results["plan"].str.endswith("_profiled")]
    run.write_parquet("results.parquet", pa.Table.from_pandas(alone, preserve_index=False))
    config = CONFIG.model_copy(update={"retrain": CONFIG.retrain.model_copy(update={"start": "profiled"})})
    summary = summarize(run, config)
    assert [row.title for row in summary.plans if row.serving == "argmax"] == ["ours", "all in one", "random groups"]
    assert summary.verdict.startswith("Our groups are better than")


def test_every_plan_has_a_title_and_a_colour() -> None:
    assert set(TITLES) == set(COLORS) == set(get_args(PlanName))
    assert set(OTHERS) <= set(TITLES)


def test_a_run_without_plans_has_groups_and_no_comparison(run: RunDir) -> None:
    run.write_parquet("results.parquet", results_table([]))
    run.write_parquet("costs.parquet", costs_table([]))
    summary = summarize(run, sr.load_config({"data": {"npz": "by hand"}, "retrain": {"plans": []}}))
    assert summary.plans == []
    assert summary.verdict == "4 tasks in 2 groups; no comparison was trained."


@pytest.mark.parametrize(("looks", "said"), [(1, ""), (3, "The test rows were looked at 3 times in this directory")])
def test_more_than_one_look_at_the_test_rows_is_said(run: RunDir, looks: int, said: str) -> None:
    run.write_json(LOOKS, [str(look) for look in range(looks)])
    file = StringIO()
    print_summary(Console(file=file, width=200), summarize(run, CONFIG))
    printed = file.getvalue()
    assert said in printed
    assert ("looked at" in printed) == bool(said)
