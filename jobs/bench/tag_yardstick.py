"""Part of `landscape_affinity.py`: what TAG and the landscape take until four times as much gives the same groups."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

import stg_ray as sr
from jobs.bench.measure import timed
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.data.sources import load_task_set
from stg_ray.in_memory import affinity
from stg_ray.models import build_network
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.auto import resolve_recipe
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.effects import effects_of_steps
from stg_ray.training.trainer import Rows as TrainingRows
from stg_ray.training.trainer import Trainer

Rows = list[tuple[str, str, str]]


def tag(quick: bool) -> tuple[Rows, dict]:
    """Both start from the same untrained network; the landscape is looked at where TAG's training run ends. What is
    counted is what each takes beyond that run."""
    data = os.environ.get("STG_RAY_DATA")
    if not data or not (Path(data) / "cifar100").is_dir():
        return [("tag: no cifar100/ in $STG_RAY_DATA", "skipped", "")], {}
    task_set = fifteen_classes(500 if quick else 6000)
    truth = [task.group for task in task_set.tasks]
    index = index_of(task_set)
    config = load_config({"data": {"npz": "none"}, "profile": {"epochs": 1 if quick else 8}})
    config = resolve_recipe(config, index.input_shape)
    network = build_network(config.model, index, index.tasks, 0)
    rows = task_set.rows("train")
    inputs, labels = torch.tensor(task_set.inputs[rows]), torch.tensor(task_set.labels[rows])
    batches = CommonBatches(len(rows), config.profile.batch_size, len(truth), Draws(0, Stream.TAG_BATCHES))
    trainer = Trainer(network, TrainingRows(inputs, labels, rows), batches, config.profile)
    effects: list[np.ndarray] = []
    look_seconds: list[float] = []

    def look(batch: np.ndarray, outputs: torch.Tensor, target: torch.Tensor) -> None:
        began = time.perf_counter()
        lr = trainer.optimization.learning_rate
        effects.append(effects_of_steps(network, inputs[batch], target, lr).numpy())
        look_seconds.append(time.perf_counter() - began)

    for epoch in range(1, int(config.profile.epochs) + 1):
        trainer.epoch(epoch, record=look)
    network.eval()

    def tag_labels(every: int, n: int) -> np.ndarray:
        mean = np.nanmean(np.stack(effects[::every][:n]), axis=0)
        return sr.group(TaskMatrix(task_set_names, mean, "affinity"), n_groups=3).labels

    task_set_names = tuple(index.names)
    found: dict[str, Any] = {}
    result_rows: Rows = []
    for every in (1, 10):
        n = fewest(lambda n, every=every: tag_labels(every, n), len(effects[::every]))
        seconds = n * statistics.median(look_seconds)
        ari = adjusted_rand_score(truth, tag_labels(every, n))
        found[f"tag_{every}"] = {"looks": n, "seconds": seconds, "ari": ari}
        text = f"{n} looks, {seconds:.1f} s, ARI {ari:.2f} with the super-classes"
        result_rows.append((f"tag at every {'step' if every == 1 else f'{every}th step'}", text, ""))

    def landscape(n: int) -> TaskMatrix:
        return affinity(network, task_set, samples=n)

    n = fewest(lambda n: sr.group(landscape(n), n_groups=3).labels, len(rows), first=32)
    seconds = statistics.median(timed(lambda: landscape(n)) for _ in range(3))
    ari = adjusted_rand_score(truth, sr.group(landscape(n), n_groups=3).labels)
    ratio = found["tag_1"]["seconds"] / seconds
    result_rows.append(("landscape", f"{n} samples, {seconds:.2f} s, ARI {ari:.2f} with the super-classes", ""))
    result_rows.append(("tag at every step / landscape, K = 15: seconds", f"{ratio:.0f}", "20"))
    return result_rows, {**found, "landscape": {"samples": n, "seconds": seconds, "ari": ari}, "ratio": ratio}


def fewest(labels_of: Callable[[int], np.ndarray], most: int, first: int = 4) -> int:
    """The smallest of first, twice as many, ... whose groups agree with those of four times as many (or of all)."""
    n = first
    while n < most and adjusted_rand_score(labels_of(n), labels_of(min(4 * n, most))) < 0.9:
        n *= 2
    return min(n, most)


def fifteen_classes(limit: int) -> TaskSet:
    """The images of three super-classes of CIFAR-100, each of their classes against the others."""
    whole = load_task_set(sr.load_config("cifar100").data, 0)
    wanted = ("vehicles_1", "people", "trees")
    columns = [t for t, task in enumerate(whole.tasks) if task.group in wanted]
    rows = np.flatnonzero((whole.labels[:, columns] == 1).any(axis=1))[:limit]
    return TaskSet.from_arrays(
        whole.inputs[rows],
        whole.labels[rows][:, columns],
        names=[whole.tasks[t].name for t in columns],
        groups=[whole.tasks[t].group for t in columns],
    )
