"""Task sets from folders of images, with a folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stg_ray.data.classes import class_tasks
from stg_ray.data.images import common_mode, decode_all
from stg_ray.errors import InputError, one_line
from stg_ray.imports import torchvision
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config.data import ImageFolderConfig

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_image_folder(config: ImageFolderConfig, root: Path, seed: int, image_size: int | None = None) -> TaskSet:
    """Read the task set of `folder`/CLASS/IMAGE, or of `folder`/SPLIT/CLASS/IMAGE with the splits train, val and test.

    Args:
        config: the folder, and the tasks to make from its classes.
        root: the data root, in which a relative folder is looked up too.
        seed: seed of the split, where there are no folders of splits.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Raises:
        InputError: no such folder, a class without images, an image that cannot be decoded, images of several shapes,
            or splits of different classes.
    """
    folder = next((f for f in (Path(config.folder).expanduser(), root / config.folder) if f.is_dir()), None)
    if folder is None:
        raise InputError(f"data.images.folder: no folder {config.folder!r} here nor in the data root {root}")
    inside = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    splits = sorted(inside) if {"train", "test"} <= inside <= set(SPLIT_NAMES) else []
    by_split = {split: _classes_of(folder / split) for split in splits} or {"": _classes_of(folder)}
    first, (names, _) = next(iter(by_split.items()))
    for split, (other, _) in by_split.items():
        if other != names:
            strange = sorted(set(names) ^ set(other))
            raise InputError(f"{folder}: {split} and {first} have different classes, such as {strange[0]!r}")
    samples = [sample for _, in_split in by_split.values() for sample in in_split]
    paths = [Path(path) for path, _ in samples]
    classes = np.array([c for _, c in samples], dtype=np.int32)
    split_of = [SPLIT_NAMES[split] for split, (_, in_split) in by_split.items() for _ in in_split] if splits else None
    images = decode_all(paths, lambda i: f"the image {paths[i]}", image_size, common_mode(paths))
    tasks = class_tasks(classes, names, tasks=config.class_tasks)
    return TaskSet.from_arrays(images, **tasks, split=split_of, seed=seed)


def _classes_of(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the names of the classes, and the path and class of each image."""
    try:
        data_set = torchvision().datasets.ImageFolder(str(folder))
    except (FileNotFoundError, OSError) as error:
        raise InputError(f"{folder} is no folder of classes: {one_line(error)}") from error
    return data_set.classes, data_set.samples
