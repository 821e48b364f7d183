"""The recipe of the network of all tasks: learning rate, width, depth, dropout and weight decay on real task sets.

    STG_RAY_DATA=... python -m jobs.bench.recipe [--sets yeast scene ...] [--seeds 2] [--cache FILE] [--quick]

Each network is trained as a run trains it, with `epochs: auto`, and scored on a sixth of the training rows that it is
not trained on: test rows are never looked at. A trained network's score is kept in the cache, by the fingerprint of all
that decides it. Recipes are compared by the ratio of their score to the best recipe's on the set, averaged over the
sets whose scores are positive. And the choice itself is judged: on each set, by the recipe that is best on all others.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stg_ray as sr
from jobs.bench.measure import show
from stg_ray.data.parts import index_of
from stg_ray.data.sources import load_task_set
from stg_ray.models import build_network
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet, observed
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

RECIPES: dict[str, dict[str, dict[str, float]]] = {
    f"lr {lr:g}, width {width}, depth {depth}, dropout {dropout:g}, decay {decay:g}": {
        "model": {"width": width, "depth": depth, "dropout": dropout},
        "retrain": {"lr": lr, "weight_decay": decay},
    }
    for lr, width, depth, dropout, decay in (
        (5e-3, 128, 2, 0.0, 1e-4),
        (5e-3, 128, 2, 0.25, 1e-2),
        (2e-3, 256, 2, 0.0, 1e-4),
        (2e-3, 256, 2, 0.25, 1e-4),
        (2e-3, 256, 2, 0.25, 1e-2),
        (1e-3, 256, 2, 0.25, 1e-2),
        (1e-3, 512, 2, 0.25, 1e-2),
        (1e-3, 512, 1, 0.25, 1e-3),
        (2e-3, 512, 1, 0.5, 1e-2),
        (2e-3, 512, 2, 0.5, 1e-2),
        (1e-3, 512, 2, 0.5, 1e-2),
        (1e-3, 256, 2, 0.5, 1e-2),
    )
}
JUDGED = 6
"""Every so-manyth training row is kept for the score."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=2, help="trainings of every network")
    parser.add_argument("--cache", metavar="FILE", help="JSON of the scores of networks that were trained before")
    parser.add_argument("--quick", action="store_true", help="one set, 300 rows, one seed, to see that it works")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names, seeds = (["digits"], 1) if arguments.quick else (arguments.sets, arguments.seeds)
    cache = _Cache(arguments.cache)
    scores = {name: _scores(name, seeds, arguments.quick, cache) for name in names}
    rows = [(f"{name}: {recipe}", f"{s[recipe]:.4f}", "") for name, s in scores.items() for recipe in RECIPES]
    ratios = {name: {r: s[r] / max(s.values()) for r in RECIPES} for name, s in scores.items() if min(s.values()) > 0}
    means = _means(list(ratios.values()))
    rows += [(f"ratio to the best, mean of {len(ratios)} sets: {r}", f"{means[r]:.3f}", "") for r in RECIPES]
    chosen = {}
    for name, own in ratios.items() if len(ratios) > 1 else ():
        others = _means([ratio for other, ratio in ratios.items() if other != name])
        chosen[name] = max(others, key=lambda recipe: others[recipe])
        rows.append((f"{name}: chosen on the other sets: {chosen[name]}", f"{own[chosen[name]]:.3f}", ""))
    result = {"scores": scores, "means": means, "chosen_without": chosen}
    if chosen:
        result["ratio_when_chosen"] = float(np.mean([ratios[name][recipe] for name, recipe in chosen.items()]))
        rows.append(("ratio to the best, chosen on the other sets", f"{result['ratio_when_chosen']:.3f}", ""))
    show("Recipes", rows, {"benchmark": "recipe", "quick": arguments.quick, **result})


def _means(ratios: list[dict[str, float]]) -> dict[str, float]:
    """The mean ratio of every recipe."""
    return {recipe: float(np.mean([own[recipe] for own in ratios])) for recipe in RECIPES}


class _Cache:
    """Scores by fingerprint, in a file if there is a name for it."""

    def __init__(self, name: str | None) -> None:
        self.path = None if name is None else Path(name)
        self.scores: dict[str, float] = {}
        if self.path is not None and self.path.exists():
            self.scores = json.loads(self.path.read_text())

    def keep(self, key: str, score: float) -> None:
        self.scores[key] = score
        if self.path is not None:
            self.path.write_text(json.dumps(self.scores))


def _scores(name: str, seeds: int, quick: bool, cache: _Cache) -> dict[str, float]:
    """The mean score of every recipe on a set."""
    data = SETS[name] | ({"limit": 300} if quick else {})
    found: dict[str, float] = {}
    task_set: TaskSet | None = None
    for recipe, sections in RECIPES.items():
        values = []
        for seed in range(seeds):
            retrain = {"epochs": "auto", "precision": "float32", "memory_format": "contiguous", **sections["retrain"]}
            model = {"trunk": "auto", **sections["model"]}
            config = sr.load_config({"data": data, "seed": seed, "model": model, "retrain": retrain})
            key = f"{config.fingerprint(('seed', 'data', 'model', 'retrain'))}-{JUDGED}"
            if key not in cache.scores:
                task_set = task_set or load_task_set(config.data, 0)
                began = time.monotonic()
                cache.keep(key, _score(config, task_set))
                print(f"{name}, {recipe}: {cache.scores[key]:.4f} in {time.monotonic() - began:.1f} s", flush=True)
            values.append(cache.scores[key])
        found[recipe] = float(np.mean(values))
    return found


def _score(config: sr.Config, task_set: TaskSet) -> float:
    """Train the network of all tasks; its score on the rows that are kept for it."""
    rows, index = task_set.rows("train"), index_of(task_set)
    judged, trained = rows[::JUDGED], np.delete(rows, np.s_[::JUDGED])
    inputs, labels = torch.from_numpy(np.ascontiguousarray(task_set.inputs)), task_set.labels

    def validation(chosen: np.ndarray) -> Validation:
        return Validation(inputs[chosen], labels[chosen], np.ones(len(index.tasks)))

    draws = Draws(config.seed, Stream.NETWORK_BATCHES)
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
