"""The specification of a network: all that decides its training, and its name among the networks of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stg_ray.artifacts.run_dir import network_place
from stg_ray.artifacts.storage import Storage
from stg_ray.config import WHERE_IT_RUNS, Config
from stg_ray.config.fingerprints import fingerprint_values
from stg_ray.config.meta import OF_BATCHES
from stg_ray.config.training import OF_AUTO
from stg_ray.config.tuning import with_tuned
from stg_ray.training.length import LENGTH

OF_PLANS = {"plans", "seeds", "folds", "random_groups", "networks", "membership_above", "start", "epochs", "forecast"}
"""Settings that decide which networks there are; a network's spec has those that decide its training."""

OF_BRANCHES = {"shared_layers", "freeze_shared"}
"""Settings of networks with branches."""

OF_FEW = ("settings", "pause", "fold", "main", "adaptive", "frozen")
"""Values of a spec that plans' networks do not have."""

Epochs = int | Literal["auto"]

Pause = int | Literal["end"]
"""Epoch after which a training pauses, before any test row is looked at; end: when it is over."""

SCORED = ("val", "test")
"""The splits that networks are scored on."""


@dataclass(frozen=True)
class NetworkSpec:
    """One network to be trained: a group of a plan, in one of its trainings.

    Attributes:
        plan: its name.
        group: number of the group.
        tasks: names of the group's tasks.
        seed: of the training, by which it is published.
        draws: seed of the network's random draws: its initialisation, its batches, dropout.
        epochs: of its training, or auto.
        weights: multiply its tasks' losses; all 1 if None.
        start: digest of the profiled network, if it starts from that.
        branches: number of tasks in each branch, in the order of the tasks; empty where it has none.
        probe: its scores on validation rows are all that is kept of it, for the search.
        main: the task that the network is for, whose score alone decides the epoch; of all tasks if empty.
        adaptive: whether the other tasks' weights follow their gradients (see `training.adaptive`).
        settings: of the configuration that are others in its training, by their names in `config.tuning.TUNED`.
        pause: where its training pauses; it does not decide which network it is.
        fold: of the rows that it is validated on (see `data.rows.rows_of_fold`).
        frozen: share of the profiled network's layers that stay as they are; it is trained on their features (see
            `retraining.frozen`).
    """

    plan: str
    group: int
    tasks: tuple[str, ...]
    seed: int
    draws: int
    epochs: Epochs
    weights: tuple[float, ...] | None = None
    start: str | None = None
    branches: tuple[int, ...] = ()
    probe: bool = False
    main: str = ""
    adaptive: bool = False
    settings: tuple[tuple[str, int | float], ...] = ()
    pause: Pause | None = None
    fold: int = 0
    frozen: float = 0.0

    @property
    def scored(self) -> tuple[str, ...]:
        """The splits that it is scored on."""
        return SCORED if not self.probe and self.pause is None else ("val",)

    def settled(self, config: Config) -> Config:
        """Return a configuration with the settings of this network."""
        return with_tuned(config, dict(self.settings))

    @property
    def folder(self) -> str:
        """Folder that the finished network is published in."""
        return network_place(self.plan, self.group, self.seed)

    @property
    def title(self) -> str:
        """The network in words, for logs and messages."""
        return f"{self.plan} group {self.group} seed {self.seed}"

    def fingerprint(self, config: Config) -> str:
        """Hash all that decides the trained network, whatever plan it is for: its name among the networks."""
        config = self.settled(config)
        of_others = {"profiled_lr"} if self.start is None else set()
        of_others |= OF_AUTO if self.epochs != "auto" else set()
        of_others |= set() if self.branches else OF_BRANCHES
        of_others |= {"freeze_shared"} if self.start is None else set()
        of_others |= set() if config.retrain.learner == "joint" else OF_BATCHES
        training = fingerprint_values(config.retrain, exclude={*OF_PLANS, *WHERE_IT_RUNS, *of_others})
        network = {"tasks": self.tasks, "seed": self.draws, "epochs": self.epochs, "weights": self.weights}
        network["start"] = self.start
        if self.branches:
            network["branches"] = self.branches
        if config.retrain.learner != "joint":
            network["meta"] = fingerprint_values(config.meta)
        few = ("probe", "main", "adaptive", "fold", "frozen")
        network |= {key: value for key in few if (value := getattr(self, key))}
        text = json.dumps([config.fingerprint(("seed", "data", "metric", "model")), training, network], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as values that JSON and Ray take; those that few networks have only where this one does."""
        values = asdict(self)
        return {key: values[key] for key in values if key not in OF_FEW or values[key]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkSpec:
        """Read what `to_dict` returned, from JSON too."""
        tuples = {key: tuple(values[key]) for key in ("tasks", "weights", "branches") if values.get(key) is not None}
        tuples["settings"] = tuple((key, value) for key, value in values.get("settings", ()))
        return cls(**{**values, **tuples})


def specs_of(trial: Mapping[str, Any]) -> list[NetworkSpec]:
    """Return the networks of a trial of Ray Tune, by its configuration."""
    return [NetworkSpec.from_dict(spec) for spec in trial["specs"]]


def fold_of(config: Config, seed: int) -> int:
    """Return the fold of a training, by its seed."""
    return (seed - config.seed) % config.retrain.folds


def most_epochs(epochs: Epochs, most: int) -> int:
    """Return a number of epochs, or the most that `auto` may take."""
    return most if epochs == "auto" else epochs


def epochs_of_plans(run: Storage, config: Config) -> int:
    """Return the epochs of a plan's networks; where scores decide them, they are taken to be those of the profile."""
    if config.retrain.epochs != "auto":
        return config.retrain.epochs
    return config.profile.epochs if config.profile.epochs != "auto" else int(run.read_json(LENGTH)["epochs"])
