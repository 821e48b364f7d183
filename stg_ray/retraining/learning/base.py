"""The interface of what a network learns: an epoch of its training, its outputs for scores, and these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config, TrainingConfig
from stg_ray.config.recipes import as_number
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.data.rows import TaskRows
from stg_ray.meta.network import MetaNetwork
from stg_ray.models import TaskNetwork
from stg_ray.retraining.frozen import features_folder
from stg_ray.retraining.scoring import Scores
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.training.compute import Compute
from stg_ray.training.optimization import Optimization
from stg_ray.training.ranks import Ranks
from stg_ray.training.stacked import StackedTrainer
from stg_ray.training.trainer import RATES


@dataclass(frozen=True)
class Setting:
    """What a training is made of.

    Attributes:
        rows: of the network's tasks, by split.
        columns: numbers of these tasks among all.
    """

    run: Storage
    config: Config
    spec: NetworkSpec
    device: torch.device | str
    ranks: Ranks
    index: PartIndex
    columns: list[int]
    rows: dict[str, TaskRows]

    @classmethod
    def of(cls, run: Storage, config: Config, spec: NetworkSpec, device: torch.device | str, ranks: Ranks) -> Setting:
        """Read the rows of the network's tasks."""
        parts = run.sub(features_folder(run, spec.start, spec.frozen) if spec.start and spec.frozen else "parts")
        index = read_index(parts)
        columns = [index.names.index(name) for name in spec.tasks]
        rows = {split: TaskRows(parts, index, split, columns, spec.fold) for split in ("train", *spec.scored)}
        return cls(run, config, spec, device, ranks, index, columns, rows)

    @property
    def training(self) -> TrainingConfig:
        """The settings of the training: with its epochs, and its learning rate where it starts from the profile.

        Features are trained on as they are: those of a flipped image are others than the flipped ones of the image.
        """
        retrain, spec = self.config.retrain, self.spec
        share = 1.0 if spec.start is None else retrain.profiled_lr
        as_they_are = {"flip": False, "crop": 0} if spec.frozen else {}
        return retrain.model_copy(update={"epochs": spec.epochs, "lr": as_number(retrain.lr) * share, **as_they_are})


class Learning(ABC):
    """A network that learns.

    What an epoch draws at random depends on the spec and the epoch's number alone, so that a training that goes on from
    `state_dict` ends like an undisturbed one.

    Attributes:
        network: as it is now; it is changed in place.
        optimization: its optimizer and learning rate.
        settings: of the training.
        n_steps: steps of an epoch.
        n_samples: that an epoch takes, for the cost.
        compute: where it is trained.
        positions: (n,) of its outputs on the validation split; those of even and of odd ones are the halves that choose
            each other's epoch (see `held_out`).
        rates: what is to be lowered where a loss becomes non-finite, in words.
        stack: equal for networks that are trained in step; None: this one is trained by itself.
    """

    network: TaskNetwork | MetaNetwork
    optimization: Optimization
    settings: TrainingConfig
    n_steps: int
    n_samples: int
    compute: Compute
    positions: np.ndarray
    rates: str = RATES
    stack: Hashable = None

    @abstractmethod
    def __init__(self, setting: Setting) -> None: ...

    @abstractmethod
    def epoch(self, number: int, count: Callable[[int], None] | None) -> torch.Tensor:
        """Train for one epoch, and return the (K,) sums of the tasks' losses over this rank's rows.

        Args:
            number: of the epoch, from 1.
            count: called with the number of samples that this rank takes in a step.
        """

    @abstractmethod
    def outputs(self, split: str) -> torch.Tensor:
        """Return the outputs (n, O) that the network as it is now is scored by, on the CPU."""

    @abstractmethod
    def judge(self, outputs: torch.Tensor) -> list[float]:
        """Return the score of outputs on the validation split: of all, and of each half; -inf where there is none."""

    @abstractmethod
    def scores(self, split: str, outputs: torch.Tensor) -> Scores:
        """Return all metrics of the tasks by outputs on a split."""

    def scores_without_folds(self, outputs: torch.Tensor) -> np.ndarray | None:
        """Score outputs on the validation split without each fold of its rows (see `jackknife`).

        Returns:
            (F, K) primary metrics; None where outputs are not of these rows.
        """
        del outputs
        return None

    @classmethod
    def in_step(cls, learnings: Sequence[Any]) -> StackedTrainer:
        """Return what trains networks of this class in step, those with one `stack`."""
        raise NotImplementedError(f"{cls.__name__} has no stack")

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which a later process can go on with the next epoch."""
        return {"network": self.network.state_dict(), "optimization": self.optimization.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned; other keys of the mapping are left alone."""
        self.network.load_state_dict(state["network"])
        self.optimization.load_state_dict(state["optimization"])
