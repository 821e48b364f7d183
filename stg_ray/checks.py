"""Checks before anything runs: settings that these tasks do not have, and directories that belong to other runs."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from stg_ray.affinities.estimators import check_methods, check_network, estimators_of
from stg_ray.artifacts.binding import forget_sources, is_bound
from stg_ray.artifacts.left_to_auto import note_auto
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.config import Config
from stg_ray.config.plans import trained_plans
from stg_ray.config.tuning import TUNED, with_tuned
from stg_ray.data.parts import PartIndex
from stg_ray.errors import InputError
from stg_ray.grouping.stage import check_grouping
from stg_ray.meta.network import check_tasks, kind_of, meta_network
from stg_ray.models import build_network, split_layers
from stg_ray.models.sizes import memory_bytes
from stg_ray.retraining.plans import check_plans
from stg_ray.retraining.search.size import check_search
from stg_ray.stages import STAGES, earlier
from stg_ray.training.augmentation import Augmentation
from stg_ray.training.metrics import check_metrics
from stg_ray.tuning.space import sizes_of

MOST_EPOCHS = 10**6
MOST_NETWORKS = 20_000
"""A thousand tasks, each by itself, ten times and beside the other plans; more are beyond what Ray Tune schedules."""

OF_ONE_NETWORK = ("all_in_one", "all_in_one_equal_cost", "branches")
"""Plans of one network, whatever our groups are."""

BYTES_OF_OUTPUT = 12
"""Of an output of a row: float32, and a probability in float64."""


def check(config: Config, index: PartIndex) -> None:
    """Refuse at the door what would fail, or have no meaning, hours later.

    Raises:
        InputError: more groups than tasks, a method or plan that these tasks do not have, a trunk that does not fit.
    """
    check_settings(config, index)
    check_loggers(config)
    check_methods(config.affinity, index)
    _check_gains(config, index)
    check_metrics(config.metric, index.tasks)
    _check_trunk(config, index)
    for sizes in sizes_of(config, index.input_shape):
        try:
            _check_trunk(with_tuned(config, sizes), index)
        except InputError as error:
            reached = ", ".join(f"{key} {value}" for key, value in sizes.items())
            raise InputError(f"tuning reaches {reached} (tune.space), and there: {error}") from error


def _check_gains(config: Config, index: PartIndex) -> None:
    """Refuse distances where the groups' gains are added."""
    if config.grouping.budget is None or config.grouping.budget.objective == "tasks":
        return
    for method, estimator in estimators_of(config.affinity, index).items():
        if estimator.kind == "distance" and config.grouping.weights.get(method, 1.0) > 0:
            raise InputError(
                f"grouping.budget.objective=groups adds gains, and {method} is a distance: set "
                "affinity.methods=[transfer_gain], or its weight in grouping.weights to 0"
            )


def _check_trunk(config: Config, index: PartIndex) -> None:
    """Refuse a trunk that cannot be built, or that an affinity or a plan cannot use."""
    network = build_network(config.model, index, index.tasks, config.seed)
    if config.retrain.learner != "joint":
        meta_network(config, index, kind_of(index.tasks, config.retrain.learner), config.seed)
    check_network(config.affinity, index, network)
    if "branches" in config.retrain.plans:
        split_layers(network.trunk, config.retrain.shared_layers)
    if "searched" in config.retrain.plans and config.search.frozen:
        split_layers(network.trunk, config.search.frozen)


def check_settings(config: Config, index: PartIndex) -> None:
    """Refuse settings that these tasks do not have, without building the network, and without affinities' code.

    Raises:
        InputError: more groups than tasks, a method, plan or augmentation that these tasks or inputs do not have.
    """
    check_sizes(config, index)
    check_grouping(config, index.names, [task.name for task in index.tasks if task.kind == "regression"])
    check_plans(config, index.tasks)
    check_search(config, index.names)
    check_tasks(config, index.tasks)
    for training in (config.profile, config.retrain):
        Augmentation.of(training, index.input_shape, np.arange(0))


def check_loggers(config: Config) -> None:
    """Refuse `retrain.loggers` whose package is not installed; each is an extra of its own name.

    Raises:
        InputError: one is not.
    """
    for name in config.retrain.loggers:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"retrain.loggers has {name}, which is not installed: pip install 'stg_ray[{name}]'")


