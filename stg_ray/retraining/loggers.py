"""Trials in MLflow and in Weights & Biases, by Ray Tune's own callbacks: a run there for each network.

A run has the network's name, what it is trained for, and its score on the validation rows, epoch by epoch. Where they
are kept is up to MLflow and to Weights & Biases: MLFLOW_TRACKING_URI, WANDB_API_KEY, WANDB_MODE and so on.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.logger import LoggerCallback

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.errors import one_line
from stg_ray.retraining.specs import specs_of

NAMES = {"mlflow": "MLflow", "wandb": "Weights & Biases"}
ADVICE = {
    "MLflow": "set MLFLOW_TRACKING_URI to where it can; its client alone, mlflow-skinny, needs a server, pip install "
    "'stg_ray[mlflow]' brings a database",
    "Weights & Biases": "see WANDB_API_KEY and WANDB_MODE",
}
"""What to do where nothing can be logged."""
LONGEST = 500
"""Characters of a value: more than MLflow takes in all its versions ends in an error."""
PROJECT = "stg_ray"
"""Project in Weights & Biases, unless WANDB_PROJECT names another."""
UPLOAD_SECONDS = 60
"""Time that Weights & Biases has, in the end, for what is not uploaded yet."""


class NetworkLogger(LoggerCallback):  # type: ignore[misc]  # Ray's types are skipped, so its classes are Any
    """A callback of Tune that tells another one, which logs somewhere, of networks as they are known here.

    What fails there is kept as `failure`, and nothing more is logged: no training ends because a server is away.

    Args:
        name: of where it is logged to.
        make: makes the other callback.

    Attributes:
        failure: why nothing is logged any more; empty while all is well.
    """

    def __init__(self, name: str, make: Callable[[], LoggerCallback]) -> None:
        self.name, self.make = name, make
        self.failure = self.told = ""
        self.epochs: dict[str, int] = {}
        self.failed: set[str] = set()

    def setup(self, *arguments: Any, **info: Any) -> None:
        """Connect."""

        def connect() -> None:
            self.callback = self.make()
            self.callback.setup(*arguments, **info)

        self._try(connect)

    def log_trial_start(self, trial: Any) -> None:
        """Begin a run for the network."""
        self._try(lambda: self.callback.log_trial_start(_Network(trial)))

    def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, Any]) -> None:
        """Log the scores that are reported, of epochs that are not logged yet: a restarted trial repeats some."""
        del iteration
        if "failures" in result:
            self.failed.add(trial.trial_id)
        scores = result.get("scores", [])
        first = result.get("epoch", 0) - len(scores) + 1
        for epoch, score in enumerate(scores, start=first):
            if epoch > self.epochs.get(trial.trial_id, 0):
                self.epochs[trial.trial_id] = epoch
                self._log(trial, epoch, score)

    def _log(self, trial: Any, epoch: int, score: float) -> None:
        if math.isfinite(score):  # there is none where no task has a score
            values = {"training_iteration": epoch, "validation_score": score}
            self._try(lambda: self.callback.log_trial_result(epoch, _Network(trial), values))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the network's run."""
        failed = failed or trial.trial_id in self.failed
        self._try(lambda: self.callback.log_trial_end(_Network(trial), failed))

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """Let what is not uploaded yet arrive."""
        self._try(lambda: self.callback.on_experiment_end(trials, **info))

    def tell(self, say: Callable[[str], None]) -> None:
        """Say once what failed, if something did."""
        if self.failure != self.told:
            self.told = self.failure
            say(self.failure)

    def _try(self, work: Callable[[], None]) -> None:
        if self.failure:
            return
        try:
            work()
        except Exception as error:  # of a package, or a server, that is not ours
            advice = f" ({ADVICE[self.name]})" if self.name in ADVICE else ""
            self.failure = f"nothing more is logged to {self.name}{advice}: {one_line(error)}"


class _Network:
    """A trial as it is logged: with a network's name, and with few values in place of the whole configuration."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial
        spec = specs_of(trial.config)[0]  # networks that are logged have a trial each
        self.config = {
            "plan": spec.plan,
            "group": spec.group,
            "seed": spec.seed,
            "epochs": spec.epochs,
            "n_tasks": len(spec.tasks),
            "tasks": _shortened(", ".join(spec.tasks)),
            **dict(spec.settings),
        }
        self._name = spec.title

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def __str__(self) -> str:
        return self._name

    def __hash__(self) -> int:
        return hash(self._trial)

    def __eq__(self, other: object) -> bool:
        return bool(self._trial == (other._trial if isinstance(other, _Network) else other))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def loggers_of(run: RunDir, names: Sequence[str], stage: str) -> list[NetworkLogger]:
    """Return the callbacks of `retrain.loggers`.

    Args:
        stage: whose trainings they are.
    """
    experiment = run.uri.rstrip("/").rpartition("/")[2]
    makes = {"mlflow": lambda: _mlflow(run, experiment, stage), "wandb": lambda: _wandb(experiment)}
    return [NetworkLogger(NAMES[name], makes[name]) for name in names]


def _mlflow(run: RunDir, experiment: str, stage: str) -> LoggerCallback:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"),
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", experiment),
        tags={"run": run.uri, "stage": stage},
    )


def _wandb(experiment: str) -> LoggerCallback:
    from ray.air.integrations.wandb import WandbLoggerCallback

    class WithoutRestarts(WandbLoggerCallback):  # type: ignore[misc]  # as above
        """Ray's own restarts its actors, and says on the terminal that it may not be able to: so they are not."""

        @property
        def _remote_logger_class(self) -> Any:
            return self.actor_class

        @_remote_logger_class.setter
        def _remote_logger_class(self, made: Any) -> None:
            self.actor_class = made and made.options(max_restarts=0, max_task_retries=0)

    return WithoutRestarts(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        group=os.environ.get("WANDB_RUN_GROUP", experiment),
        upload_timeout=UPLOAD_SECONDS,
        dir=os.environ.get("WANDB_DIR", os.getcwd()),  # its actors work in folders of Ray's, which go with it
        mode=os.environ.get("WANDB_MODE"),  # actors of a cluster do not have this program's environment
    )
