"""Joint training: one network that predicts all of its tasks, each by a head of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from stg_ray.data.rows import TaskRows
from stg_ray.models import BranchedNetwork, TaskNetwork, build_network, load_weights, split_network
from stg_ray.retraining.frozen import profiled_network
from stg_ray.retraining.held_out import halves
from stg_ray.retraining.jackknife import without_each_fold
from stg_ray.retraining.learning.base import Learning, Setting
from stg_ray.retraining.scoring import Scores, scores_of
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stacks import spec_stacks
from stg_ray.seeds import Stream
from stg_ray.tasks import observed
from stg_ray.training.adaptive import AdaptiveWeights
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.length import without_validation
from stg_ray.training.stacked import StackedTrainer, can_stack
from stg_ray.training.trainer import Rows, Trainer
from stg_ray.training.validation import Validation


class JointLearning(Learning):
    """The loss of a batch is the weighted mean over its labels, by the tasks' weights.

    The score is the mean primary metric on the validation rows, weighted alike, or that of the main task.

    Attributes:
        n_outputs: of all tasks of the run, which heads are filled up to in a stack.
    """

    network: TaskNetwork

    def __init__(self, setting: Setting) -> None:
        spec, config, rows = setting.spec, setting.config, setting.rows
        train, validated = rows["train"], rows["val"]
        self.rows, self.network = rows, _network_at_start(setting)
        weights = np.ones(len(spec.tasks)) if spec.weights is None else np.array(spec.weights)
        counting = np.array([name == spec.main for name in spec.tasks], dtype=float) if spec.main else weights
        self.validation = Validation(validated.inputs, validated.labels, counting, config.metric)
        self.settings = setting.training
        batches = CommonBatches(
            len(train),
            self.settings.batch_size,
            labels_per_sample=float((observed(train.labels) @ weights).mean()),
            draws=Draws(spec.draws, Stream.NETWORK_BATCHES, Stream.NETWORK_AUGMENTATION),
            ranks=setting.ranks,
        )
        if not self.validation.has_score(self.network.layout.tasks):
            self.settings = without_validation(self.settings, batches.n_steps)
        self.trainer = Trainer(
            self.network,
            Rows(train.inputs, torch.from_numpy(train.labels), train.samples),
            batches,
            self.settings,
            device=setting.device,
            task_weights=_adaptive(spec, weights, validated) if spec.adaptive else spec.weights,
        )
        self.optimization, self.compute = self.trainer.optimization, self.trainer.compute
        self.n_steps, self.n_samples, self.positions = batches.n_steps, len(train), validated.rows
        self.n_outputs = sum(task.n_outputs for task in setting.index.tasks)
        if setting.ranks.world == 1 and spec_stacks(config, spec) and can_stack(self.network, self.n_outputs):
            self.stack = (spec.draws, self.settings.model_dump_json(), train.samples.tobytes())

    @classmethod
    def in_step(cls, learnings: Sequence[JointLearning]) -> StackedTrainer:
        """Return the trainer of all their networks, whose heads are filled up to one number of outputs."""
        return StackedTrainer([learning.trainer for learning in learnings], learnings[0].n_outputs)

    def epoch(self, number: int, count: Callable[[int], None] | None) -> torch.Tensor:
        """Train on all rows once."""
        return self.trainer.epoch(number, None if count is None else partial(_count_rows, count))

    def outputs(self, split: str) -> torch.Tensor:
        """Return outputs (n, O) of all rows of the split."""
        return self.trainer.evaluate(self.rows[split].inputs)

    def judge(self, outputs: torch.Tensor) -> list[float]:
        """Score the outputs on all validation rows, and on each half."""
        parts = [np.ones(len(self.positions), dtype=bool), *halves(self.positions)]
        return self.validation.scores_of(self.network.layout, outputs, parts)

    def scores(self, split: str, outputs: torch.Tensor) -> Scores:
        """Score outputs of all rows of the split."""
        return scores_of(self.network.layout, outputs, self.rows[split].labels, self.validation.metric)

    def scores_without_folds(self, outputs: torch.Tensor) -> np.ndarray:
        """Score outputs of all validation rows without each fold of them."""
        return without_each_fold(self.network.layout, outputs, self.rows["val"], self.validation.metric)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the trainer."""
        return self.trainer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the trainer."""
        self.trainer.load_state_dict(state)


def _adaptive(spec: NetworkSpec, weights: np.ndarray, validation: TaskRows) -> AdaptiveWeights:
    """The weights of a network that is for its main task."""
    return AdaptiveWeights(weights.tolist(), spec.tasks.index(spec.main), validation.inputs, validation.labels)


def _network_at_start(setting: Setting) -> TaskNetwork:
    """The network as its training begins: freshly initialised, or cut out of the profiled one."""
    config, spec, index = setting.config, setting.spec, setting.index
    if spec.frozen:
        return split_network(profiled_network(setting.run, config, spec.tasks), spec.frozen)[1]
    network = build_network(config.model, index, [index.tasks[t] for t in setting.columns], spec.draws)
    if spec.start is not None:
        network.load_from(load_weights(setting.run, "profile/network.pt"), index.tasks)
    if spec.branches:
        frozen = config.retrain.freeze_shared and spec.start is not None
        return BranchedNetwork(network, spec.branches, config.retrain.shared_layers, frozen=frozen)
    return network


def _count_rows(count: Callable[[int], None], rows: np.ndarray, outputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Tell `count` the number of rows of a batch."""
    del outputs, labels
    count(len(rows))
