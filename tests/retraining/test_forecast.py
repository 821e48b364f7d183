"""What is expected of grouping after half of the first training, and that telling it changes nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import stg_ray as sr
from jobs.bench.known_sets import KNOWN_SETS
from stg_ray.artifacts.outlook import ENSEMBLE, ONE, RANDOM, outlook_sentence
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import set_values
from stg_ray.models import load_weights
from stg_ray.pipeline import run_stage
from stg_ray.planning.of_run import estimate_of_run
from stg_ray.progress import Reporter
from stg_ray.retraining.forecast import (
    OURS,
    WIDTH,
    Gain,
    _gains_of_tasks,
    _is_outside,
    _outlook,
    _with_interval,
)
from stg_ray.retraining.jackknife import N_FOLDS


def test_gains_are_over_the_mean_network_and_over_as_many_averaged() -> None:
    scores = {
        OURS: np.array([0.9, 0.7]),
        ONE: np.array([0.8, 0.6]),
        "second": np.array([0.6, 0.8]),
        ENSEMBLE: np.array([0.8, 0.75]),
        RANDOM: np.array([0.85, np.nan]),
    }
    gains = _gains_of_tasks(scores, size=2)
    assert gains[ONE] == pytest.approx([0.2, 0.0])
    assert gains[ENSEMBLE] == pytest.approx([0.1, -0.05]), "two networks are the ensemble"
    assert gains[RANDOM] == pytest.approx([0.05, np.nan], nan_ok=True)
    many = _gains_of_tasks(scores, size=4)
    assert many[ENSEMBLE] == pytest.approx([0.2 - 1.5 * 0.1, 0.0 - 1.5 * 0.05])
    alone = _gains_of_tasks({key: scores[key] for key in (OURS, ONE)}, size=3)
    assert list(alone) == [ONE]
    assert alone[ONE] == pytest.approx([0.1, 0.1])


def test_averaging_takes_away_a_share_of_the_networks_variance() -> None:
    """The squared error of an average of n networks falls by (1 - 1/n) of their variance: 2 (1 - 1/n) of two's."""
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(8, 200_000))
    fall = {n: 1 - float(np.square(errors[:n].mean(axis=0)).mean()) for n in (2, 4, 8)}
    assert fall[4] == pytest.approx(2 * (1 - 1 / 4) * fall[2], rel=0.02)
    assert fall[8] == pytest.approx(2 * (1 - 1 / 8) * fall[2], rel=0.02)


def test_an_error_is_the_larger_of_rows_and_tasks() -> None:
    gain = np.array([0.1, 0.3, np.nan, 0.2])
    same = _with_interval(gain, [gain] * N_FOLDS)
    of_tasks = np.std([0.1, 0.3, 0.2], ddof=1) / np.sqrt(3)
    assert (same.mean, same.low, same.high) == pytest.approx((0.2, 0.2 - WIDTH * of_tasks, 0.2 + WIDTH * of_tasks))
    shifts = np.linspace(-0.2, 0.2, N_FOLDS)
    moving = _with_interval(gain, [gain + shift for shift in shifts])
    of_rows = np.sqrt((N_FOLDS - 1) * np.mean(np.square(shifts)))  # the jackknife's
    assert moving.high - moving.mean == pytest.approx(WIDTH * of_rows)
    assert of_rows > of_tasks
    assert _with_interval(np.array([0.1]), []) == Gain(0.1, 0.1, 0.1)


@pytest.mark.parametrize("shared", [0.0, 1.0], ids=["noise of tasks", "noise that all tasks share"])
def test_nothing_is_seen_where_there_is_nothing(shared: float) -> None:
    """Networks that differ by the noise of rows alone: an interval covers zero in nine of ten draws, or more."""
    rng = np.random.default_rng(3)
    rows = np.arange(200)
    intervals = []
    for _ in range(300):
        noise = rng.normal(size=(200, 12)) + shared * rng.normal(size=(200, 1))  # of a task's score, row by row
        left_out = [noise[_is_outside(block, rows)].mean(axis=0) for block in range(N_FOLDS)]
        intervals.append(_with_interval(noise.mean(axis=0), left_out))
    covered = np.mean([gain.low <= 0 <= gain.high for gain in intervals])
    assert 0.9 <= covered < 1, "and no interval is so wide that it says nothing"
    assert np.mean([_outlook(gain) == "gain" for gain in intervals]) < 0.05


def test_the_jackknife_leaves_every_row_out_once() -> None:
    rows = np.arange(37)
    outside = np.array([_is_outside(block, rows) for block in range(N_FOLDS)])
    assert (~outside).sum(axis=0).tolist() == [1] * 37


@pytest.mark.parametrize(
    ("gain", "outlook"),
    [
        (Gain(0.1, 0.02, 0.18), "gain"),
        (Gain(0.1, -0.02, 0.22), "open"),
        (Gain(0.0, -0.1, 0.1), "none"),
        (Gain(-0.1, -0.2, -0.01), "none"),
    ],
)
def test_an_outlook_is_good_where_that_is_clear_and_bad_where_nothing_is_expected(gain: Gain, outlook: str) -> None:
    assert _outlook(gain) == outlook


