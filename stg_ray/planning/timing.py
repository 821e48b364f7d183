"""Estimated training times, from a short measurement on this machine: one thread, some rows of the task set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from stg_ray.config import Config, MetricConfig, ModelConfig, TrainingConfig
from stg_ray.data.parts import PartIndex
from stg_ray.models import build_network
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stacks import in_trials
from stg_ray.seeds import Stream
from stg_ray.tasks import Task, TaskSet, observed
from stg_ray.training.auto import DeviceFacts, resolve_auto
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.metrics import primary_score
from stg_ray.training.trainer import Rows, Trainer

MEASURED_SECONDS = 0.4
"""Of each of the few measurements."""
MEASURED_ROWS = 1024
"""Training rows that are predicted, at most; steps are trained on the first batch of them."""
SCORED_CLASSES = 50
"""Classes of one task that are scored, at most; of more, the time grows with their number."""
START_SECONDS = 4.0
"""Until the first worker of a stage trains: Ray's processes import torch."""
NEXT_SECONDS = 3.0
"""The same of each further experiment of a stage: Tune ends its workers with each, and the next ones import torch anew
(3.1 to 3.7 s on two cores)."""
TRIAL_SECONDS = 0.5
"""Of a trial beside its epochs: it is scheduled, reads its rows, is scored, writes its network."""


IN_STEP = 0.4
"""Of the time of a small network, what each further one takes that is trained in step with it: 0.2 with 16 units, 0.7
with 256 (40 networks of yeast, jobs/bench/small_networks.py)."""


@dataclass(frozen=True)
class Pace:
    """Seconds that one thread takes.

    Attributes:
        n_tasks: K, the number of tasks of the task set.
        step: seconds per sample of a training step, of networks of 1 and of K tasks.
        predict: seconds per sample of a prediction, likewise.
        score: seconds of one task's score on the validation rows.
    """

    n_tasks: int
    step: tuple[float, float]
    predict: tuple[float, float]
    score: float

    def epoch(self, n_tasks: int, n_train: int, n_val: int) -> float:
        """Return the seconds of an epoch of a network of `n_tasks` tasks, the choice of the best epoch included."""
        share = (n_tasks - 1) / max(1, self.n_tasks - 1)
        step, predict = ((1 - share) * pair[0] + share * pair[1] for pair in (self.step, self.predict))
        return n_train * step + n_val * predict + n_tasks * self.score


class AnyPace(Protocol):
    """What tells the seconds of an epoch."""

    def epoch(self, n_tasks: int, n_train: int, n_val: int) -> float:
        """Return the seconds of an epoch of a network of `n_tasks` tasks."""
        ...


