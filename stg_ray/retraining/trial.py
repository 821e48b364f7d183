"""What one trial does: train the network of some tasks, keep its best epoch, score it.

Networks are kept under the hash of all that decides them, so that plans share equal ones and none is taken for another.
A finished network is a folder with network.pt and, written last, network.json; an unfinished one has a checkpoint of
its last epoch, from which any later trial of the same network goes on.
"""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config, TrainingConfig
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.errors import StgRayError
from stg_ray.models import TaskNetwork, build_network, load_weights, save_network
from stg_ray.retraining.plans import NetworkSpec
from stg_ray.retraining.scoring import scores_of
from stg_ray.seeds import Stream, generator, torch_seed
from stg_ray.tasks import Task, observed
from stg_ray.training.augmentation import Augmentation
from stg_ray.training.compute import Compute
from stg_ray.training.epoch import Optimization, check_finite, epoch_batches, evaluate, train_epoch
from stg_ray.training.metrics import primary_score
from stg_ray.training.ranks import ALONE, Ranks


@dataclass
class _State:
    """What an unfinished training carries from epoch to epoch."""

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -math.inf
    best_weights: dict[str, torch.Tensor] | None = None
    seconds: float = 0.0

    def judge(self, network: TaskNetwork, value: float) -> None:
        """Keep the network as it is after this epoch if its value is the best so far."""
        # Where no task has a score on the validation rows (labels too rare), the last epoch is taken.
        if value > self.best_value or value == -math.inf:
            self.best_epoch, self.best_value = self.epoch, value
            self.best_weights = copy.deepcopy({key: v.cpu() for key, v in network.state_dict().items()})


