"""The main path: read this first.

    parts      lay the task set out as numbered Arrow files
    profile    train one network on all tasks (Ray Train) and record the data maps
    affinity   K x K distances of tasks from data maps and per-sample gradients (Ray actors)
    group      task graph, number of groups, clustering (driver)
    retrain    train every group's network, and the baselines (Ray Tune)
    report     tables, figures, one page

Every stage reads its predecessors' artifacts from the run directory and leaves its own there. A stage is done when its
marker says so for this configuration; the same command does what is not done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from stg_ray.affinities.stage import check_methods, check_network, compute_affinities
from stg_ray.cluster import device_facts, is_elsewhere, session
from stg_ray.config import Config
from stg_ray.config_loading import load_config, set_values
from stg_ray.data.parts import PartIndex, read_index, write_parts
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError, PartlyFailed
from stg_ray.grouping import group
from stg_ray.grouping.inputs import as_matrix
from stg_ray.grouping.joining import join_tasks
from stg_ray.grouping.stage import check_grouping
from stg_ray.groups import Groups
from stg_ray.models import build_network
from stg_ray.models.augmentation import Augmentation
from stg_ray.models.settling import settle
from stg_ray.profiling import profile
from stg_ray.progress import Reporter, StageProgress
from stg_ray.report import write_report
from stg_ray.retraining import retrain
from stg_ray.retraining.plans import check_plans
from stg_ray.run_dir import SECTIONS_OF_STAGE, RunDir
from stg_ray.shared_storage import check_shared

Stage = Callable[[RunDir, Config, StageProgress], None]


def lay_out(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Load the task set and write its parts."""
    task_set = load_task_set(config.data, config.seed)
    index = write_parts(task_set, run.sub("parts"), part_rows=config.data.rows_of_a_part, seed=config.seed)
    sizes = ", ".join(f"{index.n_samples(split):,} {split}" for split in index.rows)
    dropped = f"; constant and dropped: {', '.join(task_set.dropped)}" if task_set.dropped else ""
    progress.summary = f"{len(index.tasks)} tasks, samples: {sizes}{dropped}"


def check(config: Config, index: PartIndex) -> None:
    """Refuse at the door what would fail, or have no meaning, hours later.

    Raises:
        InputError: more groups than tasks, a method or plan that these tasks do not have, a trunk that does not fit.
    """
    check_grouping(config, index.names, [task.name for task in index.tasks if task.kind == "regression"])
    check_methods(config.affinity, index)
    check_plans(config, index.tasks)
    for training in (config.profile, config.retrain):
        Augmentation.of(training, index.input_shape, np.arange(0))
    check_network(config.affinity, index, build_network(config.model, index, index.tasks, config.seed))


STAGES: dict[str, Stage] = {
    "parts": lay_out,
    "profile": profile,
    "affinity": compute_affinities,
    "group": group,
    "retrain": retrain,
    "report": write_report,
}

NEEDS_RAY = {"profile", "affinity", "retrain"}


def run(
    config: Config | str,
    out: str | None = None,
    *,
    until: str = "report",
    address: str | None = None,
    reporter: Reporter | None = None,
    verbose: bool = False,
) -> RunDir:
    """Run all stages up to `until`; on a directory of the same configuration, those that are not done yet.

    Args:
        config: a configuration, a preset's name, or a YAML file.
        out: the run directory, a path or a URI; by default runs/NAME-HASH, the same for the same configuration.
        address: a Ray cluster to join; by default $RAY_ADDRESS, else a local Ray of its own.

    Raises:
        InputError: the input is wrong, the directory belongs to another configuration or is in use.
        StgRayError: a stage failed; what was finished is kept.
    """
    source = config if isinstance(config, str) else "run"
    config = load_config(config) if isinstance(config, str) else config
    directory = RunDir(out or default_out(source, config))
    directory.check_writable()
    with directory.lease():
        if directory.has_config():
            config = config.settled_as(directory.read_config())
            _check_same(directory, config)
        directory.check_sources(config)
        directory.write_config(config)
        stages = list(STAGES)
        _run_stages(directory, config, stages[: stages.index(until) + 1], address, reporter, verbose)
    return directory


def run_stage(
    stage: str,
    out: str,
    *,
    overrides: Iterable[str] = (),
    address: str | None = None,
    reporter: Reporter | None = None,
    verbose: bool = False,
) -> RunDir:
    """Run one stage again on an existing run, with changed settings if any; every later stage becomes stale.

    Raises:
        InputError: an earlier stage is not done, or a changed setting belongs to an earlier stage.
    """
    directory = RunDir(out)
    directory.read_config()  # is it a run at all? (again below, when nobody else can change it)
    directory.check_writable()
    with directory.lease():
        before = directory.read_config()
        config = set_values(before, overrides)
        _check_earlier_stages(directory, stage, before, config, out)
        directory.check_sources(config)
        check(config, read_index(directory.sub("parts")))
        # An interrupted stage goes on where it was; a finished one is done anew.
        sections = SECTIONS_OF_STAGE[stage]
        if directory.is_done(stage, before) or config.fingerprint(sections) != before.fingerprint(sections):
            directory.forget_from(stage)
        directory.write_config(config)
        _run_stages(directory, config, [stage], address, reporter, verbose)
    return directory


