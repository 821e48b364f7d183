"""Networks in MLflow and in Weights & Biases: a run for each, with its name and the score of every epoch."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.logger import LoggerCallback
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.checks import check
from stg_ray.config import Config
from stg_ray.data.parts import index_of, write_parts
from stg_ray.progress import Reporter
from stg_ray.retraining import loggers
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.loggers import LONGEST, NetworkLogger
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network
from stg_ray.retraining.trials import run_trials
from tests.support.trials import SPEC


class Kept(LoggerCallback):
    """A callback that keeps what it is told, as the others send it."""

    def __init__(self) -> None:
        self.configs: dict[str, Mapping[str, Any]] = {}
        self.scores: dict[str, list[tuple[int, float]]] = {}
        self.ended: dict[str, bool] = {}

    def log_trial_start(self, trial: Any) -> None:
        self.configs[str(trial)] = trial.config

    def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, Any]) -> None:
        assert result["training_iteration"] == iteration
        self.scores.setdefault(str(trial), []).append((iteration, result["validation_score"]))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self.ended[str(trial)] = failed


def prepared(make_task_set: Callable[..., sr.TaskSet], folder: Path, *names: str) -> tuple[RunDir, Config]:
    """A run directory with parts, and a configuration that logs."""
    run = RunDir(folder / "my-run")
    config = sr.load_config(
        {"data": {"npz": "by hand"}, "retrain": {"loggers": list(names), "lr": 5e-3, "weight_decay": 1e-4}}
    )
    write_parts(make_task_set(), run.sub("parts"))
    return run, config


def trained(run: RunDir, config: Config, specs: list[NetworkSpec]) -> str:
    """Train networks in trials, and return what was said while they trained."""
    console = Console(file=io.StringIO(), soft_wrap=True)
    with Reporter(console).stage("retrain") as progress:
        assert run_trials(run, config, specs, progress) == {}
        return console.file.getvalue()  # type: ignore[attr-defined]


def course(run: RunDir, config: Config, spec: NetworkSpec) -> list[tuple[int, float]]:
    scores = run.read_json(f"{network_folder(spec, config)}/network.json")["course"]
    return list(enumerate(scores, start=1))


def logger_of(callback: LoggerCallback) -> NetworkLogger:
    logger = NetworkLogger("a server", lambda: callback)
    logger.setup()
    return logger


def trial_of(spec: NetworkSpec) -> SimpleNamespace:
    return SimpleNamespace(trial_id="1", config={"specs": [spec.to_dict()], "config": "long"})


@pytest.mark.usefixtures("ray_session")
def test_every_epoch_of_every_network_reaches_tunes_callbacks(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = prepared(make_task_set, tmp_path)
    kept = Kept()
    monkeypatch.setattr(loggers, "loggers_of", lambda *_: [NetworkLogger("a server", lambda: kept)])
    specs = [SPEC, replace(SPEC, plan="all_in_one", seed=7, draws=7)]
    assert "nothing more" not in trained(run, config, specs)
    assert kept.scores == {spec.title: course(run, config, spec) for spec in specs}
    assert kept.ended == {spec.title: False for spec in specs}
    about = kept.configs[SPEC.title]
    assert {about[key] for key in ("plan", "group", "seed", "epochs", "n_tasks")} == {"ours", 1, 5, 6, 3}
    assert about["tasks"] == ", ".join(SPEC.tasks)


def test_reports_hold_every_epoch_once(make_task_set: Callable[..., sr.TaskSet], tmp_path: Path) -> None:
    run, config = prepared(make_task_set, tmp_path)
    reported: list[tuple[int, float]] = []

    def report(epoch: int, scores: Any) -> None:
        reported.extend(enumerate(scores, start=epoch - len(scores) + 1))

    train_network(run, config, SPEC, device="cpu", report=report)
    assert reported == course(run, config, SPEC)


def test_a_restarted_trial_repeats_nothing_and_a_failed_one_is_named_so() -> None:
    kept = Kept()
    logger, trial = logger_of(kept), trial_of(SPEC)
    logger.log_trial_start(trial)
    logger.log_trial_result(1, trial, {"epoch": 2, "scores": [0.1, math.nan]})
    logger.log_trial_result(1, trial, {"epoch": 3, "scores": [0.1, math.nan, 0.3]})
    logger.log_trial_result(2, trial, {"failures": {"a network": "a loss became non-finite"}})
    logger.log_trial_end(trial)
    assert kept.scores == {SPEC.title: [(1, 0.1), (3, 0.3)]}
    assert kept.ended == {SPEC.title: True}


def test_names_of_many_tasks_are_cut_and_settings_of_tuning_are_there() -> None:
    kept = Kept()
    spec = replace(SPEC, tasks=tuple(f"task {t}" for t in range(1000)), settings=(("lr", 0.1),))
    logger_of(kept).log_trial_start(trial_of(spec))
    assert len(kept.configs[spec.title]["tasks"]) == LONGEST
    assert kept.configs[spec.title]["n_tasks"] == 1000
    assert kept.configs[spec.title]["lr"] == 0.1


@pytest.mark.parametrize("method", ["setup", "log_trial_start", "log_trial_result"])
def test_a_server_that_fails_ends_no_training(method: str) -> None:
    class Away(Kept):
        pass

    def fail(*_arguments: Any, **_info: Any) -> None:
        raise ConnectionError("no route\nto host")

    setattr(Away, method, fail)
    logger, trial = logger_of(Away()), trial_of(SPEC)
    logger.log_trial_start(trial)
    logger.log_trial_result(1, trial, {"epoch": 1, "scores": [0.1]})
    logger.log_trial_end(trial)
    logger.on_experiment_end([trial])
    said: list[str] = []
    logger.tell(said.append)
    logger.tell(said.append)
    assert said == ["nothing more is logged to a server: no route to host"]


@pytest.mark.parametrize(
    ("name", "advice"), [("MLflow", "set MLFLOW_TRACKING_URI"), ("Weights & Biases", "see WANDB_API")]
)
def test_what_fails_names_the_way_out(name: str, advice: str) -> None:
    def make() -> Any:
        raise ConnectionError("no route to host")

    logger = NetworkLogger(name, make)
    logger.setup()
    assert logger.failure.startswith(f"nothing more is logged to {name} ({advice}")
    assert logger.failure.endswith("): no route to host")


def test_a_missing_package_is_named_before_anything_runs(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config = prepared(make_task_set, tmp_path, "wandb")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(sr.InputError, match=r"has wandb, which is not installed: pip install 'stg_ray\[wandb\]'"):
        check(config, index_of(make_task_set()))


def test_where_networks_are_logged_does_not_decide_them() -> None:
    plain, logged = (sr.load_config("digits", [f"retrain.loggers={names}"]) for names in ("[]", "[mlflow, wandb]"))
    assert SPEC.fingerprint(plain) == SPEC.fingerprint(logged)
    assert plain.fingerprint(["retrain"]) == logged.fingerprint(["retrain"])
    with pytest.raises(sr.InputError, match="named more than once"):
        sr.load_config("digits", ["retrain.loggers=[mlflow, mlflow]"])


@pytest.mark.usefixtures("ray_session")
def test_mlflow_has_the_networks(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'stg_ray[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions would rather have a database
    run, config = prepared(make_task_set, tmp_path, "mlflow")
    assert "nothing more" not in trained(run, config, [SPEC])
    client = mlflow.MlflowClient()
    (logged,) = client.search_runs([client.get_experiment_by_name("my-run").experiment_id])
    assert logged.info.run_name == SPEC.title
    assert logged.info.status == "FINISHED"
    assert logged.data.params["plan"] == "ours"
    assert logged.data.tags["run"] == run.uri
    history = client.get_metric_history(logged.info.run_id, "validation_score")
    assert [(metric.step, metric.value) for metric in history] == course(run, config, SPEC)


@pytest.mark.usefixtures("ray_session")
def test_weights_and_biases_has_the_networks_and_ray_says_nothing_of_it(
    make_task_set: Callable[..., sr.TaskSet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is not installed: pip install 'stg_ray[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    run, config = prepared(make_task_set, tmp_path, "wandb")
    assert "nothing more" not in trained(run, config, [SPEC])
    assert "core_worker" not in capfd.readouterr().err
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    written = file.read_bytes()
    for text in ("validation_score", SPEC.title, "my-run"):
        assert text.encode() in written
