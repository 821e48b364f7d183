"""Meta-learning: an initialisation that adapts to each of the network's tasks in a few steps on a few rows.

A task's scores are of episodes that are the same for every plan: support rows of the training split, query rows of the
split that is scored. Each half of the validation episodes has query rows of its own half of the validation rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.errors import InputError
from stg_ray.meta.episodes import Episodes, Pool, RowSampler
from stg_ray.meta.learners import after_steps
from stg_ray.meta.network import MetaNetwork, kind_of, learner_of, meta_network
from stg_ray.retraining.held_out import halves
from stg_ray.retraining.learning.base import Learning, Setting
from stg_ray.retraining.scoring import Scores
from stg_ray.retraining.specs import SCORED
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task, observed
from stg_ray.training.compute import Compute
from stg_ray.training.length import without_validation
from stg_ray.training.metrics import all_scores, primary_score
from stg_ray.training.optimization import Optimization

FEWEST_VALUES = 3
"""Rows of a regression that are judged by, at least: fewer hardly vary."""


@dataclass(frozen=True)
class Fixed:
    """Episodes of one task that it is scored on, drawn alike whenever they are needed.

    Attributes:
        task: its number among the network's tasks.
        sampler: of this task alone.
        n: number of episodes.
        seed: of the run.
        key: number of the task among all, of the split and of the half.
    """

    task: int
    sampler: RowSampler
    n: int
    seed: int
    key: tuple[int, int, int]

    @property
    def half(self) -> int:
        """Which half of the validation rows the query rows are of."""
        return self.key[2]

    def draw(self) -> Episodes:
        """Return the episodes."""
        return self.sampler.draw(self.n, generator(Stream.SCORED_EPISODES, self.seed, *self.key))


class MetaLearning(Learning):
    """Every step is of `meta.episodes` episodes of the network's tasks; the score is the mean of the tasks' metrics."""

    network: MetaNetwork
    rates = "the learning rates (meta.rate and lr)"

    def __init__(self, setting: Setting) -> None:
        config, spec, meta = setting.config, setting.spec, setting.config.meta
        self.own = tuple(setting.index.tasks[t] for t in setting.columns)
        self.kind, self.learner = kind_of(self.own, config.retrain.learner), learner_of(config)
        self.network = meta_network(config, setting.index, self.kind, spec.draws)
        self.compute = Compute(torch.device(setting.device))
        self.compute.place(self.network)
        self.metric, self.meta, self.draws = config.metric, meta, spec.draws
        self.sampler = sampler_of(config, self.own, setting.rows["train"])
        self.fixed = {split: list(_fixed(setting, self.own, split)) for split in spec.scored}
        drawn = {split: [(each, each.draw()) for each in fixed] for split, fixed in self.fixed.items()}
        self.labels = {s: _joined([e.query_labels.flatten().numpy() for _, e in own]) for s, own in drawn.items()}
        self.of_task = {
            s: _joined([np.full(e.query_labels.numel(), each.task) for each, e in own]) for s, own in drawn.items()
        }
        self.positions = _joined([np.full(e.query_labels.numel(), each.half) for each, e in drawn["val"]])
        self.settings, self.n_steps = setting.training, meta.steps_per_epoch
        if not any(self.own[each.task].is_scored for each in self.fixed["val"]):
            self.settings = without_validation(self.settings, self.n_steps)
        epochs = self.settings.epochs
        self.optimization = Optimization(
            self.network, self.settings, None if epochs == "auto" else epochs * self.n_steps
        )
        self.n_samples = self.n_steps * meta.episodes * self.sampler.ways * (meta.shots + meta.queries)

    def epoch(self, number: int, count: Callable[[int], None] | None) -> torch.Tensor:
        """Take the steps of an epoch, and sum up the losses of the query rows by task."""
        rng = generator(Stream.EPISODES, self.draws, number)
        totals = torch.zeros(len(self.own), dtype=torch.float64)
        for _ in range(self.n_steps):
            episodes = self.sampler.draw(self.meta.episodes, rng)
            assert episodes.tasks is not None, "they are drawn from tasks"
            start = self.network.start
            slopes, of_rates, losses = self.learner.gradients(start, episodes.to(self.compute.device))
            learned = [of_rates[name] for name in start.parameters] if self.meta.learn_rates else []
            self.optimization.follow([*(slopes[name] for name in start.parameters), *learned])
            totals.index_add_(0, episodes.tasks, losses.detach().double().cpu())
            if count is not None:
                count(self.n_samples // self.n_steps)
        return totals

    def outputs(self, split: str) -> torch.Tensor:
        """Return outputs (n, O) of the query rows of all episodes of the split."""
        start, steps, found = self.network.start, self.meta.steps, []
        for each in self.fixed[split]:
            episodes = each.draw().to(self.compute.device)
            found.append(after_steps(start, self.learner, episodes, [steps])[steps].flatten(0, 1).cpu())
        return torch.cat(found) if found else torch.zeros(0, self.network.network.layout.n_outputs)

    def judge(self, outputs: torch.Tensor) -> list[float]:
        """Return the mean primary metric over the tasks that have one."""
        parts = [np.ones(len(self.positions), dtype=bool), *halves(self.positions)]
        return [self._mean(outputs, part) for part in parts]

    def scores(self, split: str, outputs: torch.Tensor) -> Scores:
        """Return all metrics of every task, over the query rows of its episodes; NaN where it has none."""
        return {
            task.name: all_scores(task, *self._predicted(split, t, outputs), self.metric)
            for t, task in enumerate(map(self._in_episodes, self.own))
        }

    def _mean(self, outputs: torch.Tensor, part: np.ndarray) -> float:
        values = [
            primary_score(task, *self._predicted("val", t, outputs, part), self.metric)
            for t, task in enumerate(map(self._in_episodes, self.own))
        ]
        return float(np.nanmean(values)) if np.isfinite(values).any() else -math.inf

    def _in_episodes(self, task: Task) -> Task:
        """A task as it is in its episodes: with some of its classes, which have other numbers in each."""
        return task if self.kind != "multiclass" else replace(task, n_classes=self.meta.ways, classes=None)

    def _predicted(
        self, split: str, t: int, outputs: torch.Tensor, part: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of a task's query rows, or of those of a part, and their labels."""
        rows = self.of_task[split] == t
        rows = rows if part is None else rows & part
        own, labels = outputs[torch.from_numpy(rows)], self.labels[split][rows]
        if self.kind == "regression":
            center, scale = self.own[t].center, self.own[t].scale
            return own[:, 0].numpy() * scale + center, labels * scale + center
        probabilities = own.softmax(dim=1).numpy()
        return probabilities[:, 1] if self.kind == "binary" else probabilities, labels


