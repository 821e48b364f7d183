"""The recipe of the network of all tasks: learning rate, width, depth, dropout and weight decay on real task sets.

    STG_RAY_DATA=... python -m jobs.bench.recipe [--trunk cnn] [--sets yeast ...] [--seeds 2] [--cache FILE] [--quick]
    STG_RAY_DATA=... python -m jobs.bench.recipe --trunk cnn --weights DIR/profile/network.pt --sets ...

Each network is trained as a run trains it, with `epochs: auto`, and scored on a sixth of the training rows that it is
not trained on: test rows are never looked at. A trained network's score is kept in the cache, by the fingerprint of all
that decides it. Recipes are compared by the ratio of their score to the best recipe's on the set, averaged over the
sets whose scores are positive. And the choice itself is judged: on each set, by the recipe that is best on all others.

With --weights trunks start from these, such as those of a run on other images, and learning rates are compared with
each other and with the default from scratch.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

import stg_ray as sr
from jobs.bench.measure import show
from stg_ray.config.data import DataConfig
from stg_ray.config.retraining import RetrainConfig
from stg_ray.config.training import ModelConfig
from stg_ray.data.parts import index_of
from stg_ray.data.sources import load_task_set
from stg_ray.models import build_network
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet, observed
from stg_ray.training.auto import resolve_recipe
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.length import Course, Length
from stg_ray.training.trainer import Rows, Trainer
from stg_ray.training.validation import Validation

MULAN: dict[str, Any] = {"features": ["x_*"], "labels": ["y_*"], "split": "split"}
BITS: dict[str, Any] = {**MULAN, "features": [], "bits": "fp_morgan2_2048"}
SETS: dict[str, dict[str, Any]] = {
    "digits": {"preset": "digits"},
    "emotions": {"parquet": {"files": "mulan/emotions.parquet", **MULAN}},
    "scene": {"parquet": {"files": "mulan/scene.parquet", **MULAN}},
    "yeast": {"parquet": {"files": "mulan/yeast.parquet", **MULAN}},
    "bibtex": {"parquet": {"files": "mulan/bibtex.parquet", **MULAN}, "limit": 2000, "constant_tasks": "drop"},
    "sider": {"parquet": {"files": "molecules/sider.parquet", **BITS}},
    "tox21": {"parquet": {"files": "molecules/tox21.parquet", **BITS}, "limit": 2000, "constant_tasks": "drop"},
    "landmine": {"parquet": {"files": "own_rows/landmine.parquet", **MULAN}, "limit": 4000, "constant_tasks": "drop"},
    "school": {
        "parquet": {"files": "own_rows/school.parquet", **MULAN},
        "tasks": {"*": {"kind": "regression"}},
        "limit": 4000,
        "constant_tasks": "drop",
    },
    "cifar10": {"preset": "cifar10-15", "limit": 2000},
    "cifar10, 6,000": {"preset": "cifar10-15", "limit": 6000},
    "cifar100": {"preset": "cifar100", "limit": 5000},
    "cifar100, five-way": {"preset": "cifar100-coarse", "limit": 5000},
    "delicious": {
        "parquet": {"files": "mulan/delicious.parquet", **MULAN, "labels": ["y_TAG_p*"]},
        "limit": 2000,
        "constant_tasks": "drop",
    },
    "toxcast": {
        "parquet": {"files": "molecules/toxcast.parquet", **BITS, "labels": ["y_APR_*"]},
        "limit": 2000,
        "constant_tasks": "drop",
    },
}
"""Sources of the task sets; their training rows are limited, as small sets need a recipe most."""

SECTIONS: dict[str, type[BaseModel]] = {"data": DataConfig, "model": ModelConfig, "retrain": RetrainConfig}
Recipe = dict[str, dict[str, Any]]
"""Settings by section."""


def _recipes(columns: str, *rows: tuple[Any, ...]) -> dict[str, Recipe]:
    """Return recipes by their description."""
    keys = columns.split()
    found: dict[str, Recipe] = {}
    for row in rows:
        values = dict(zip(keys, row, strict=True))
        name = ", ".join(f"{key} {value if isinstance(value, str) else f'{value:g}'}" for key, value in values.items())
        recipe: Recipe = {section: {} for section in SECTIONS}
        for key, value in values.items():
            section = next(section for section, about in SECTIONS.items() if key in about.model_fields)
            recipe[section][key] = value
        found[name] = recipe
    return found


MLP = _recipes(
    "lr width depth dropout weight_decay normalize",
    (5e-3, 128, 2, 0.0, 1e-4, "auto"),
    (2e-3, 256, 2, 0.25, 1e-2, "auto"),
    (1e-3, 256, 2, 0.25, 1e-2, "auto"),
    (1e-3, 512, 2, 0.5, 1e-2, "auto"),
    (1e-3, 512, 1, 0.25, 1e-2, "auto"),
    (1e-3, 512, 1, 0.5, 1e-2, "auto"),
    (2e-3, 512, 1, 0.5, 1e-2, "auto"),
    (1e-3, 1024, 1, 0.5, 1e-2, "auto"),
    (1e-3, 512, 1, 0.25, 1e-2, "standard"),
    (1e-3, 512, 1, 0.25, 1e-2, "none"),
)
CNN = _recipes(
    "lr width dropout weight_decay crop",
    (5e-3, 128, 0.0, 1e-4, 0),
    (2e-3, 128, 0.0, 1e-4, 0),
    (1e-3, 128, 0.0, 1e-4, 0),
    (2e-3, 256, 0.25, 1e-2, 0),
    (1e-3, 256, 0.25, 1e-2, 0),
    (2e-3, 256, 0.5, 1e-2, 0),
    (1e-3, 256, 0.5, 1e-2, 0),
    (1e-3, 512, 0.5, 1e-1, 0),
    (2e-3, 256, 0.5, 1e-2, 2),
    (1e-3, 256, 0.5, 1e-2, 2),
)
LINEAR = _recipes(
    "lr width dropout weight_decay normalize",
    (5e-3, 128, 0.0, 1e-4, "standard"),
    (2e-3, 128, 0.0, 1e-4, "standard"),
    (1e-3, 256, 0.25, 1e-2, "standard"),
    (5e-3, 128, 0.0, 1e-4, "auto"),
    (2e-3, 128, 0.0, 1e-4, "auto"),
    (5e-3, 256, 0.25, 1e-2, "auto"),
    (5e-3, 128, 0.0, 1e-4, "none"),
)
OTHERS = _recipes(
    "lr dropout weight_decay",
    (5e-3, 0.0, 1e-4),
    (2e-3, 0.0, 1e-4),
    (1e-3, 0.0, 1e-4),
    (5e-4, 0.0, 1e-4),
    (1e-3, 0.0, 1e-2),
    (1e-3, 0.25, 1e-2),
)
TABLES = (
    "landmine",
    "school",
    "digits",
    "emotions",
    "yeast",
    "scene",
    "delicious",
    "bibtex",
    "sider",
    "tox21",
    "toxcast",
)
IMAGES = ("digits", "cifar10", "cifar10, 6,000", "cifar100", "cifar100, five-way")
RATES = (1e-3, 5e-4, 2e-4, 1e-4, 5e-5)
"""Learning rates of trunks that are trained already."""
TRUNKS: dict[str, tuple[dict[str, Recipe], tuple[str, ...]]] = {
    "mlp": (MLP, TABLES),
    "cnn": (CNN, IMAGES),
    "linear": (LINEAR, TABLES[3:10]),
    "resnet18": (OTHERS, IMAGES[:2]),
    "jobs.bench.trunks:Patches": (OTHERS, IMAGES[:2]),
    "jobs.bench.trunks:Recurrent": (OTHERS, ("digits", "emotions", "yeast", "scene", "sider")),
}
"""Recipes, and the sets on which they are compared, by the name of a trunk."""
JUDGED = 6
"""Every so-manyth training row is kept for the score."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", choices=list(TRUNKS), default="mlp")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), help="by default those of the trunk")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of every network")
    parser.add_argument("--weights", metavar="FILE", help="compare learning rates from these weights of the trunk")
    parser.add_argument("--cache", metavar="FILE", help="JSON of the scores of networks that were trained before")
    parser.add_argument("--quick", action="store_true", help="one set, 300 rows, one seed, to see that it works")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipes, sets = TRUNKS[arguments.trunk]
    if arguments.weights:
        recipes = _recipes("lr", ("auto",)) | _recipes("lr weights", *((lr, arguments.weights) for lr in RATES))
    names, seeds = (["digits"], 1) if arguments.quick else (arguments.sets or sets, arguments.seeds)
    trainings = _Trainings(arguments.trunk, seeds, arguments.quick, arguments.cache)
    scores = {name: {r: trainings.score(name, r, recipes[r]) for r in recipes} for name in names}
    rows = [(f"{name}: {recipe}", f"{s[recipe]:.4f}", "") for name, s in scores.items() for recipe in recipes]
    ratios = {name: {r: s[r] / max(s.values()) for r in recipes} for name, s in scores.items() if min(s.values()) > 0}
    means = _means(list(ratios.values()))
    rows += [(f"ratio to the best, mean of {len(ratios)} sets: {r}", f"{means[r]:.3f}", "") for r in recipes]
    chosen = {}
    for name, own in ratios.items() if len(ratios) > 1 else ():
        others = _means([ratio for other, ratio in ratios.items() if other != name])
        chosen[name] = max(others, key=lambda recipe: others[recipe])
        rows.append((f"{name}: chosen on the other sets: {chosen[name]}", f"{own[chosen[name]]:.3f}", ""))
    result = {"scores": scores, "means": means, "chosen_without": chosen}
    if chosen:
        result["ratio_when_chosen"] = float(np.mean([ratios[name][recipe] for name, recipe in chosen.items()]))
        rows.append(("ratio to the best, chosen on the other sets", f"{result['ratio_when_chosen']:.3f}", ""))
    about = {"benchmark": "recipe", "trunk": arguments.trunk, "quick": arguments.quick}
    show(f"Recipes of {arguments.trunk}", rows, {**about, **result})


