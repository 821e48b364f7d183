"""Looks at the tasks' effects on each other, at some of the steps of a training on all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stg_ray.config import ProfileConfig
from stg_ray.training.effects import effects_of
from stg_ray.training.evaluation import taken
from stg_ray.training.trainer import Trainer


def looks_file(method: str) -> str:
    """Return the file of the sums of the looks that a profile took for an affinity."""
    return f"profile/{method}.arrow"


def look_steps(method: str, n_tasks: int) -> float:
    """Return how many training steps a look takes: with 14 tasks (an mlp; jobs/bench/looks.py) 15 of tag, 27 of etap,
    165 of transfer_gain, which takes a step on every pair of tasks."""
    return {"tag": 1.0, "etap": 2.0, "transfer_gain": 0.8 * (n_tasks + 1)}[method] * n_tasks


def share_with_looks(profile: ProfileConfig, n_tasks: int) -> float:
    """Return how many times as long an epoch of the profile takes with the looks of `profile.looks`; 1 without."""
    return 1 + sum(look_steps(method, n_tasks) / every for method, every in profile.looks.items())


class Looks:
    """Sums of the effects of steps at every `every`-th step of a training, from the first on.

    Args:
        trainer: of all tasks; it is left as it was.
        every: number of steps from one look to the next.
        method: the affinity whose effects are looked at (see `effects.effects_of`).

    Attributes:
        sums: `total` and `count` (K, K) of the effects that are defined.
        n_steps: steps of the training so far.
    """

    def __init__(self, trainer: Trainer, every: int, method: str) -> None:
        self.trainer, self.every, self.method = trainer, every, method
        n_tasks = len(trainer.network.layout.tasks)
        self.sums = {key: np.zeros((n_tasks, n_tasks)) for key in ("total", "count")}
        self.n_steps = 0

    def record(self, rows: np.ndarray, outputs: torch.Tensor, target: torch.Tensor) -> None:
        """Look at a batch before its step, where it is one to look at (see `trainer.Record`)."""
        del outputs  # the effects are those of the loss, which is computed once more for its gradients
        is_between = self.n_steps % self.every
        self.n_steps += 1
        if is_between:
            return
        trainer = self.trainer
        inputs = taken(trainer.rows.inputs, torch.from_numpy(rows)).to(trainer.compute.device)
        if trainer.augment is not None:
            inputs = trainer.augment(inputs, torch.from_numpy(rows))
        effects = effects_of(self.method, trainer, inputs, target).cpu().numpy()
        self.sums["count"] += ~np.isnan(effects)
        self.sums["total"] += np.nan_to_num(effects)


class ProfileLooks(Looks):
    """Looks of a profile, every rank at its rows of a batch.

    Attributes:
        whole: (2, K, K) `total` and `count` over all ranks and the epochs that are finished.
    """

    def __init__(self, trainer: Trainer, every: int, method: str) -> None:
        super().__init__(trainer, every, method)
        self.whole = torch.zeros(2, *self.sums["total"].shape, dtype=torch.float64)

    def finish_epoch(self) -> None:
        """Add the looks of the epoch, of all ranks."""
        own = torch.from_numpy(np.stack([self.sums["total"], self.sums["count"]]))
        self.whole += self.trainer.batches.ranks.sum(own, self.trainer.compute.device)
        for sums in self.sums.values():
            sums[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which a later process can go on with the next epoch."""
        return {"whole": self.whole, "n_steps": self.n_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        self.whole, self.n_steps = state["whole"], state["n_steps"]

    def arrays(self, samples: int) -> dict[str, np.ndarray]:
        """Return what the file of the looks holds: the sums, and the number of training rows."""
        total, count = self.whole.numpy()
        return {"total": total, "count": count, "samples": np.array(samples)}
