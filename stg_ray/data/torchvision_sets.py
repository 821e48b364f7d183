"""torchvision's image sets of one class column, as arrays; downloaded by torchvision where there is a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np

from stg_ray.data.classes import class_tasks
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet
from stg_ray.vision import torchvision

_BY_FLAG = ({"train": True}, {"train": False})
_BY_NAME = ({"split": "train"}, {"split": "test"})
ARGUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "MNIST": _BY_FLAG,
    "FashionMNIST": _BY_FLAG,
    "KMNIST": _BY_FLAG,
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "SVHN": _BY_NAME,
}
"""What torchvision's classes call their training and test images."""


@dataclass(frozen=True)
class ImageClasses:
    """Images (N, C, H, W) uint8 with one class each, the classes' names, and train or test for each image."""

    images: np.ndarray
    classes: np.ndarray
    names: list[str]
    split: list[str]


def image_classes(name: str, root: Path) -> ImageClasses:
    """The set `name` under `root`/torchvision, downloaded if it is not there.

    Raises:
        InputError: it is not there and cannot be downloaded.
    """
    kind = getattr(torchvision().datasets, name)
    folder = root / "torchvision"
    halves = []
    for arguments in ARGUMENTS[name]:
        try:
            halves.append(kind(str(folder), download=True, **arguments))
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"{name} is not whole in {folder} and cannot be downloaded ({one_line(error)}): put it there on a "
                "machine with a network, or set data.root"
            ) from error
    labels = [np.asarray(half.labels if name == "SVHN" else half.targets) for half in halves]
    names = getattr(halves[0], "classes", None) or [str(c) for c in range(int(labels[0].max()) + 1)]
    split = ["train"] * len(labels[0]) + ["test"] * len(labels[1])
    images = np.concatenate([_channels_first(np.asarray(half.data)) for half in halves])
    return ImageClasses(images, np.concatenate(labels).astype(np.int32), list(names), split)


def _channels_first(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) of (N, H, W), (N, H, W, C) or (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    return images.transpose(0, 3, 1, 2) if images.shape[-1] in (1, 3) else images


def one_vs_rest(root: Path, seed: int, name: str) -> TaskSet:
    """The classes of the set `name`, one against the rest."""
    found = image_classes(name, root)
    return TaskSet.from_arrays(found.images, **class_tasks(found.classes, found.names), split=found.split, seed=seed)
