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

from stg_ray.affinity.stage import check_tasks, compute_affinities
from stg_ray.cluster import check_address, session
from stg_ray.config import Config, load_config, set_values
from stg_ray.data.parts import read_index, write_parts
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.grouping import group
from stg_ray.grouping.stage import check_n_groups
from stg_ray.profiling import profile
from stg_ray.progress import Reporter, StageProgress
from stg_ray.report import write_report
from stg_ray.retraining import retrain
from stg_ray.run_dir import SECTIONS_OF_STAGE, RunDir

Stage = Callable[[RunDir, Config, StageProgress], None]


def lay_out(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Load the task set, check it against the configuration, and write its parts."""
    task_set = load_task_set(config.data, config.seed)
    check_n_groups(config.grouping.groups, len(task_set.tasks))
    rows = None if config.data.part_rows == "auto" else config.data.part_rows
    index = write_parts(task_set, run.sub("parts"), part_rows=rows, seed=config.seed)
    sizes = ", ".join(f"{index.n_samples(split):,} {split}" for split in index.rows)
    progress.summary = f"{len(index.tasks)} tasks, samples: {sizes}"


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
    out: str,
    *,
    until: str = "report",
    address: str | None = None,
    reporter: Reporter | None = None,
    verbose: bool = False,
) -> RunDir:
    """Run all stages up to `until`; on a directory of the same configuration, those that are not done yet.

    Args:
        config: a configuration, a preset's name, or a YAML file.
        out: the run directory, a path or a URI.
        address: a Ray cluster to join; by default $RAY_ADDRESS, else a local Ray of its own.

    Raises:
        InputError: the input is wrong, the directory belongs to another configuration or is in use.
        StgRayError: a stage failed; what was finished is kept.
    """
    config = load_config(config) if isinstance(config, str) else config
    directory = RunDir(out)
    check_address(address)
    if directory.has_config():
        _check_same(directory, config)
    directory.check_writable()
    with directory.lease():
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
    check_address(address)
    directory = RunDir(out)
    before = directory.read_config()
    config = set_values(before, overrides)
    stages = list(STAGES)
    earlier = stages[: stages.index(stage)]
    for name in earlier:
        if not directory.is_done(name, before):
            again = "" if name == "parts" else f", or stg-ray {name} {out}"
            raise InputError(f"{name} is not done in {directory.uri}: finish it first with stg-ray run{again}")
        if config.fingerprint(SECTIONS_OF_STAGE[name]) != before.fingerprint(SECTIONS_OF_STAGE[name]):
            changed = "; ".join(before.differences(config))
            way = "start another run" if name == "parts" else f"use stg-ray {name} {out} --set ..."
            raise InputError(f"--set changes what decides the stage {name} ({changed}): {way}")
    if stage == "group":
        check_n_groups(config.grouping.groups, len(read_index(directory.sub("parts")).tasks))
    directory.check_writable()
    with directory.lease():
        # An interrupted stage goes on where it was; a finished one is done anew.
        if directory.is_done(stage, before) or config != before:
            directory.forget_from(stage)
        directory.write_config(config)
        _run_stages(directory, config, [stage], address, reporter, verbose)
    return directory


def missing_stages(directory: RunDir, config: Config, until: str = "report") -> list[str]:
    """Stages up to `until` that are not done for this configuration."""
    stages = list(STAGES)
    return [stage for stage in stages[: stages.index(until) + 1] if not directory.is_done(stage, config)]


def _run_stages(
    directory: RunDir,
    config: Config,
    stages: list[str],
    address: str | None,
    reporter: Reporter | None,
    verbose: bool,
) -> None:
    reporter = reporter or Reporter()
    with ExitStack() as stack:
        ray_is_up = False
        for stage in stages:
            if directory.is_done(stage, config):
                reporter.say(f"{stage:<9} done before")
                continue
            with reporter.stage(stage) as progress:
                if stage in NEEDS_RAY and not ray_is_up:
                    stack.enter_context(session(address, verbose=verbose))
                    ray_is_up = True
                began = time.monotonic()
                directory.begin(stage, config)
                STAGES[stage](directory, config, progress)
                directory.mark_done(stage, config, time.monotonic() - began)
            if stage == "parts":
                check_tasks(config, read_index(directory.sub("parts")))


def _check_same(directory: RunDir, config: Config) -> None:
    differences = directory.read_config().differences(config)
    if differences:
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        raise InputError(
            f"{directory.uri} belongs to another configuration ({shown}): choose another "
            "directory with --out, or change one stage of that run with stg-ray STAGE DIR --set ..."
        )
