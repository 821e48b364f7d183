"""Complete run directories without training: every artifact by its own writer, with values that were drawn.

Tasks of a planted group share a direction, so that affinities, memberships, scores and data maps agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

import stg_ray as sr
from stg_ray.artifacts.evidence import NumberChoice
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir, network_place
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, write_parts
from stg_ray.data_maps.findings import region_sums, regions_table, suspects, suspects_table
from stg_ray.data_maps.histogram import point_counts
from stg_ray.data_maps.state import DataMapState
from stg_ray.report.page import write_page
from stg_ray.retraining.choice import choose
from stg_ray.retraining.results import Scored, costs_table, results_table
from stg_ray.stages import STAGES

PLANS = {"ours": 0.62, "all_in_one": 0.55, "all_in_one_equal_cost": 0.58, "random_0": 0.56, "random_1": 0.57}
"""Mean scores of the plans that are trained."""
SEEDS = 3
N_ROWS = 600
"""Of the task set; profile/points.arrow counts a million samples all the same."""
EPOCHS = 12


def make_run(
    folder: str,
    n_tasks: int,
    *,
    n_groups: int = 4,
    names: Sequence[str] | None = None,
    means: Mapping[str, float] = PLANS,
    image: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> RunDir:
    """Make the directory of a finished run, its page included.

    Args:
        folder: of the run.
        n_tasks: number of binary tasks, in groups of about equal sizes.
        names: of the tasks.
        means: mean score of each plan.
        image: whether inputs are pictures of 8 x 8 pixels.
        settings: of the configuration, by section.
    """
    rng = np.random.default_rng(0)
    run = RunDir(folder)
    config = sr.load_config(
        {
            "data": {"npz": "drawn.npz"},
            "affinity": {"methods": ["confidence_adjusted", "logit_adjusted"]},
            "retrain": {"plans": list(dict.fromkeys(plan.split("_0")[0].split("_1")[0] for plan in means))},
            **(settings or {}),
        }
    )
    run.write_config(config)
    labels = np.sort(np.arange(n_tasks) % n_groups)
    for stage in STAGES:
        if stage in config.stages and stage != "report":
            run.begin(stage, config)
    index = _parts(run, rng, labels, names, image)
    _profile(run, rng, index, labels)
    _affinities(run, rng, config, index, labels)
    groups = _groups(rng, index, labels)
    run.write_json("groups.json", groups.to_dict())
    _retrain(run, rng, config, index, groups, means)
    for stage in config.stages:
        if stage != "report":
            run.mark_done(stage, config, 12.5)
    write_page(run, config)
    return run


def _parts(
    run: RunDir, rng: np.random.Generator, labels: np.ndarray, names: Sequence[str] | None, image: bool
) -> PartIndex:
    directions = rng.normal(size=(labels.max() + 1, 64))
    inputs = rng.normal(size=(N_ROWS, 64))
    signal = (inputs @ directions.T)[:, labels] + 4 * rng.normal(size=(N_ROWS, len(labels)))
    pixels = np.clip(128 + 50 * inputs, 0, 255).astype(np.uint8).reshape(N_ROWS, 1, 8, 8)
    task_set = sr.TaskSet.from_arrays(
        pixels if image else inputs.astype(np.float32),
        (signal > 0).astype(np.int8),
        names=list(names) if names is not None else [f"task {t:04d}" for t in range(len(labels))],
        groups=[f"known {g}" for g in labels],
        seed=0,
    )
    return write_parts(task_set, run.sub("parts"))


def _profile(run: RunDir, rng: np.random.Generator, index: PartIndex, labels: np.ndarray) -> None:
    n, k = index.n_samples(), len(labels)
    mean = rng.beta(5, 2, size=(n, k)).astype(np.float32)
    spread = np.clip(0.7 * rng.beta(2, 4, size=(n, k)), 0, 0.7).astype(np.float32)
    visits = np.full(n, EPOCHS, np.int32)
    state = DataMapState(visits, mean, (spread**2 * (EPOCHS - 1)).astype(np.float32))
    bounds = np.cumsum([0, *index.rows["train"]])
    for p, (low, high) in enumerate(pairwise(bounds.tolist())):
        rows = run.sub("parts").read_arrow(f"train-{p:05d}.arrow").column("sample").to_numpy()
        file = f"profile/data_map/epoch-{EPOCHS:04d}/train-{p:05d}.arrow"
        run.write_arrow(file, state[slice(low, high)].to_batch(rows))
    samples = np.concatenate([
        run.sub("parts").read_arrow(f"train-{p:05d}.arrow").column("sample").to_numpy() for p in range(index.n_parts())
    ])  # fmt: skip
    run.write_parquet("profile/regions.parquet", regions_table(index.names, region_sums(state)))
    own = suspects(state, samples, np.zeros((n, k), np.int8))
    run.write_parquet("profile/suspects.parquet", suspects_table(index.names, [own]))
    run.write_arrays("profile/points.arrow", {"counts": point_counts(state) * (1e6 // n)})
    epochs = np.repeat(np.arange(1, EPOCHS + 1), k)
    loss = 0.7 * np.exp(-epochs / 6) + 0.05 * rng.random(len(epochs))
    table = {"epoch": epochs, "task": index.names * EPOCHS, "loss": loss, "confidence": np.exp(-loss)}
    run.write_parquet("profile/metrics.parquet", pa.table(table | {"seconds": np.ones(len(epochs))}))


def _affinities(run: RunDir, rng: np.random.Generator, config: Config, index: PartIndex, labels: np.ndarray) -> None:
    k = len(labels)
    for name in config.affinity.methods:
        values = 0.4 * (labels[:, None] == labels) + 0.15 * rng.normal(size=(k, k))
        values = (values + values.T) / 2
        matrix = TaskMatrix(tuple(index.names), values, "affinity", {"about": "Drawn, larger within groups."}, 1000)
        run.write_parquet(f"affinity/{name}.parquet", matrix.to_table())
        errors = replace(matrix, values=np.full((k, k), 0.05))
        run.write_parquet(f"affinity/{name}.stderr.parquet", errors.to_table())
    run.write_json("affinity/limits.json", [])


def _groups(rng: np.random.Generator, index: PartIndex, labels: np.ndarray) -> Groups:
    n = int(labels.max()) + 1
    membership = rng.dirichlet(np.full(n, 0.1), size=len(labels)) * 0.4 + 0.6 * np.eye(n)[labels]
    groups = Groups.from_labels(index.names, labels, "spectral", membership=membership.round(6))
    certainty = dict(zip(index.names, rng.beta(6, 2, size=len(labels)).round(4).tolist(), strict=True))
    curve = {m: 0.3 - 0.02 * abs(m - n) for m in range(1, n + 4)}
    return replace(groups, certainty=certainty, number_choice=NumberChoice("silhouette", curve))


def _retrain(
    run: RunDir,
    rng: np.random.Generator,
    config: Config,
    index: PartIndex,
    groups: Groups,
    means: Mapping[str, float],
) -> None:
    k, n = len(index.names), len(groups.groups)
    difficulty = rng.normal(scale=0.08, size=k)
    scored, networks = [], []
    for plan, mean in means.items():
        many = plan.startswith(("ours", "random"))
        for seed in range(SEEDS):
            for split in ("val", "test"):
                values = np.clip(mean + difficulty + 0.012 * rng.normal(size=k), 0, 1).round(6).tolist()
                scores = {
                    task: {"average_precision": value, "roc_auc": round((1 + value) / 2, 6)}
                    for task, value in zip(index.names, values, strict=True)
                }
                group = groups.serving if many else dict.fromkeys(index.names, 0)
                scored.append(Scored(plan, seed, "argmax", split, scores, group))
            for g in range(n if many else 1):
                about = {"plan": plan, "seed": seed, "group": g}
                longer = n if plan == "all_in_one_equal_cost" else 1
                networks.append({**about, "cost": 1_000_000 * longer, "seconds": 3.0 * longer})
                if seed:
                    continue  # only the first training's are looked at
                course = (mean * (1 - np.exp(-np.arange(1, EPOCHS + 1) / 3))).round(4).tolist()
                network = {"epochs": 400, "course": course, "device": "cpu"}
                run.write_json(f"{network_place(plan, g, seed)}/network.json", network)
    run.write_parquet("results.parquet", results_table(scored))
    run.write_parquet("costs.parquet", costs_table(networks))
    run.write_json("failures.json", [])
    results, costs = (run.read_parquet(f"{name}.parquet").to_pandas() for name in ("results", "costs"))
    chosen = choose(results, costs, index, set(), config.metric)
    if chosen is not None:
        run.write_json("chosen.json", chosen)


def name_classes(run: RunDir, task: int, classes: Sequence[int | float | str]) -> None:
    """Give the classes of one of a run's tasks the names that the data has for them."""
    index = run.read_json("parts/index.json")
    index["tasks"][task]["classes"] = list(classes)
    run.write_json("parts/index.json", index)


def make_regression(run: RunDir, task: int) -> None:
    """Make one of a run's tasks a regression, of which earlier versions wrote a data map of zeros."""
    index = run.read_json("parts/index.json")
    index["tasks"][task] |= {"kind": "regression", "n_classes": 1}
    run.write_json("parts/index.json", index)
    counts = run.read_arrays("profile/points.arrow")["counts"].copy()
    counts[task] = 0
    run.write_arrays("profile/points.arrow", {"counts": counts})
    regions = run.read_parquet("profile/regions.parquet").to_pandas()
    regions.loc[task, regions.columns != "task"] = 0
    run.write_parquet("profile/regions.parquet", pa.Table.from_pandas(regions, preserve_index=False))
    suspected = run.read_parquet("profile/suspects.parquet").to_pandas()
    suspected = suspected[suspected["task"] != index["tasks"][task]["name"]]
    run.write_parquet("profile/suspects.parquet", pa.Table.from_pandas(suspected, preserve_index=False))