def train_network(
    run: Storage,
    config: Config,
    spec: NetworkSpec,
    *,
    device: torch.device | str,
    report: Callable[[int], None],
    count: Callable[[int], None] = lambda n_samples: None,
    ranks: Ranks = ALONE,
) -> None:
    """Train the network of `spec` on the training rows of its tasks, and write its folder.

    The loss of a batch is the weighted mean over its labels, by the tasks' weights. The epoch is chosen by the mean
    primary metric on the validation rows, weighted alike, the profiled network among them as epoch 0 where training
    starts from it; the scores are on validation and test rows.
    `report` is called with the number of every epoch done, `count` with the number of this process's samples in it.

    Processes that train it together share the rows of every batch; the first of them evaluates and writes. The
    same network comes out but for rounding, unless it has batch norm, whose statistics are of each process's rows, or
    dropout.

    Raises:
        StgRayError: a task's loss became non-finite, or there are fewer rows than processes.
    """
    folder = network_folder(spec, config)
    if ranks.from_first(lambda: is_finished(run, folder), device):
        return
    index = read_index(run.sub("parts"))
    columns = [index.names.index(name) for name in spec.tasks]
    tasks = [index.tasks[t] for t in columns]
    data = {split: TaskRows(run.sub("parts"), index, split, columns) for split in ("train", "val", "test")}
    inputs, labels = data["train"].inputs, torch.from_numpy(data["train"].labels)
    weights = np.ones(len(tasks)) if spec.weights is None else np.array(spec.weights)
    labels_per_sample = float((observed(data["train"].labels) @ weights).mean())

    compute = Compute.of(config.retrain, device)
    task_weights = None if spec.weights is None else torch.tensor(weights, dtype=torch.float32, device=compute.device)
    network = build_network(config.model, index, tasks, spec.draws)
    if spec.start is not None:
        network.load_from(load_weights(run, "profile/network.pt"), index.tasks)
    compute.place(network)
    model = compute.compiled(ranks.wrap(network))
    augment = Augmentation.of(config.retrain, index.input_shape, data["train"].samples)
    if len(inputs) < ranks.world:
        raise StgRayError(f"{len(inputs)} rows for {ranks.world} workers: set retrain.workers to fewer")
    n_steps = min(math.ceil(len(inputs) / config.retrain.batch_size), len(inputs) // ranks.world)
    optimization = Optimization(network, _settings(config, spec), spec.epochs * n_steps)
    checkpoint = f"{folder}/checkpoint.pt"
    saved = ranks.from_first(lambda: run.read_bytes(checkpoint) if run.exists(checkpoint) else None, device)
    state = _State() if saved is None else _restore(saved, network, optimization)
    if state.epoch == 0 and spec.start is not None and ranks.is_first:
        # Training on fewer tasks need not be better than the profile: then that network is kept.
        state.judge(network, _mean_primary(network, tasks, weights, data["val"], compute))
    while state.epoch < spec.epochs:
        began = time.monotonic()
        epoch = state.epoch + 1
        torch.manual_seed(torch_seed(spec.draws, epoch, ranks.rank))
        batches = epoch_batches(len(inputs), n_steps, generator(Stream.NETWORK_BATCHES, spec.draws, epoch))
        divisors = [len(batch) * labels_per_sample / ranks.world for batch in batches]
        own = [batch[ranks.rank :: ranks.world] for batch in batches]
        if augment is not None:
            augment.draw(Stream.NETWORK_AUGMENTATION, spec.draws, epoch)
        totals = train_epoch(
            model,
            network.layout,
            optimization,
            inputs,
            labels,
            own,
            divisors=divisors,
            task_weights=task_weights,
            compute=compute,
            augment=augment,
        )
        check_finite(ranks.sum(totals, compute.device), spec.tasks, epoch)  # all of them leave here, or none
        count(sum(map(len, own)))
        state.epoch = epoch
        if ranks.is_first:
            state.judge(network, _mean_primary(network, tasks, weights, data["val"], compute))
            state.seconds += time.monotonic() - began
            run.write_bytes(checkpoint, _saved(network, optimization, state))
        report(epoch)

    if not ranks.is_first:
        return
    assert state.best_weights is not None, "at least one epoch was trained"
    network.load_state_dict(state.best_weights)
    scores = {
        split: scores_of(network.layout, evaluate(network, data[split].inputs, compute=compute), data[split].labels)
        for split in ("val", "test")
    }
    save_network(run, f"{folder}/network.pt", network)
    run.write_json(
        f"{folder}/network.json",
        {
            "tasks": list(spec.tasks),
            "seed": spec.seed,
            "epochs": spec.epochs,
            "best_epoch": state.best_epoch,
            "cost": len(inputs) * spec.epochs * network.n_parameters,
            "parameters": network.n_parameters,
            "seconds": round(state.seconds, 3),
            "scores": scores,
        },
    )
    run.delete(checkpoint)


def _settings(config: Config, spec: NetworkSpec) -> TrainingConfig:
    if spec.start is None:
        return config.retrain
    return config.retrain.model_copy(update={"lr": config.retrain.lr * config.retrain.profiled_lr})


def network_folder(spec: NetworkSpec, config: Config) -> str:
    return f".networks/{spec.fingerprint(config)}"


def is_finished(run: Storage, folder: str) -> bool:
    return run.exists(f"{folder}/network.json")


def _mean_primary(
    network: TaskNetwork, tasks: list[Task], weights: np.ndarray, part: TaskRows, compute: Compute
) -> float:
    """Mean primary metric of the tasks that have one on these rows, weighted as their losses are; -inf if none has."""
    outputs = evaluate(network, part.inputs, compute=compute)
    values = []
    for t, (task, prediction) in enumerate(zip(tasks, network.layout.predictions(outputs), strict=True)):
        rows = observed(part.labels[:, t])
        values.append(primary_score(task, prediction.numpy()[rows], part.labels[rows, t]))
    defined = ~np.isnan(values) & (weights > 0)
    return float(np.average(np.array(values)[defined], weights=weights[defined])) if defined.any() else -math.inf


def _saved(network: TaskNetwork, optimization: Optimization, state: _State) -> bytes:
    buffer = io.BytesIO()
    saved = {"network": network.state_dict(), "optimization": optimization.state_dict(), "state": dict(vars(state))}
    torch.save(saved, buffer)
    return buffer.getvalue()


def _restore(data: bytes, network: TaskNetwork, optimization: Optimization) -> _State:
    saved: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    network.load_state_dict(saved["network"])
    optimization.load_state_dict(saved["optimization"])
    return _State(**saved["state"])