def _means(ratios: list[dict[str, float]]) -> dict[str, float]:
    """The mean ratio of every recipe."""
    return {recipe: float(np.mean([own[recipe] for own in ratios])) for recipe in ratios[0]} if ratios else {}


class _Trainings:
    """Networks of one trunk, trained by recipes; their scores by fingerprint, in a file if there is a name for it."""

    def __init__(self, trunk: str, seeds: int, quick: bool, file: str | None) -> None:
        self.trunk, self.seeds, self.quick = trunk, seeds, quick
        self.path = None if file is None else Path(file)
        self.kept: dict[str, float] = {}
        if self.path is not None and self.path.exists():
            self.kept = json.loads(self.path.read_text())
        self.task_sets: dict[str, TaskSet] = {}

    def score(self, name: str, about: str, recipe: Recipe) -> float:
        """Return the mean score of a recipe on a set."""
        data = SETS[name] | ({"limit": 300} if self.quick else {}) | recipe["data"]
        values = []
        for seed in range(self.seeds):
            # Weights in channels_last make a step faster, and a score differ by rounding alone.
            memory_format = "contiguous" if self.trunk in ("mlp", "linear") else "channels_last"
            retrain = {"epochs": "auto", "precision": "float32", "memory_format": memory_format, **recipe["retrain"]}
            model = {"trunk": self.trunk, **recipe["model"]}
            config = sr.load_config({"data": data, "seed": seed, "model": model, "retrain": retrain})
            key = f"{config.fingerprint(('seed', 'data', 'model', 'retrain'))}-{JUDGED}"
            if key not in self.kept:
                if name not in self.task_sets:
                    self.task_sets[name] = load_task_set(config.data, 0)
                began = time.monotonic()
                self.kept[key] = _score(config, self.task_sets[name])
                if self.path is not None:
                    self.path.write_text(json.dumps(self.kept))
                print(f"{name}, {about}: {self.kept[key]:.4f} in {time.monotonic() - began:.1f} s", flush=True)
            values.append(self.kept[key])
        return float(np.mean(values))