def sampler_of(config: Config, tasks: Sequence[Task], train: TaskRows) -> RowSampler:
    """Return the sampler of the episodes that the tasks are trained on.

    Raises:
        InputError: a task has too few classes or training rows.
    """
    meta = config.meta
    pool = Pool(train.inputs, train.labels, np.arange(len(train)))
    try:
        return RowSampler(tasks, pool, None, ways=meta.ways, shots=meta.shots, queries=meta.queries)
    except InputError as error:
        raise InputError(f"retrain.learner={config.retrain.learner}: {error} (meta), or leave the task out") from error


def check_rows(parts: Storage, config: Config) -> None:
    """Refuse, before anything is trained, tasks with too few training rows for an episode.

    Raises:
        InputError: there is such a task.
    """
    index = read_index(parts)
    if config.retrain.learner != "joint":
        sampler_of(config, index.tasks, TaskRows(parts, index, "train", range(len(index.tasks))))


def _fixed(setting: Setting, tasks: Sequence[Task], split: str) -> list[Fixed]:
    """The episodes that the tasks are scored on; none of a task that has too few rows in this split."""
    config, train, judged = setting.config, setting.rows["train"], setting.rows[split]
    found = []
    for t, task in enumerate(tasks):
        support = Pool(train.inputs, train.labels[:, [t]], np.arange(len(train)))
        parts = halves(judged.rows) if split == "val" else (np.ones(len(judged), dtype=bool),)
        for half, part in enumerate(parts):
            query = Pool(judged.inputs, judged.labels[:, [t]], np.flatnonzero(part))
            sampler = _of_rows(config, task, support, query)
            if sampler is not None:
                n = -(-config.meta.scored // len(parts))
                key = (setting.columns[t], SCORED.index(split), half)
                found.append(Fixed(t, sampler, n, config.seed, key))
    return found


def _of_rows(config: Config, task: Task, support: Pool, query: Pool) -> RowSampler | None:
    """A sampler with as many query rows of each class as there are, at most `meta.queries`; None if these are too few.

    The classes are those with enough support rows; if some have hardly any query rows, those that have most.
    """
    meta = config.meta
    labels = query.labels[query.rows, 0]
    labels = labels[observed(labels)]
    if task.kind == "regression":
        queries = min(meta.queries, len(labels))
        if queries < FEWEST_VALUES:
            return None
    else:
        ways = 2 if task.kind == "binary" else meta.ways
        given = support.labels[support.rows, 0]
        counts = sorted(
            (int((labels == c).sum()) for c in np.unique(given[observed(given)]) if (given == c).sum() >= meta.shots),
            reverse=True,
        )
        queries = min(meta.queries, counts[ways - 1]) if len(counts) >= ways else 0
        if queries == 0:
            return None
    return RowSampler([task], support, query, ways=meta.ways, shots=meta.shots, queries=queries)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)
