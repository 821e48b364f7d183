"""Estimated times of initialisations: a meta-gradient and a score, measured on episodes of this shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from stg_ray.config import Config
from stg_ray.data.parts import PartIndex
from stg_ray.meta.episodes import Episodes
from stg_ray.meta.learners import after_steps
from stg_ray.meta.network import episode_task, kind_of, learner_of, meta_network
from stg_ray.planning.timing import seconds
from stg_ray.tasks import TaskSet


@dataclass(frozen=True)
class EpisodePace:
    """Seconds that one thread takes.

    Attributes:
        steps: of an epoch, whatever the tasks.
        step: seconds of a training step.
        score: seconds of the episodes of one task's score.
    """

    steps: int
    step: float
    score: float

    def epoch(self, n_tasks: int, n_train: int, n_val: int) -> float:
        """Return the seconds of an epoch of a network of `n_tasks` tasks, whatever the rows."""
        del n_train, n_val
        return self.steps * self.step + n_tasks * self.score


def samples_of_epoch(config: Config, index: PartIndex, n_tasks: int) -> int:
    """Return the number of samples that an epoch of a network of so many tasks takes, at most."""
    meta = config.meta
    if config.retrain.learner == "joint":
        return index.rows_at_most(n_tasks)
    ways = {"multiclass": meta.ways, "binary": 2, "regression": 1}[index.tasks[0].kind]
    return meta.steps_per_epoch * meta.episodes * ways * (meta.shots + meta.queries)


def measure_episodes(config: Config, task_set: TaskSet, index: PartIndex) -> EpisodePace:
    """Take a meta-gradient, and adapt, for a moment each, on episodes whose labels mean nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        kind = kind_of(index.tasks, config.retrain.learner)
        model = config.model.model_copy(update={"weights": None})
        network = meta_network(config.model_copy(update={"model": model}), index, kind, 0)
        learner, episodes = learner_of(config), _episodes(config, task_set, episode_task(config, kind).n_outputs)
        step = seconds(lambda: learner.gradients(network.start, episodes))
        adapt = seconds(lambda: after_steps(network.start, learner, episodes, [config.meta.steps]))
    finally:
        torch.set_num_threads(threads)
    return EpisodePace(config.meta.steps_per_epoch, step, adapt * config.meta.scored / len(episodes))


def _episodes(config: Config, task_set: TaskSet, n_outputs: int) -> Episodes:
    """Episodes of the run's shape, of the first training rows."""
    meta, rows = config.meta, np.asarray(task_set.rows("train"))

    def side(each: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (meta.episodes, n_outputs * each)
        inputs = torch.from_numpy(np.asarray(task_set.inputs[np.resize(rows, shape[0] * shape[1])]))
        classes = torch.arange(n_outputs).repeat_interleave(each).expand(shape)
        labels = torch.zeros(shape) if n_outputs == 1 else classes
        return inputs.reshape(*shape, *inputs.shape[1:]), labels

    return Episodes(*side(meta.shots), *side(meta.queries))
