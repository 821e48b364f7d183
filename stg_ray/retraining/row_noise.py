"""The jackknife of the trainings of plans, by Ray tasks, from what their networks predict for validation rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.calls import wait_for
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.imports import work_in
from stg_ray.models import OutputLayout
from stg_ray.retraining.held_out import HeldOut, together
from stg_ray.retraining.jackknife import WithoutFolds, without_each_fold
from stg_ray.retraining.kept import folders_of
from stg_ray.retraining.plans import Plan
from stg_ray.retraining.specs import NetworkSpec, fold_of
from stg_ray.training.compute import training_process


def jackknifed_scores(
    run: RunDir,
    config: Config,
    plans: Mapping[str, Plan],
    specs: Sequence[NetworkSpec],
    failed: set[tuple[str, int]],
) -> WithoutFolds:
    """Score the trainings of plans without each fold of the validation rows, by Ray tasks.

    Nothing is returned where there is nothing to compare, or networks are initialisations, without outputs of a task.

    Args:
        specs: of the networks, trained.
        failed: trainings (plan, seed) in which a network is missing; they are left out.
    """
    import ray

    if config.retrain.learner != "joint":
        return {}
    folders = {key: own for key, own in folders_of(specs, config).items() if key not in failed}
    if len({(name, serving) for name, _ in folders for serving in plans[name].servings}) < 2:
        return {}
    score = ray.remote(num_cpus=1, max_retries=config.retrain.max_failures)(_jackknife)
    references = {
        (name, seed): score.options(name=f"row noise of {name}, seed {seed}").remote(
            run.uri, config.model_dump(), plans[name].groups.to_dict(), plans[name].servings, seed, own, os.getcwd()
        )
        for (name, seed), own in folders.items()
    }
    found = wait_for(lambda: ray.get(list(references.values())))
    return {
        (name, serving, seed): scores
        for (name, seed), by_serving in zip(references, found, strict=True)
        for serving, scores in by_serving.items()
    }


def _jackknife(
    uri: str,
    config: dict[str, object],
    of_plan: dict[str, object],
    servings: list[Serving],
    seed: int,
    own: dict[int, str],
    directory: str,
) -> dict[Serving, np.ndarray]:
    """Score one training of a plan, in a Ray task.

    Args:
        own: folders of the networks, by the numbers of their groups.
        directory: in which the program was started.
    """
    work_in(directory)
    with training_process(1):
        run, settings, groups = Storage(uri), Config.model_validate(config), Groups.from_dict(of_plan)
        index = read_index(run.sub("parts"))
        tasks = {task.name: task for task in index.tasks}
        rows = TaskRows(run.sub("parts"), index, "val", range(len(index.tasks)), fold_of(settings, seed))
        members = [[tasks[name] for name in groups.groups[group]] for group in sorted(own)]
        networks = list(zip(members, [HeldOut.read(run, own[group]) for group in sorted(own)], strict=True))
        layout, scores = OutputLayout(index.tasks), {}
        for serving in servings:
            outputs = together(index.tasks, groups.serving_weights(serving), networks, index.n_samples("val"))
            scores[serving] = without_each_fold(layout, outputs[rows.rows], rows, settings.metric)
        return scores