def _score(config: sr.Config, task_set: TaskSet) -> float:
    """Train the network of all tasks; its score on the rows that are kept for it."""
    config = resolve_recipe(config, task_set.inputs.shape[1:])
    rows, index = task_set.rows("train"), index_of(task_set, normalize=config.data.normalize)
    judged, trained = rows[::JUDGED], np.delete(rows, np.s_[::JUDGED])
    inputs, labels = torch.from_numpy(np.ascontiguousarray(task_set.inputs)), task_set.labels

    def validation(chosen: np.ndarray) -> Validation:
        return Validation(inputs[chosen], labels[chosen], np.ones(len(index.tasks)))

    draws = Draws(config.seed, Stream.NETWORK_BATCHES, Stream.NETWORK_AUGMENTATION)
    per_sample = float(observed(labels[trained]).sum(axis=1).mean())
    batches = CommonBatches(len(trained), config.retrain.batch_size, per_sample, draws)
    network = build_network(config.model, index, index.tasks, config.seed)
    trainer = Trainer(
        network, Rows(inputs[trained], torch.from_numpy(labels[trained]), trained), batches, config.retrain
    )
    course, length, chosen = Course(), Length.of(config.retrain, batches.n_steps), validation(task_set.rows("val"))
    while not course.ended:
        course.epoch += 1
        trainer.epoch(course.epoch)
        course.keep_if_best(network, chosen.score(trainer))
        length.after_epoch(course, trainer)
    assert course.best_weights is not None, "the sets have validation labels"
    network.load_state_dict(course.best_weights)
    return validation(judged).score(trainer)


if __name__ == "__main__":
    main()