def check_sizes(config: Config, index: PartIndex) -> None:
    """Refuse by arithmetic what would take longer, or more memory, than anybody has.

    Raises:
        InputError: too many epochs, or networks, or outputs for the rows of a split.
    """
    for section, training in (("profile", config.profile), ("retrain", config.retrain)):
        if isinstance(training.epochs, int) and training.epochs > MOST_EPOCHS:
            raise InputError(f"{section}.epochs={training.epochs}: expected at most {MOST_EPOCHS:,}")
    n_tasks, retrain = len(index.tasks), config.retrain
    most = config.grouping.groups if isinstance(config.grouping.groups, int) else n_tasks
    networks = retrain.seeds * sum(
        n_tasks if plan.base == "single_task" else 1 if plan.base in OF_ONE_NETWORK else min(most, n_tasks)
        for plan in trained_plans(retrain).values()
        if plan.copies is None  # else it trains nothing of its own
    )
    if networks > MOST_NETWORKS:
        raise InputError(
            f"retrain.seeds={retrain.seeds}, random_groups={retrain.random_groups} and the plans make up to "
            f"{networks:,} networks: expected at most {MOST_NETWORKS:,}"
        )
    n_train, n_val, folds = index.n_samples(), index.n_samples("val"), retrain.folds
    if folds > 1 and (n_val == 0 or (folds - 1) * n_val > n_train):
        most = 1 + n_train // n_val if n_val else 1
        raise InputError(
            f"retrain.folds={folds}: {n_train:,} training rows and {n_val:,} validation rows make at most {most} folds "
            "of as many validation rows"
        )
    rows, outputs = max(index.n_samples("val"), index.n_samples("test")), sum(task.n_outputs for task in index.tasks)
    if (needed := rows * outputs * BYTES_OF_OUTPUT) > (there := memory_bytes()):
        raise InputError(
            f"{outputs:,} outputs for {rows:,} validation or test rows take {needed / 2**30:,.0f} GiB of memory, and "
            f"this process can have {there / 2**30:,.0f}: are the classes of a task numbers that mean a quantity "
            "(data.tasks, kind: regression)? Else give fewer rows or classes"
        )


def check_earlier_stages(run_dir: RunDir, stage: str, before: Config, config: Config, out: str) -> None:
    """Refuse to run a stage alone while what it is made from is missing, or would have to be made anew.

    Args:
        run_dir: the directory of the run.
        stage: to be run.
        before: the run's configuration.
        config: the same with the changed settings.
        out: the directory as the user gave it.

    Raises:
        InputError: an earlier stage is not done, or a changed setting belongs to one.
    """
    if stage not in config.stages:
        raise InputError(f"tune.trials={config.tune.trials}: say how many settings to try, --set tune.trials=20")
    for needed in earlier(stage):
        if needed.name not in config.stages:
            continue
        if needed.name == "parts" and before.data.task_set is not None and not run_dir.is_done("parts", before):
            raise InputError(f"parts is not done in {run_dir.uri}: call sr.run again with its task set")
        run_dir.require(needed.name, before)
        if config.fingerprint(needed.sections) != before.fingerprint(needed.sections):
            changed = _some(before.differences(config, needed.sections))
            way = "start another run" if needed.name == "parts" else f"use stg-ray {needed.name} {out} --set ..."
            raise InputError(f"--set changes what decides the stage {needed.name} ({changed}): {way}")
    if stage != "tune" and (key := next((key for key in _tuned_in_vain(run_dir, before, config)), None)):
        raise InputError(
            f"--set changes {key}, which tuning found a value for: leave it out of the search, stg-ray tune {out} "
            "--set tune.space=..."
        )


def _tuned_in_vain(run_dir: RunDir, before: Config, config: Config) -> Iterator[str]:
    """Yield the settings that differ and that tuning replaces all the same."""
    tuned_before, tuned = as_tuned(run_dir, before), as_tuned(run_dir, config)
    for key, sections in TUNED.items():
        for section in sections:
            values = [getattr(getattr(each, section), key) for each in (before, config, tuned_before, tuned)]
            if values[0] != values[1] and values[2] == values[3]:
                yield f"{section}.{key}"


def as_begun(run_dir: RunDir, given: Config) -> Config:
    """Return a configuration as its directory goes on with it: with what was settled there, if a stage depends on that.

    Raises:
        InputError: the directory belongs to another configuration: settings differ that decide its results.
    """
    if not run_dir.has_done():
        forget_sources(run_dir, with_data=True)
        note_auto(run_dir, given)
        return given
    before = run_dir.read_config()
    config = given.resolved_as(before)
    if before.data.task_set and config.data.task_set and before.data.task_set != config.data.task_set:
        raise InputError(f"{run_dir.uri} began with another task set: give it that one, or choose another directory")
    sections = STAGES["parts"].sections
    if not is_bound(run_dir) and before.fingerprint(sections) == config.fingerprint(sections):
        forget_sources(run_dir, with_data=False)
        note_auto(run_dir, given, before)
        return given if before.differences(config) else config
    if differences := before.differences(config):
        raise InputError(
            f"{run_dir.uri} belongs to another configuration ({_some(differences)}): choose another "
            "directory (--out), or change one stage of that run with stg-ray STAGE DIR --set ..."
        )
    return config


def _some(differences: Sequence[str]) -> str:
    """Return the first differences, and how many others there are."""
    return "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")


def finishing_command(run_dir: RunDir, config: Config) -> str:
    """Name the command that does what is left of a run."""
    if config.data.task_set is not None:
        return f"sr.run with its task set, and {run_dir.uri}"
    file = shlex.quote(f"{run_dir.uri}/config.yaml") if run_dir.is_local else "CONFIG.yaml"
    return f"stg-ray run {file} --out {shlex.quote(run_dir.uri)}"
