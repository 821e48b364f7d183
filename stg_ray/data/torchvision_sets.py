"""torchvision's image sets as task sets; torchvision downloads them where there is a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np

from stg_ray.data.classes import class_tasks
from stg_ray.data.images import decode_all
from stg_ray.errors import InputError, one_line
from stg_ray.imports import torchvision
from stg_ray.tasks import TaskSet

_BY_FLAG: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
SPLITS_OF_SET: dict[str, dict[str, dict[str, Any]]] = {
    "MNIST": _BY_FLAG,
    "FashionMNIST": _BY_FLAG,
    "KMNIST": _BY_FLAG,
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "EMNIST": {
        "train": {"split": "balanced", "train": True},
        "test": {"split": "balanced", "train": False},
    },
    "SVHN": {"train": {"split": "train"}, "test": {"split": "test"}},
    "CelebA": {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
    "Omniglot": {"background": {"background": True}, "evaluation": {"background": False}},
}
"""Arguments of torchvision's classes for each split; Omniglot has two sets of alphabets instead."""


def open_set(name: str, root: Path) -> dict[str, Any]:
    """Open the data sets of torchvision's class `name` in `root`/torchvision, by split; they are downloaded if missing.

    Raises:
        InputError: they are missing and cannot be downloaded.
    """
    kind = getattr(torchvision().datasets, name)
    folder = root / "torchvision"
    try:
        return {
            split: kind(str(folder), download=True, **arguments) for split, arguments in SPLITS_OF_SET[name].items()
        }
    except (URLError, OSError, RuntimeError, ImportError) as error:
        raise InputError(
            f"{name} is not whole in {folder} and cannot be downloaded ({one_line(error)}): put it there on a "
            "machine with a network, or set data.root"
        ) from error


def one_vs_rest(root: Path, seed: int, name: str) -> TaskSet:
    """Load the set `name`: its classes, each against the rest."""
    halves = open_set(name, root)
    images = [_channels_first(np.asarray(half.data)) for half in halves.values()]
    if name == "EMNIST":  # stored with rows and columns exchanged
        images = [half.transpose(0, 1, 3, 2) for half in images]
    labels = [np.asarray(half.labels if name == "SVHN" else half.targets) for half in halves.values()]
    names = getattr(halves["train"], "classes", None) or [str(c) for c in range(int(labels[0].max()) + 1)]
    split = [split for split, half in zip(halves, labels, strict=True) for _ in half]
    classes = np.concatenate(labels).astype(np.int32)
    return TaskSet.from_arrays(np.concatenate(images), **class_tasks(classes, names), split=split, seed=seed)


def celeba(root: Path, seed: int, image_size: int) -> TaskSet:
    """Load the forty attributes of the faces of CelebA (Liu et al. 2015), cropped and scaled to `image_size`."""
    halves = open_set("CelebA", root)
    folder = root / "torchvision" / "celeba" / "img_align_celeba"
    paths = [folder / file for half in halves.values() for file in half.filename]
    images = decode_all(paths, lambda i: f"the image {paths[i]}", image_size, "RGB")
    labels = np.concatenate([half.attr.numpy() for half in halves.values()]).astype(np.int8)
    names = [name.replace("_", " ") for name in halves["train"].attr_names if name]
    split = [split for split, half in halves.items() for _ in half.filename]
    return TaskSet.from_arrays(images, labels, names=names, split=split, seed=seed)


def _channels_first(images: np.ndarray) -> np.ndarray:
    """Bring images of shape (N, H, W), (N, H, W, C) or (N, C, H, W) into the shape (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    return images.transpose(0, 3, 1, 2) if images.shape[-1] in (1, 3) else images
