"""How long networks would train here, from a short measurement: one thread, some of the task set's own rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from stg_ray.config import Config, ModelConfig, TrainingConfig
from stg_ray.data.parts import PartIndex
from stg_ray.models import build_network
from stg_ray.retraining.plans import NetworkSpec
from stg_ray.tasks import TaskSet, observed
from stg_ray.training.auto import DeviceFacts, resolve_auto
from stg_ray.training.compute import Compute
from stg_ray.training.epoch import Optimization, epoch_batches, evaluate, train_epoch
from stg_ray.training.metrics import primary_score

MEASURED_SECONDS = 0.4
MEASURED_ROWS = 1024
START_SECONDS = 4.0
"""Until the first worker of a stage trains: Ray's processes import torch."""
TRIAL_SECONDS = 0.5
"""What a trial takes beside its epochs: it is scheduled, reads its rows, is scored, writes its network."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one thread: of a training step and of a prediction, per sample, at 1 and at K tasks, and of one task's
    score on the validation rows."""

    n_tasks: int
    step: tuple[float, float]
    predict: tuple[float, float]
    score: float

    def epoch(self, n_tasks: int, n_train: int, n_val: int) -> float:
        """One epoch of a network, the choice of the best epoch included."""
        share = (n_tasks - 1) / max(1, self.n_tasks - 1)
        step, predict = ((1 - share) * pair[0] + share * pair[1] for pair in (self.step, self.predict))
        return n_train * step + n_val * predict + n_tasks * self.score


def measure_pace(config: Config, training: TrainingConfig, task_set: TaskSet, index: PartIndex) -> Pace:
    """Train and evaluate networks of one task and of all for a moment each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = config.model.model_copy(update={"weights": None})
        training = resolve_auto(
            training, DeviceFacts.of_cpu(), build_network(model, index, index.tasks, 0), index.input_shape
        )
        some = [_pace(model, training, task_set, index, n) for n in (1, len(index.tasks))]
        val = task_set.rows("val")
        labels = task_set.labels[val, 0]
        labels = labels[observed(labels)]
        task = index.tasks[0]
        shape = (len(labels), task.n_classes) if task.kind == "multiclass" else (len(labels),)
        noise = np.random.default_rng(0).random(shape)
        score = _seconds(lambda: primary_score(task, noise, labels)) if len(labels) else 0.0
    finally:
        torch.set_num_threads(threads)
    return Pace(len(index.tasks), (some[0][0], some[1][0]), (some[0][1], some[1][1]), score)


def _pace(
    model: ModelConfig, training: TrainingConfig, task_set: TaskSet, index: PartIndex, n_tasks: int
) -> tuple[float, float]:
    """Seconds per sample of a training step, and of a prediction."""
    rows = task_set.rows("train")[:MEASURED_ROWS]
    inputs = torch.from_numpy(np.ascontiguousarray(task_set.inputs[rows]))
    labels = torch.from_numpy(np.ascontiguousarray(task_set.labels[rows, :n_tasks]))
    network = build_network(model, index, index.tasks[:n_tasks], 0)
    compute = Compute.of(training)
    compute.place(network)
    optimization = Optimization(network, training, 1000)
    n_rows = min(training.batch_size, len(rows))

    def step() -> None:
        batch = epoch_batches(len(rows), max(1, len(rows) // n_rows), np.random.default_rng(0))[:1]
        train_epoch(
            network, network.layout, optimization, inputs, labels, batch, divisors=[len(batch[0])], compute=compute
        )

    return _seconds(step) / n_rows, _seconds(lambda: evaluate(network, inputs, compute=compute)) / len(rows)


def _seconds(work: Callable[[], object]) -> float:
    """Median seconds of a call, over as many as fit into the measurement; the first, which warms up, is left out."""
    work()
    times: list[float] = []
    until = time.perf_counter() + MEASURED_SECONDS
    while not times or time.perf_counter() < until:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def seconds_of_trials(specs: Iterable[NetworkSpec], pace: Pace, index: PartIndex, cpus: int, workers: int = 1) -> float:
    """Until the networks are trained, each by so many CPUs, as many at a time as there is room for."""
    n_train, n_val = index.n_samples(), index.n_samples("val")
    each = [TRIAL_SECONDS + spec.epochs * pace.epoch(len(spec.tasks), n_train, n_val) for spec in specs]
    return max(sum(each) / cpus, max(each, default=0.0) / min(cpus, workers))
