"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as many tasks, from Parquet files in the data root, else by torchvision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stg_ray.config.tables import ClassTasks, ParquetConfig
from stg_ray.data.parquet import read_parquet
from stg_ray.data.torchvision_sets import one_vs_rest
from stg_ray.errors import InputError
from stg_ray.tasks import Task, TaskSet


def cifar10(root: Path, seed: int) -> TaskSet:
    """Load CIFAR-10: ten classes, each against the rest."""
    files = "cifar10/cifar10-*.parquet"
    if not any(root.glob(files)):
        return one_vs_rest(root, seed, "CIFAR10")
    return _read(root, seed, files, groups=None)


def cifar10_15(root: Path, seed: int) -> TaskSet:
    """Load CIFAR-10 with the fifteen tasks of STG-MTL (Sherif et al., arXiv 2307.03374).

    The ten classes; living (classes 2 to 7); odd class number; upside down (a random half of the images is flipped, by
    seed 67); not living, the negation of living; random labels (seed 61).
    """
    ten = cifar10(root, seed)
    classes = ten.labels.argmax(axis=1)
    n = len(classes)
    flipped = np.zeros(n, dtype=bool)
    flipped[np.random.default_rng(67).permutation(n)[: n // 2]] = True
    inputs = np.asarray(ten.inputs)
    for rows in np.array_split(np.flatnonzero(flipped), max(1, n // 8192)):
        inputs[rows] = inputs[rows, :, ::-1]
    living = (classes >= 2) & (classes <= 7)
    columns = {
        "living": living,
        "odd class number": classes % 2 == 1,
        "upside down": flipped,
        "not living": ~living,
        "random labels": np.random.default_rng(61).integers(0, 2, n) == 1,
    }
    labels = np.concatenate([ten.labels, np.stack(list(columns.values()), axis=1).astype(np.int8)], axis=1)
    return replace(ten, inputs=inputs, labels=labels, tasks=(*ten.tasks, *map(Task, columns)))


def cifar100(root: Path, seed: int) -> TaskSet:
    """Load CIFAR-100: a hundred classes, each against the rest.

    The known groups are the twenty super-classes, which torchvision's copy does not have.
    """
    files = "cifar100/cifar100-*.parquet"
    if not any(root.glob(files)):
        return one_vs_rest(root, seed, "CIFAR100")
    return _read(root, seed, files, groups="coarse_label")


def cifar100_coarse(root: Path, seed: int) -> TaskSet:
    """Load CIFAR-100 with a task for each of the twenty super-classes: which of its five classes an image shows.

    Tasks share no images.

    Raises:
        InputError: there are no Parquet files; torchvision's copy has no super-classes.
    """
    files = "cifar100/cifar100-*.parquet"
    if not any(root.glob(files)):
        raise InputError(f"no {files} in the data root {root}: the super-classes are in no other copy (see data.root)")
    return _read(root, seed, files, groups="coarse_label", tasks="by_group")


def _read(root: Path, seed: int, files: str, groups: str | None, tasks: ClassTasks = "one_vs_rest") -> TaskSet:
    config = ParquetConfig(files=files, image="image", classes="label", groups=groups, class_tasks=tasks, split="split")
    return read_parquet(config, root, seed)