def measure_pace(config: Config, training: TrainingConfig, task_set: TaskSet, index: PartIndex) -> Pace:
    """Train and evaluate networks of one task and of all for a moment each.

    Args:
        config: of the run; its model is measured.
        training: settings of the profile or of the groups' networks; `auto` becomes what pays on this CPU.
        task_set: whose first training rows are used.
        index: of the task set's parts.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = config.model.model_copy(update={"weights": None})
        training = resolve_auto(
            training, DeviceFacts.of_cpu(), build_network(model, index, index.tasks, 0), index.input_shape
        )
        one, all_tasks = (_pace(model, training, task_set, index, n) for n in (1, len(index.tasks)))
        n_scored = int(observed(task_set.labels[task_set.rows("val"), 0]).sum())
        score = seconds_of_score(index.tasks[0], n_scored, config.metric, MEASURED_SECONDS)
    finally:
        torch.set_num_threads(threads)
    return Pace(len(index.tasks), (one[0], all_tasks[0]), (one[1], all_tasks[1]), score)


def seconds_of_score(task: Task, n_rows: int, metric: MetricConfig, measured_seconds: float) -> float:
    """Measure the seconds of a task's score on noise, of its first classes where it has thousands.

    Args:
        n_rows: number of rows with labels.
        measured_seconds: that are spent on it; scored once if 0.
    """
    if n_rows == 0:
        return 0.0
    rng, share = np.random.default_rng(0), 1.0
    noise, labels = rng.random(n_rows), rng.permutation(n_rows) / n_rows
    if task.kind == "binary":
        labels = (labels >= 0.5).astype(float)
    elif task.kind == "multiclass":
        measured = min(task.n_classes, SCORED_CLASSES)
        share = task.n_classes / measured
        task = replace(task, n_classes=measured, classes=None, class_weights=None)
        noise, labels = rng.random((n_rows, measured)), (np.arange(n_rows) % measured).astype(float)
    return seconds(lambda: primary_score(task, noise, labels, metric), measured_seconds) * share


def _pace(
    model: ModelConfig, training: TrainingConfig, task_set: TaskSet, index: PartIndex, n_tasks: int
) -> tuple[float, float]:
    """Measure the seconds per sample of a training step, and of a prediction."""
    rows = task_set.rows("train")[:MEASURED_ROWS]
    inputs = torch.from_numpy(np.ascontiguousarray(task_set.inputs[rows]))
    labels = torch.from_numpy(np.ascontiguousarray(task_set.labels[rows, :n_tasks]))
    n_rows = min(training.batch_size, len(rows))
    trainer = Trainer(
        build_network(model, index, index.tasks[:n_tasks], 0),
        Rows(inputs[:n_rows], labels[:n_rows], rows[:n_rows]),
        CommonBatches(n_rows, n_rows, 1.0, Draws(0, Stream.NETWORK_BATCHES)),  # an epoch is one step
        training.model_copy(update={"epochs": 1000}),
    )
    with torch.random.fork_rng(devices=[]):
        step = seconds(lambda: trainer.epoch(1))
    return step / n_rows, seconds(lambda: trainer.evaluate(inputs)) / len(rows)


def seconds(work: Callable[[], object], measured_seconds: float = MEASURED_SECONDS) -> float:
    """Measure the median seconds of a call, over as many as fit into the time; the first, a warm-up, is left out."""
    work()
    times: list[float] = []
    until = time.perf_counter() + measured_seconds
    while not times or time.perf_counter() < until:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def seconds_of_starts(config: Config) -> float:
    """Return the seconds until trainings of the retrain stage begin, over its experiments of Ray Tune: the rounds of a
    search, and plans whose length is what another plan spent, have experiments of their own. The forecast's, which long
    trainings have, is left out."""
    retrain, search = config.retrain, config.search
    further = int(retrain.epochs == "auto" and "all_in_one_equal_cost" in retrain.plans)
    if "searched" in retrain.plans:
        further += search.rounds + (search.finalists > 1)
    return START_SECONDS + NEXT_SECONDS * further


def seconds_of_trials(
    specs: Sequence[NetworkSpec], pace: AnyPace, index: PartIndex, cpus: int, config: Config, workers: int = 1
) -> float:
    """Estimate the seconds until networks are trained, as many at a time as there is room for.

    Args:
        specs: of the networks, with numbers of epochs.
        cpus: of the machine or cluster.
        config: of the run, which decides which networks are trained in step.
        workers: that train one network together, a CPU each.
    """

    def seconds_of(spec: NetworkSpec) -> float:
        n_tasks = len(spec.tasks)
        epoch = pace.epoch(n_tasks, index.rows_at_most(n_tasks), index.rows_at_most(n_tasks, "val"))
        shared = config.retrain.shared_layers  # what lies above is computed in every branch
        layers = shared + (1 - shared) * len(spec.branches) if spec.branches else 1.0
        return TRIAL_SECONDS + int(spec.epochs) * epoch * layers

    trials = [[spec] for spec in specs] if workers > 1 else in_trials(config, index, specs, cpus)
    each = []
    for networks in trials:
        alone = [seconds_of(spec) for spec in networks]
        each.append(sum(alone) * (1 + IN_STEP * (len(alone) - 1)) / len(alone))
    return max(sum(each) / cpus, max(each, default=0.0) / min(cpus, workers))
