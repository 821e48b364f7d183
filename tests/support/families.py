"""Tasks of two families, for initialisations: what suits one is in the other's way."""

from __future__ import annotations

from typing import Any

import numpy as np

import stg_ray as sr
from stg_ray.tasks import TaskKind

ROWS = 100
LEARNERS = ("maml", "anil", "reptile")

SETTINGS: dict[str, Any] = {
    "model": {"trunk": "mlp", "width": 24, "dropout": 0.0},
    "profile": {"epochs": 2, "workers": 1},
    "affinity": {"methods": ["landscape"], "statistic": "sign", "start": "initial", "layers": "all"},
    "grouping": {"groups": 2},
    "meta": {"rate": 0.1, "shots": 6, "queries": 6, "episodes": 16, "steps_per_epoch": 40, "scored": 20},
    "retrain": {
        "learner": "maml",
        "plans": ["known", "all_in_one"],
        "epochs": 3,
        "lr": 0.01,
        "weight_decay": 1e-4,
        "optimizer": "adam",
        "precision": "float32",
    },
}


def waves(phase: np.ndarray, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (T, rows) and sines of these phases (T,), each a little off."""
    own = phase + rng.uniform(-0.3, 0.3, len(phase))
    inputs = rng.uniform(-3, 3, (len(phase), rows)).astype(np.float32)
    return inputs, np.sin(inputs + own[:, None]).astype(np.float32)


def sines(tasks: int = 8, rows: int = ROWS, seed: int = 0) -> sr.TaskSet:
    """Regressions of two families, half a turn apart, each with rows of its own."""
    rng = np.random.default_rng(seed)
    family = np.arange(tasks) % 2
    inputs, values = waves(family * np.pi, rows, rng)
    labels = np.full((tasks * rows, tasks), np.nan, dtype=np.float32)
    labels[np.arange(tasks * rows), np.repeat(np.arange(tasks), rows)] = values.ravel()
    return sr.TaskSet.from_arrays(
        inputs.reshape(-1, 1), labels, kinds=["regression"] * tasks, groups=[f"family {f}" for f in family], seed=seed
    )


def sorts(kind: TaskKind, tasks: int = 4, rows: int = 160, seed: int = 0) -> sr.TaskSet:
    """Classifications with rows of their own: by the sign of a direction (binary), or by quarters of a turn."""
    rng = np.random.default_rng(seed)
    n = tasks * rows
    inputs = rng.normal(size=(n, 2)).astype(np.float32)
    owner = np.repeat(np.arange(tasks), rows)
    turned = np.arctan2(inputs[:, 1], inputs[:, 0]) + (owner % 2) * np.pi / 2 + rng.uniform(-0.2, 0.2, tasks)[owner]
    classes = np.floor((turned % (2 * np.pi)) / (np.pi if kind == "binary" else np.pi / 2)).astype(np.int64)
    labels = np.full((n, tasks), -1, dtype=np.int16)
    labels[np.arange(n), owner] = classes
    return sr.TaskSet.from_arrays(
        inputs, labels, kinds=[kind] * tasks, missing=[-1], groups=[f"family {t % 2}" for t in range(tasks)], seed=seed
    )
