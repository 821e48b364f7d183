"""The task sets on which plans are compared, and their runs: real ones and planted ones, small enough for two cores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import stg_ray as sr
from jobs.bench.known_sets import (
    KNOWN_SETS,
    KnownSet,
    alphabets,
    images,
    read_table,
    told,
    transformer,
    two_domains,
)
from jobs.bench.planted_sets import Arrays
from stg_ray.config.loading import set_values
from stg_ray.models.trunks import trunk_name
from stg_ray.progress import Reporter
from stg_ray.training.auto import resolve_recipe

SEEDS, FEW = 6, 3
"""Trainings of all plans, and of sets that take a quarter of an hour or more."""
PLANS = [
    "ours",
    "searched",
    "ours_and_all",
    "branches",
    "all_in_one",
    "all_in_one_equal_cost",
    "all_in_one_ensemble",
    "random",
]


def of_table(file: str) -> KnownSet:
    """Return a table with features x_*, or fingerprints, labels y_* and a column of the split."""

    def build(seed: int) -> Arrays:
        del seed
        frame, inputs, columns = read_table(file)
        labels = frame[columns].to_numpy(np.float32)
        arrays = {"inputs": inputs, "labels": labels, "names": np.array(columns)}
        return arrays | ({"split": frame["split"].to_numpy(str)} if "split" in frame else {})

    return KnownSet(build, 0, file.split("/")[0], own_rows=file.startswith("own_rows"))


REAL: dict[str, KnownSet] = {
    "yeast": of_table("mulan/yeast.parquet"),
    "scene": of_table("mulan/scene.parquet"),
    "emotions": of_table("mulan/emotions.parquet"),
    "sider": of_table("molecules/sider.parquet"),
    "tox21": of_table("molecules/tox21.parquet"),
    "landmine": of_table("own_rows/landmine.parquet"),
    "ETTh1": KnownSet(transformer, 0, "series"),
    "school": of_table("own_rows/school.parquet"),
    "bibtex": of_table("mulan/bibtex.parquet"),
    "digits and CIFAR-10": KnownSet(two_domains, 0, "cifar10"),
    "CIFAR-10, 15 tasks": KnownSet(images("cifar10-15", 5_000), 0, "cifar10"),
    "CIFAR-100": KnownSet(images("cifar100", 10_000), 0, "cifar100"),
    "CIFAR-100, five-way": KnownSet(images("cifar100-coarse", 10_000), 0, "cifar100", own_rows=True),
    "Omniglot": KnownSet(alphabets, 0, "omniglot", own_rows=True),
}
PLANTED = ("conflict", "permuted", "gaussian", "digits, turned", "digits and random")
SETS = {**REAL, **{name: KNOWN_SETS[name] for name in PLANTED}}
LARGE = (
    "sider",
    "tox21",
    "school",
    "bibtex",
    "digits and CIFAR-10",
    "CIFAR-10, 15 tasks",
    "CIFAR-100",
    "CIFAR-100, five-way",
    "Omniglot",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "conflict": {"model": {"trunk": "mlp", "width": 4, "depth": 1}},
    "permuted": {"model": {"trunk": "mlp", "width": 8, "depth": 1}},
}
"""Narrow trunks, in which tasks that want different features are in each other's way."""


def config_of(name: str, folder: Path, quick: bool, overrides: list[str], draw: int = 0) -> sr.Config:
    """Return the configuration of a set, with the recipe of its trunk; its arrays are written into the folder.

    Args:
        draw: of a planted set: others than the first are for choosing defaults, which are judged by the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f"{name}, draw {draw}.npz" if draw else f"{name}.npz")
    if not path.exists():
        arrays = dict(SETS[name].build(draw))
        arrays.pop("groups", None)
        if "split" not in arrays:
            arrays["split"] = np.where(np.arange(len(arrays["inputs"])) % 4 == 3, "test", "train")
        np.savez(path, **arrays)
    with np.load(path) as arrays:
        tasks, input_shape = told(arrays), arrays["inputs"].shape[1:]
    method = {"affinity": {"methods": ["landscape"]}} if SETS[name].own_rows else {}
    size = FEW if name in LARGE else SEEDS
    fast = {"epochs": 2, "seeds": 2} if quick else {"seeds": size, "random_groups": 2 if name in LARGE else size}
    given = sr.load_config(
        {
            "data": {"npz": str(path), "constant_tasks": "drop", "tasks": tasks},
            "profile": {"workers": 1, **({"epochs": 2} if quick else {})},
            "grouping": {"min_groups": 2},
            "retrain": {"plans": PLANS, **fast},
            **method,
            **SETTINGS.get(name, {}),
        },
        overrides,
    )
    config = resolve_recipe(given, input_shape)
    if trunk_name(config.model, input_shape) == "mlp" and config.model.depth == 1:  # one layer has no branches
        plans = [plan for plan in config.retrain.plans if plan != "branches"]
        config = set_values(config, [f"retrain.plans={plans}"])
    return config


def deployed(config: sr.Config) -> tuple[sr.Run, float]:
    """Run a set, or go on with its run, beside its file."""
    began = time.monotonic()
    out = Path(str(config.data.npz)).with_suffix("")
    return sr.run(config, str(out), reporter=Reporter(Console(quiet=True))), time.monotonic() - began