def config_of(tmp_path: Path, **retrain: Any) -> sr.Config:
    """Tasks of two kinds that want opposite things of a narrow trunk."""
    path = tmp_path / "conflict.npz"
    if not path.exists():
        arrays = dict(KNOWN_SETS["conflict"].build(0))
        arrays["split"] = np.where(np.arange(len(arrays["inputs"])) % 4 == 3, "test", "train")
        np.savez(path, **arrays)
    values = {
        "data": {"npz": str(path)},
        "model": {"trunk": "mlp", "width": 4, "depth": 1, "dropout": 0.1},
        "profile": {"epochs": 10, "workers": 1},
        "grouping": {"groups": 3},
        "retrain": {
            "plans": ["ours", "all_in_one", "all_in_one_ensemble", "random"],
            "epochs": 10,
            "random_groups": 1,
            **retrain,
        },
    }
    return sr.load_config(values)


def run_of(config: sr.Config, folder: Path, until: str = "report") -> sr.Run:
    return sr.run(config, str(folder), until=until, reporter=Reporter(Console(quiet=True)))


@pytest.mark.slow
def test_a_forecast_is_right_about_planted_conflicts_and_changes_no_network(tmp_path: Path) -> None:
    plans = ["ours", "searched", "all_in_one", "all_in_one_ensemble", "random"]
    config = set_values(config_of(tmp_path, plans=plans), ["search.start=auto"])  # which asks for it
    told = run_of(config, tmp_path / "told")
    silent = run_of(config_of(tmp_path, plans=["ours", "all_in_one"]), tmp_path / "silent", until="retrain")
    assert silent.forecast is None, "a run of seconds has nothing to save"
    forecast = told.forecast
    assert forecast is not None
    assert forecast["epochs"] == 5
    assert list(forecast["expected"]) == [ONE, ENSEMBLE, RANDOM]
    assert forecast["outlook"] == "gain"
    assert told.search is not None
    assert (told.search["start"], told.search["epochs"]) == ("scratch", 5), "it is the profile that is held back"
    rows = {row.plan.name: row.mean for row in told.summary.plans}
    gain = forecast["expected"][ONE]
    assert gain["mean"] > 0.02
    assert gain["low"] < rows["ours"] - rows["all_in_one"] < gain["high"]
    networks = sorted((tmp_path / "silent" / "models").rglob("network.pt"))
    assert len(networks) == 3 + 1
    for path in networks:
        name = path.relative_to(tmp_path / "silent").as_posix()
        own, expected = (load_weights(RunDir(str(tmp_path / each)), name) for each in ("told", "silent"))
        for key, value in expected.items():
            # Other networks were in step with it: numbers may be rounded otherwise.
            torch.testing.assert_close(own[key], value, rtol=1e-4, atol=1e-6)
    assert outlook_sentence(forecast) in (tmp_path / "told" / "report.html").read_text()


@pytest.mark.slow
def test_where_nothing_is_expected_no_groups_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stg_ray.retraining.forecast._outlook", lambda _: "none")
    config = config_of(tmp_path, forecast="stop", plans=["ours", "searched", "all_in_one", "all_in_one_equal_cost"])
    run = run_of(config, tmp_path / "run")
    told = run.forecast
    assert told is not None
    assert told["outlook"] == "none"
    assert {row.plan.name for row in run.summary.plans} == {"all_in_one", "all_in_one_equal_cost"}
    assert run.search is None
    assert "not trained to the end: grouping was not expected to help" in run.summary.verdict
    lines = dict(estimate_of_run(str(tmp_path / "run")))
    assert lines["forecast"] == outlook_sentence(told)
    assert (lines["retrain"], lines["total"]) == ("done", "nothing is left to do")
    left = dict(estimate_of_run(str(tmp_path / "run"), ["retrain.forecast=never"]))
    assert left["profile"] == "done"
    assert "networks" in left["retrain"]


@pytest.mark.slow
def test_a_stage_that_is_done_again_expects_the_same_and_searches_alike(tmp_path: Path) -> None:
    config = config_of(tmp_path, plans=["ours", "searched", "all_in_one"])
    run = run_of(set_values(config, ["search.start=auto"]), tmp_path / "run", until="retrain")
    first, search = run.forecast, run.search
    assert first is not None
    assert search is not None
    assert (first["epochs"], first["outlook"], search["start"]) == (5, "gain", "scratch")
    quiet = Reporter(Console(quiet=True))
    run_stage("retrain", str(tmp_path / "run"), overrides=["retrain.seeds=2"], reporter=quiet)
    again = sr.Run(str(tmp_path / "run"))
    assert again.forecast == first, "by what its networks predicted when they paused"
    assert again.search is not None
    assert (again.search["start"], again.search["groups"]) == ("scratch", search["groups"])

    kept = sorted((tmp_path / "run" / ".networks").glob("*/paused-5.npz"))
    assert len(kept) == 3 + 1
    kept[0].write_bytes(b"cut")
    run_stage("retrain", str(tmp_path / "run"), overrides=["retrain.seeds=1"], reporter=quiet)
    whole = sr.Run(str(tmp_path / "run")).forecast
    assert whole is not None
    assert (whole["epochs"], whole["outlook"]) == (None, "gain"), "by whole trainings"
    assert outlook_sentence(whole).startswith("after the first training, grouping is expected to help")
