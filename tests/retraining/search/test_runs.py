"""Searches within runs: planted families are found, a budget is kept, and a kill changes nothing."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.tasks.conditions import Conditions
from tests.support.processes import Program


def opposites(n: int = 1200) -> sr.TaskSet:
    """Two families of three tasks: where the first input is positive, one has the opposite labels of the other."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(n, 6)).astype(np.float32)
    score = inputs[:, 1:4].sum(axis=1, keepdims=True) + 0.3 * rng.normal(size=(n, 6))
    turned = (inputs[:, :1] > 0) & (np.arange(6) % 2 == 1)
    return sr.TaskSet.from_arrays(inputs, ((score > 0) ^ turned).astype(np.int8), names=list("abcdef"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_budget_is_kept_by_the_search_and_by_what_is_deployed(quiet: Reporter, tmp_path: Path) -> None:
    budget = {"networks": 3, "max_size": 3, "apart": [["a", "b"]]}
    settings = {
        "model": {"trunk": "mlp", "width": 8, "depth": 1},
        "profile": {"epochs": 4, "workers": 1},
        "grouping": {"method": "budget", "budget": budget},
        "retrain": {"epochs": 4, "plans": ["ours", "searched", "all_in_one"]},
        "search": {"cost": 6.0, "rounds": 2},
    }
    run = sr.run(opposites(600), str(tmp_path / "run"), settings=settings, until="retrain", reporter=quiet)
    about = run.run_dir.read_json("search.json")
    conditions = Conditions.of(budget, "abcdef")
    for groups in (about["groups"], run.groups.groups):
        assert conditions.broken_by(np.array([[t in group for t in "abcdef"] for group in groups])) == ""
    assert len(about["measured"]) > 4
    for row in about["measured"][1:]:  # the first is that of all tasks, which the others are compared with
        assert conditions.allows(np.array([t in row["tasks"] for t in "abcdef"]))
    chosen = run.run_dir.read_json("chosen.json")
    assert {each["plan"] for each in chosen["candidates"]} == {"ours", "searched"}
    assert "left out, since grouping.budget does not allow them: 'all in one'" in chosen["why"]
    only = run_stage("retrain", str(tmp_path / "run"), overrides=["retrain.plans=[all_in_one]"], reporter=quiet)
    assert only.chosen is None
    with pytest.raises(InputError, match=r"none of its plans keeps grouping.budget, so none was chosen: name one of"):
        sr.load(tmp_path / "run")
    assert len(sr.load(tmp_path / "run", "all_in_one").networks) == 1


def error_of_rows(run: sr.Run, tasks: list[str], groups: list[list[str]]) -> float:
    """By how much other validation rows would change the mean gain of groups, from what their probes have kept."""
    places = [f".networks/{name}/network.json" for name in run.run_dir.list(".networks")]
    probes = [about for about in map(run.run_dir.read_json, places) if about.get("probe")]
    short = min(about["epochs"] for about in probes)
    by_tasks = {tuple(sorted(about["tasks"])): about for about in probes if about["epochs"] == short}

    def scores(members: list[str]) -> dict[str, np.ndarray]:
        about = by_tasks[tuple(sorted(members))]
        return dict(zip(about["tasks"], np.array(about["without_folds"], dtype=float).T, strict=True))

    one = scores(tasks)
    gains = [own - one[task] for group in groups for task, own in scores(group).items()]
    without = np.mean(gains, axis=0)
    return float(np.sqrt(19 / 20 * np.square(without - without.mean()).sum()))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_families_that_hurt_each_other_are_found_by_measuring(quiet: Reporter, tmp_path: Path) -> None:
    """The affinities are random: nothing but the measurements tells."""
    settings = {
        "model": {"trunk": "mlp", "width": 3, "depth": 1},
        "profile": {"epochs": 20, "batch_size": 32, "workers": 1},
        "affinity": {"methods": ["random"]},
        "grouping": {"groups": 2},
        "retrain": {"epochs": 20, "batch_size": 32, "plans": ["ours", "searched", "all_in_one"], "lr": 0.02},
        "search": {"length": 0.25, "cost": 3.0, "rounds": 2, "finalists": 3},
    }
    run = sr.run(opposites(), str(tmp_path / "run"), settings=settings, until="retrain", reporter=quiet)
    found = run.run_dir.read_json("plans/searched.json")["groups"]
    assert sorted(map(sorted, found)) == [["a", "c", "e"], ["b", "d", "f"]]
    about = run.run_dir.read_json("search.json")
    assert about["groups"] == found
    assert about["measured"][0]["tasks"] == list("abcdef")
    assert set(about["measured"][0]["gains"].values()) == {0.0}
    assert about["networks"] == len(about["measured"]) <= 24
    assert 2 <= len(about["finalists"]) <= 3
    assert about["groups"] == max(about["finalists"], key=lambda finalist: finalist["gain"])["groups"]
    finals = len({tuple(sorted(group)) for finalist in about["finalists"] for group in finalist["groups"]}) + 1
    assert about["cost"] == pytest.approx(about["networks"] / 8 + finals / 4)
    assert about["expected"] > 0
    assert about["over_random"] > 0
    assert about["better_than"] > 0.9
    of_rows = error_of_rows(run, list("abcdef"), found)
    assert 0.001 < of_rows <= about["error"] < 2 * of_rows + 0.05
    networks = [run.run_dir.read_json(f".networks/{name}/network.json") for name in run.run_dir.list(".networks")]
    probes = [network for network in networks if network.get("probe")]
    assert len(probes) == about["networks"] + finals
    assert all(set(probe["scores"]) == {"val"} for probe in probes), "the search never sees test rows"
    results = run.results
    test = results[(results["split"] == "test") & (results["metric"] == "average_precision")]
    means = test.groupby("plan")["value"].mean()
    assert means["searched"] > means["ours"]
    assert means["searched"] > means["all_in_one"]


SETTINGS = (
    *("data.limit=600", "profile.epochs=4", "profile.workers=1", "affinity.methods=[data_map]", "grouping.groups=5"),
    *("retrain.epochs=4", "retrain.seeds=1", "retrain.plans=[searched]"),
    *("search.length=0.5", "search.cost=1.2", "search.rounds=2"),
    *("profile.precision=float32", "retrain.precision=float32"),
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_session")
def test_killed_in_the_search_the_same_run_ends_with_the_same_plan(tmp_path: Path) -> None:
    config, console = load_config("digits", SETTINGS), Console(file=io.StringIO(), soft_wrap=True)
    whole, run = (RunDir(tmp_path / name) for name in ("whole", "run"))
    sr.run(config, whole.uri, until="retrain", reporter=Reporter(console))
    assert "search: groups of" in console.file.getvalue()  # type: ignore[attr-defined]
    shutil.copytree(whole.root, run.root)
    run.forget_from("retrain")
    for left in (".ray", ".networks"):
        run.delete(left)

    given = [word for setting in SETTINGS for word in ("--set", setting)]
    killed = Program("run", "digits", *given, "--until", "retrain", "--out", run.uri, log=tmp_path / "killed.log")
    trained = Path(run.root, ".networks")
    killed.wait_until(lambda: len(list(trained.glob("*/network.json"))) >= 6)  # in the second round
    killed.kill()
    assert not run.exists("search.json"), "too late to kill it in the search"
    sr.run(config, run.uri, until="retrain", reporter=Reporter(console))
    assert run.read_json("search.json")["networks"] > 6
    for name in ("search.json", "plans/searched.json"):
        assert run.read_json(name) == whole.read_json(name)
    a, b = (own.read_parquet("results.parquet").to_pandas() for own in (run, whole))
    assert a.equals(b)