def add_tasks(out: str, file: str) -> Groups:
    """Join the new tasks of a larger K x K file to the groups of a run, and write groups.added.json beside groups.json.

    The run itself, whose parts have no labels of the new tasks, stays as it is.

    Raises:
        InputError: the groups are not made yet, or the file is none, or does not name the old tasks and new ones.
    """
    directory = RunDir(out)
    config = directory.read_config()
    directory.check_writable()
    with directory.lease():
        if not directory.is_done("group", config):
            raise InputError(f"group is not done in {directory.uri}: finish it first with stg-ray run")
        groups = join_tasks(Groups.from_dict(directory.read_json("groups.json")), as_matrix(file))
        directory.write_json("groups.added.json", groups.to_dict())
    return groups


def default_out(source: str, config: Config) -> str:
    """The same configuration finds its directory again; another one gets another."""
    return f"runs/{Path(source).stem}-{config.fingerprint(SECTIONS_OF_STAGE['report'])[:8]}"


def _run_stages(
    directory: RunDir,
    config: Config,
    stages: list[str],
    address: str | None,
    reporter: Reporter | None,
    verbose: bool,
) -> None:
    reporter = reporter or Reporter()
    first = next((i for i, stage in enumerate(stages) if not directory.is_done(stage, config)), len(stages))
    missing = stages[first:]  # what follows a stage that is made again is made from it
    failed: PartlyFailed | None = None
    with ExitStack() as stack:
        ray_is_up = bool(NEEDS_RAY & set(missing)) and is_elsewhere(address)
        if ray_is_up:  # a cluster of no use is refused before anything is laid out; a Ray of our own starts when needed
            stack.enter_context(session(address, verbose=verbose))
            check_shared(directory)
        for stage in stages:
            if stage not in missing:
                reporter.say(f"{stage:<9} done before")
            else:
                with reporter.stage(stage) as progress:
                    if stage in NEEDS_RAY:
                        if not ray_is_up:
                            stack.enter_context(session(address, verbose=verbose))
                            ray_is_up = True
                        check_shared(directory)  # nodes may have joined since
                        config = _settled(directory, config)
                    began = time.monotonic()
                    directory.begin(stage, config)
                    try:
                        STAGES[stage](directory, config, progress)
                    except PartlyFailed as error:
                        failed = error  # what there is is worth a report; none of it is marked as done
                    if failed is None:
                        directory.mark_done(stage, config, time.monotonic() - began)
            if stage == "parts" and missing:
                check(config, read_index(directory.sub("parts")))
    if failed is not None:
        raise failed


def _settled(directory: RunDir, config: Config) -> Config:
    """Decide what is left to the devices, and keep it: a resumed run must not decide anew, perhaps on other devices."""
    if "auto" not in (config.profile.precision, config.profile.memory_format, config.retrain.precision) and (
        config.retrain.memory_format != "auto"
    ):
        return config
    index = read_index(directory.sub("parts"))
    network = build_network(config.model, index, index.tasks, config.seed)
    facts = device_facts()
    sections = {
        name: settle(getattr(config, name), facts, network, index.input_shape) for name in ("profile", "retrain")
    }
    config = config.model_copy(update=sections)
    directory.write_config(config)
    return config


def _check_earlier_stages(directory: RunDir, stage: str, before: Config, config: Config, out: str) -> None:
    stages = list(STAGES)
    for name in stages[: stages.index(stage)]:
        if not directory.is_done(name, before):
            again = "" if name == "parts" else f", or stg-ray {name} {out}"
            raise InputError(f"{name} is not done in {directory.uri}: finish it first with stg-ray run{again}")
        if config.fingerprint(SECTIONS_OF_STAGE[name]) != before.fingerprint(SECTIONS_OF_STAGE[name]):
            changed = "; ".join(before.differences(config))
            way = "start another run" if name == "parts" else f"use stg-ray {name} {out} --set ..."
            raise InputError(f"--set changes what decides the stage {name} ({changed}): {way}")


def _check_same(directory: RunDir, config: Config) -> None:
    differences = directory.read_config().differences(config)
    if differences:
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        raise InputError(
            f"{directory.uri} belongs to another configuration ({shown}): choose another "
            "directory with --out, or change one stage of that run with stg-ray STAGE DIR --set ..."
        )
