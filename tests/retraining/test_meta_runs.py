"""Whole runs of initialisations, and new tasks that they adapt to."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.loading import with_settings
from stg_ray.data.parts import write_parts
from stg_ray.errors import InputError
from stg_ray.models import load_weights
from stg_ray.progress import Reporter
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stage import publish
from stg_ray.retraining.trial import train_network
from stg_ray.retraining.trials import run_trials
from stg_ray.serving import Predictor, load_predictor
from stg_ray.tasks import TaskKind, TaskSet
from tests.support.families import SETTINGS, sines, sorts, waves
from tests.support.processes import kill_a_worker


def of_families(tasks: TaskSet, folder: Path, settings: dict[str, Any]) -> tuple[RunDir, Config, Predictor]:
    """The published networks of both families, trained in this process."""
    run, config = RunDir(folder), with_settings({"data": {"npz": "planted"}, **SETTINGS}, settings)
    write_parts(tasks, run.sub("parts"))
    groups = Groups.from_labels(tasks.names, np.arange(len(tasks.names)) % 2, "by hand")
    run.write_json("plans/known.json", groups.to_dict())
    specs = [NetworkSpec("known", g, tuple(own), seed=0, draws=0, epochs=3) for g, own in enumerate(groups.groups)]
    for spec in specs:
        train_network(run, config, spec, device="cpu", report=lambda *_: None)
    publish(run, config, specs)
    return run, config, load_predictor(run, config, "known", 0, "cpu")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return of_families(sines(), tmp_path_factory.mktemp("run"), {"meta": {"learn_rates": True}})[2]


def test_new_tasks_are_served_by_the_family_that_they_are_of(predictor: Predictor) -> None:
    rng = np.random.default_rng(5)
    family = np.arange(10) % 2
    inputs, values = waves(family * np.pi, 60, rng)
    for f, x, y in zip(family, inputs[..., None], values, strict=True):
        adapted = predictor.adapt(x[:10], y[:10])
        assert adapted.group == f
        assert adapted.losses[f] == min(adapted.losses)
        assert np.square(adapted.predict(x[10:]) - y[10:]).mean() < 0.15
        other = predictor.adapt(x[:10], 100 * y[:10] - 700)  # in another unit
        assert other.group == f
        assert np.square((other.predict(x[10:]) + 700) / 100 - y[10:]).mean() < 0.25
    assert adapted.predict(x[:0]).shape == (0,)
    with pytest.raises(sr.InputError, match="batch_size=0"):
        adapted.predict(x, batch_size=0)


def test_adapting_takes_the_steps_and_rates_of_the_network(predictor: Predictor) -> None:
    """One step of gradient descent, by autograd."""
    x, y = (own[0] for own in waves(np.zeros(1), 10, np.random.default_rng(7)))
    adapted = predictor.adapt(x[:, None], y)
    assert predictor.adapter is not None
    start = predictor.adapter.networks[adapted.group].start
    theta = {name: value.clone().requires_grad_() for name, value in start.parameters.items()}
    outputs = torch.func.functional_call(start.network, theta, (torch.from_numpy(x)[:, None],))
    targets = torch.from_numpy((y - adapted.task.center) / adapted.task.scale).float()
    loss = 0.5 * (outputs[:, 0] - targets).square().mean()
    slopes = torch.autograd.grad(loss, list(theta.values()))
    for (name, value), slope in zip(theta.items(), slopes, strict=True):
        expected = value - start.log_rates[name].exp() * slope
        torch.testing.assert_close(adapted.parameters[name], expected.detach(), rtol=1e-4, atol=1e-5)


def test_initialisations_do_not_predict_before_they_adapt(predictor: Predictor, tmp_path: Path) -> None:
    inputs = np.zeros((2, 1), dtype=np.float32)
    for work in (
        lambda: predictor.predict(inputs),
        lambda: predictor.outputs(torch.zeros(2, 1)),
        lambda: predictor.export(str(tmp_path)),
    ):
        with pytest.raises(InputError, match=r"initialisations \(retrain.learner=maml\), .*: call adapt"):
            work()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.0, 2.0], r"labels have the shape \(2,\): expected one for each of 3 rows"),
        ([1.0, np.nan, 2.0], "missing in 1 of 3 rows, the first is row 1: give labelled rows only"),
        ([1.0, None, 2.0], "missing in 1 of 3 rows, the first is row 1"),
        (np.ma.array([1.0, 5.0, 2.0], mask=[False, True, False]), "missing in 1 of 3 rows, the first is row 1"),
        (["low", "high", "low"], "expected at least 2 numbers as labels"),
        ([1.0, np.inf, 2.0], "expected at least 2 numbers as labels"),
        ([[1.0], [2.0, 3.0], [4.0]], "holds lists of"),
        (np.array([1, 2, 3], dtype="datetime64[D]"), "holds dates: expected numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(predictor: Predictor, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        predictor.adapt(np.zeros((3, 1)), labels)
    with pytest.raises(InputError, match="inputs have the shape"):
        predictor.adapt(np.zeros((3, 2)), np.zeros(3))


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_new_classifications_adapt(tmp_path: Path, kind: TaskKind) -> None:
    settings = {"meta": {"ways": 4, "rate": 0.4, "steps": 2, "shots": 5, "queries": 5}}
    _, _, predictor = of_families(sorts(kind), tmp_path, settings)
    new, ways, right = sorts(kind, 2, seed=9), 4 if kind == "multiclass" else 2, []
    for t in range(2):
        rows = np.flatnonzero(new.labels[:, t] >= 0)
        x, y = np.asarray(new.inputs)[rows], new.labels[rows, t]
        some = np.concatenate([np.flatnonzero(y == c)[:6] for c in range(ways)])
        adapted = predictor.adapt(x[some], y[some])
        if kind == "binary":  # the other family has the same quarters, and classes have no order
            assert adapted.group == t
        found = adapted.predict(np.delete(x, some, axis=0))
        assert found.shape == ((len(x) - len(some),) if kind == "binary" else (len(x) - len(some), 4))
        right.append(((found > 0.5) if kind == "binary" else found.argmax(axis=1)) == np.delete(y, some))
    assert np.concatenate(right).mean() > 0.75
    with pytest.raises(InputError, match=r"expected the labels 0 and 1|expected 4 classes, as in training"):
        predictor.adapt(x[:6], [0, 0, 0, 7, 7, 7])
    for gap in (np.nan, None, -1):  # never one of the classes
        given: list[Any] = [0, 0, 1, 1, gap, gap, 2, 2][: 6 if kind == "binary" else 8]
        with pytest.raises(InputError, match=r"missing in 2 of . rows, the first is row 4"):
            predictor.adapt(x[: len(given)], given)
    texts = ["0", "0", "1", "1"] if kind == "binary" else ["a", "a", "b", "b", "c", "c", "d", "d"]
    task = predictor.adapt(x[: len(texts)], texts).task
    assert task.classes == ((0, 1) if kind == "binary" else ("a", "b", "c", "d"))
    with pytest.raises(InputError, match="class 1 has one row, which does not tell which of 2 groups"):
        predictor.adapt(x[: 2 * ways - 1], [0, 0, 1, 2, 2, 3, 3][: 2 * ways - 1])


def test_rows_and_labels_of_pandas_belong_together(predictor: Predictor) -> None:
    x, y = pd.DataFrame({"x": np.linspace(-1, 1, 6)}), pd.Series(np.linspace(0, 1, 6))
    assert predictor.adapt(x, y).task.kind == "regression"
    with pytest.raises(InputError, match="have the same rows at other places"):
        predictor.adapt(x.iloc[::-1], y)


def test_networks_that_predict_do_not_adapt(tmp_path: Path) -> None:
    settings = {"retrain": {"learner": "joint"}}
    _, _, predictor = of_families(sines(4), tmp_path, settings)
    with pytest.raises(InputError, match="were trained to predict"):
        predictor.adapt(np.zeros((3, 1)), np.zeros(3))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_trial_that_is_killed_goes_on(quiet: Reporter, tmp_path: Path) -> None:
    """As an undisturbed training ends."""
    tasks = sines(4)
    config = with_settings({"data": {"npz": "planted"}, **SETTINGS}, {"meta": {"steps_per_epoch": 10}})
    runs = [RunDir(tmp_path / name) for name in ("killed", "whole")]
    for run in runs:
        write_parts(tasks, run.sub("parts"))
    spec = NetworkSpec("ours", 0, tuple(tasks.names), seed=0, draws=0, epochs=40)
    killed: list[int] = []
    after_an_epoch = (tmp_path / "killed", ".networks/*/checkpoint.pt", "ImplicitFunc", killed)
    thread = threading.Thread(target=kill_a_worker, args=after_an_epoch, daemon=True)
    thread.start()
    with quiet.stage("retrain") as progress:
        assert run_trials(runs[0], config, [spec], progress) == {}
    thread.join(timeout=10)
    assert len(killed) == 1
    train_network(runs[1], config, spec, device="cpu", report=lambda *_: None)
    found, expected = (load_weights(run, f"{network_folder(spec, config)}/network.pt") for run in runs)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_session")
def test_a_whole_run_finds_the_families_and_what_to_deploy(quiet: Reporter, tmp_path: Path) -> None:
    settings = {
        **SETTINGS,
        "retrain": {**SETTINGS["retrain"], "plans": ["ours", "all_in_one", "random"]},
    }
    run = sr.run(sines(), tmp_path / "run", settings=settings, reporter=quiet)
    assert len(set(run.groups.labels[::2])) == len(set(run.groups.labels[1::2])) == 1
    means = run.results.query("split == 'test' and metric == 'r2'").groupby("plan")["value"].mean()
    assert set(means.index) == {"ours", "all_in_one", "random_0", "random_1"}
    assert means["ours"] > means["all_in_one"] + 0.2
    assert set(run.results["serving"]) == {"argmax"}
    predictor = run.predictor()
    x, y = (own[1] for own in waves(np.array([0.0, np.pi]), 10, np.random.default_rng(3)))
    assert predictor.adapt(x[:, None], y).group == predictor.serving["task_1"]
    page = re.sub(r"\s+", " ", (tmp_path / "run" / "report.html").read_text())
    assert "The networks are initialisations (maml). A task is scored by 20 episodes" in page
    assert "the networks were trained for 120 steps" in " ".join(limit.found for limit in run.summary.limits)
    again = sr.run(sines(), tmp_path / "run", settings=settings, reporter=quiet)
    assert again.results.equals(run.results)
    with pytest.raises(InputError, match="auxiliaries are trained jointly"):
        sr.auxiliary(tmp_path / "run", "task_0", reporter=quiet)
