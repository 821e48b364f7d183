"""The presets: named task sets, for `stg-ray run NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TRAINING = {"epochs": 6, "lr": 5e-3, "weight_decay": 1e-4}
MODEL = {"width": 128, "depth": 2, "dropout": 0.0}
"""The recipe of the presets that name none, that of version 0.1: what was measured of them stays comparable."""


@dataclass(frozen=True)
class Preset:
    """A named task set.

    Attributes:
        source: `module:function` that makes it, called with the data root, the seed, and `arguments`.
        tasks: number of tasks.
        samples: number of samples in all splits.
        origin: where the data comes from.
        arguments: keyword arguments of the function; users may set `data.image_size` where `image_size` is one.
        defaults: settings that differ from the defaults of the configuration.
    """

    source: str
    tasks: int
    samples: int
    origin: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings of the preset: `defaults`, and the recipe of its published results where these name none."""
        recipe = {"model": MODEL, "profile": TRAINING, "retrain": TRAINING}
        return {**self.defaults, **{name: {**own, **self.defaults.get(name, {})} for name, own in recipe.items()}}


PRESETS: dict[str, Preset] = {
    "digits": Preset(
        source="stg_ray.data.digits:digits",
        tasks=15,
        samples=1797,
        origin="handwritten digits that come with scikit-learn (no download)",
        defaults={
            # A narrow trunk, so that fifteen tasks compete for it as hundreds do for a large one.
            "model": {"trunk": "mlp", "width": 10, "depth": 1, "dropout": 0.0},
            "grouping": {"groups": 4},
            "profile": {"epochs": 20, "batch_size": 32, "lr": 5e-3, "weight_decay": 1e-4},
            "retrain": {"epochs": 20, "batch_size": 32, "lr": 5e-3, "weight_decay": 1e-4, "seeds": 2},
        },
    ),
    "cifar10": Preset(
        source="stg_ray.data.cifar:cifar10",
        tasks=10,
        samples=60_000,
        origin="cifar10/cifar10-*.parquet in the data root, else torchvision",
    ),
    "cifar10-15": Preset(
        source="stg_ray.data.cifar:cifar10_15",
        tasks=15,
        samples=60_000,
        origin="cifar10/cifar10-*.parquet in the data root, else torchvision",
    ),
    "cifar100": Preset(
        source="stg_ray.data.cifar:cifar100",
        tasks=100,
        samples=60_000,
        origin="cifar100/cifar100-*.parquet in the data root, else torchvision",
        defaults={"retrain": {"plans": ["ours", "all_in_one", "all_in_one_equal_cost", "random", "known"]}},
    ),
    "cifar100-coarse": Preset(
        source="stg_ray.data.cifar:cifar100_coarse",
        tasks=20,
        samples=60_000,
        origin="cifar100/cifar100-*.parquet in the data root",
        defaults={"affinity": {"methods": ["landscape"]}},  # tasks without common samples have no common data map
    ),
    "omniglot": Preset(
        source="stg_ray.data.omniglot:omniglot",
        tasks=50,
        samples=32_460,
        origin="omniglot/omniglot28.npz in the data root, else torchvision",
        defaults={"affinity": {"methods": ["landscape"]}},
    ),
    "celeba": Preset(
        source="stg_ray.data.torchvision_sets:celeba",
        arguments={"image_size": 64},
        tasks=40,
        samples=202_599,
        origin="CelebA by torchvision, downloaded if it is not in the data root",
    ),
}

for _name, _kind, _tasks, _samples in (
    ("mnist", "MNIST", 10, 70_000),
    ("fashion-mnist", "FashionMNIST", 10, 70_000),
    ("kmnist", "KMNIST", 10, 70_000),
    ("emnist", "EMNIST", 47, 131_600),
    ("svhn", "SVHN", 10, 99_289),
):
    PRESETS[_name] = Preset(
        source="stg_ray.data.torchvision_sets:one_vs_rest",
        arguments={"name": _kind},
        tasks=_tasks,
        samples=_samples,
        origin=f"{_kind} by torchvision, downloaded if it is not in the data root",
    )
