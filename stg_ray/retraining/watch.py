"""Callbacks of Ray Tune that follow the trainings of networks: progress, a gauge, and the reasons of failures."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.calls import root_cause
from stg_ray.cluster.telemetry import set_gauge
from stg_ray.config import Config
from stg_ray.retraining.kept import is_trained, network_folder
from stg_ray.retraining.specs import specs_of


class Watch(TrialProgressCallback):  # type: ignore[misc]  # Ray's types are skipped, so its classes are Any
    """A callback that notes how far the trials are, and why those that failed did.

    Tune adds a callback that prints, at any verbosity, unless there is one of its class; this one prints nothing.

    Attributes:
        stage: whose trainings they are.
        epochs_of_trial: epochs that each trial has reported, by its id.
        before: of these, those that an interrupted run had trained, by the trial's id.
        ended: numbers of networks of the trials that are over, by their ids.
        failures: reasons of the networks that are not finished in the end, by their folders.
    """

    def __init__(self, run: RunDir, config: Config, stage: str) -> None:
        self.run, self.config, self.stage = run, config, stage
        self.epochs_of_trial: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.failures: dict[str, str] = {}

    def on_trial_result(self, *, trial: Any, result: Mapping[str, Any], **_info: Any) -> None:
        """Note the epochs that a trial reports: tried again, it leaves out those of networks that it has finished."""
        if "before" in result and trial.trial_id not in self.epochs_of_trial:  # not those of its own first try
            self.before[trial.trial_id] = result["before"]
        before = self.epochs_of_trial.get(trial.trial_id, 0)
        self.epochs_of_trial[trial.trial_id] = max(before, result.get("epoch", 0))

    def on_trial_complete(self, *, trial: Any, **_info: Any) -> None:
        """Note that a trial is over."""
        self.ended[trial.trial_id] = len(specs_of(trial.config))

    def on_trial_error(self, **_info: Any) -> None:
        """Print nothing: what failed is said once, in the end."""

    def on_step_end(self, *, trials: Sequence[Any], **_info: Any) -> None:
        """Publish the number of running trials."""
        set_gauge(self.run, self.stage, "trials_running", sum(trial.status == "RUNNING" for trial in trials))

    def on_experiment_end(self, *, trials: Sequence[Any], **_info: Any) -> None:
        """Note the reasons of the networks that are not finished."""
        for trial in trials:
            for spec in specs_of(trial.config):
                if not is_trained(self.run, self.config, spec):
                    error = _error_of(trial)
                    said = trial.last_result.get("failures", {}).get(spec.title)
                    if reason := said or (error and root_cause(error)):
                        self.failures[network_folder(spec, self.config)] = reason


def _error_of(trial: Any) -> BaseException | None:
    """The last error of a trial; None where Tune's file of it is cut off, because the disk is full."""
    try:
        error: BaseException | None = trial.get_pickled_error()
    except (OSError, EOFError, pickle.UnpicklingError):
        return None
    return error
