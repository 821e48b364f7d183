"""The main path: read this first.

    parts      lay the task set out as numbered Arrow files
    tune       search for settings of the network of all tasks, if asked for (Ray Tune)
    profile    train one network on all tasks (Ray Train) and record the data maps
    affinity   K x K distances of tasks from data maps and per-sample gradients (Ray actors)
    group      task graph, number of groups, clustering (driver)
    retrain    train every group's network, and the baselines (Ray Tune)
    report     tables, figures, one page

Every stage reads its predecessors' artifacts from the run directory and leaves its own there. A stage is done when its
marker says so for this configuration; the same command does what is not done. `stages.STAGES` is the table of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from stg_ray import grouping, report, tuning
from stg_ray.affinities import stage as affinities
from stg_ray.artifacts.given_trunk import keep_trunk
from stg_ray.artifacts.left_to_auto import note_auto
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.trust import check_code, is_own, sign, sign_code
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.checks import as_begun, check, check_earlier_stages, check_settings, finishing_command
from stg_ray.cluster.session import LazySession
from stg_ray.cluster.shared_storage import check_shared
from stg_ray.config import Config
from stg_ray.config.loading import default_out, looking_beside, set_values, with_settings
from stg_ray.data import stage as parts
from stg_ray.data.parts import read_index
from stg_ray.errors import InputError, PartlyFailed, unknown
from stg_ray.grouping.stage import groups_of
from stg_ray.planning.ahead import Ahead
from stg_ray.profiling import stage as profiling
from stg_ray.progress import Reporter, StageProgress
from stg_ray.retraining import stage as retraining
from stg_ray.retraining.all_tasks import AllTaskNetworks
from stg_ray.retraining.learning.meta import check_rows
from stg_ray.retraining.meta_profile import meta_profile
from stg_ray.runs import Run
from stg_ray.settling import settle, settle_on_cluster
from stg_ray.stages import STAGES, earlier
from stg_ray.tasks import TaskSet

Work = Callable[[RunDir, Config, StageProgress], None]

RUNS: dict[str, Work] = {
    "parts": parts.run,
    "tune": partial(tuning.run, networks=AllTaskNetworks),
    "profile": profiling.run,
    "affinity": partial(affinities.run, group_tasks=grouping.group_tasks, meta_profile=meta_profile),
    "group": grouping.run,
    "retrain": partial(retraining.run, group_tasks=grouping.group_tasks),
    "report": report.run,
}
"""The work of each stage."""
Source = TaskSet | Config | Mapping[str, Any] | str | os.PathLike[str]
"""Anything that can be run: a task set, a configuration or its sections, a preset's name, a YAML file."""


def run(
    source: Source,
    out: str | os.PathLike[str] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    until: str = "report",
    address: str | None = None,
    reporter: Reporter | None = None,
    verbose: bool = False,
) -> Run:
    """Run all stages up to `until`; in the directory of a run of the same configuration, those that are not done yet.

    Args:
        source: a task set, a configuration or a dictionary of its sections, a preset's name, or a YAML file.
        out: the run directory, a path or a URI; by default runs/NAME-HASH, the same for the same configuration.
        settings: keys to change, by section, such as `{"profile": {"epochs": 3}, "grouping": {"groups": 4}}`.
        until: the last stage to run: parts, tune, profile, affinity, group, retrain or report.
        address: a Ray cluster to join; by default $RAY_ADDRESS, else a local Ray that ends with the run.
        reporter: where progress is printed; on the console by default.
        verbose: print what Ray prints, too.

    Raises:
        InputError: the input is wrong, the directory belongs to another configuration or is in use.
        StgRayError: a stage failed; finished work is kept.

    Example:
        >>> import stg_ray as sr
        >>> run = sr.run("tiny.yaml", "runs/tiny", until="retrain")
        parts     done before...
        profile   done before
        affinity  done before...
        group     done before...
        retrain   done before...
        >>> run.groups
        Groups(...4 tasks in 2 groups...)
        >>> sr.run("digts")
        Traceback (most recent call last):
        ...
        stg_ray.errors.InputError: unknown preset 'digts': did you mean 'digits'? ...
    """
    if until not in STAGES:
        raise InputError(unknown(until, STAGES, "stage"))
    config, name = config_of(source, settings)
    works = RUNS | {"parts": partial(parts.run, task_set=source if isinstance(source, TaskSet) else None)}
    run_dir = RunDir(default_out(name, config) if out is None else out)
    run_dir.check_writable()
    with looking_beside(source), run_dir.lease():
        config = as_begun(run_dir, config)
        config = keep_trunk(run_dir, config)
        run_dir.check_sources(config)
        run_dir.write_config(config)
        sign_code(run_dir, config)
        parts.take_names(run_dir, config, source, reporter := reporter or Reporter())
        names = [stage.name for stage in (*earlier(until), STAGES[until]) if stage.name in config.stages]
        _run_stages(run_dir, config, names, LazySession(address, verbose=verbose), reporter, works)
    return Run(run_dir)


def config_of(source: Source, settings: Mapping[str, Any] | None = None) -> tuple[Config, str]:
    """Return the configuration of what can be run, and the name by which its default directory is called.

    Raises:
        InputError: there is no such preset or file, a key is wrong, or `source` is nothing that can be run.
    """
    if isinstance(source, TaskSet):
        return with_settings({"data": {"task_set": source.digest}}, settings), "tasks"
    if isinstance(source, Config | Mapping):
        return with_settings(source, settings), "run"
    if isinstance(source, str | os.PathLike):
        return with_settings(os.fspath(source), settings), os.fspath(source)
    raise InputError(
        f"{type(source).__name__} cannot be run: expected a TaskSet, a Config, a dictionary of sections, a preset's "
        "name or a YAML file"
    )


def run_stage(
    stage: str,
    out: str,
    *,
    overrides: Iterable[str] = (),
    address: str | None = None,
    reporter: Reporter | None = None,
    verbose: bool = False,
    trust_code: bool = False,
) -> Run:
    """Run one stage again on an existing run, with changed settings if any; every later stage becomes stale.

    After `retrain` the report is made anew, too; after an earlier stage the command is said that does what is left.

    Groups and reports are made without importing anything that the directory names. The other stages import the trunk
    of a `module:function`: if the directory is somebody else's, only with `trust_code`. Groups, and what rests on them,
    are kept until the new ones are made.

    Raises:
        InputError: an earlier stage is not done, a changed setting belongs to an earlier stage, or the directory names
            code that is not trusted.
    """
    run_dir = RunDir(out)
    run_dir.read_config()  # is it a run at all? (again below, when nobody else can change it)
    run_dir.check_writable()
    with run_dir.lease():
        before = run_dir.read_config()
        config = given = set_values(before, overrides)
        check_earlier_stages(run_dir, stage, before, config, out)
        index = read_index(run_dir.sub("parts"))
        config = settle(config, index)
        has_changed = False
        if STAGES[stage].needs_ray:
            check_code(run_dir, before, trust_code=trust_code)
            check(config, index)
            has_changed = run_dir.check_sources(config, stage)
            check_rows(run_dir.sub("parts"), config)
        elif STAGES[stage].adds:
            check_code(run_dir, before, trust_code=trust_code, sections=STAGES[stage].adds)
            check_settings(config, index)
            run_dir.check_sources(config, stage, note=stage != "group")
        # An interrupted stage goes on where it was; a finished one is done anew.
        sections = STAGES[stage].sections
        was_done = run_dir.is_done(stage, before) or run_dir.damaged_file(stage, before) is not None
        is_other = was_done or has_changed or config.fingerprint(sections) != before.fingerprint(sections)
        change = partial(_change, run_dir, before, given, config, forgotten=stage if is_other else None)
        reporter = reporter or Reporter()
        if stage == "group":
            _regroup(run_dir, config, reporter, change)
        else:
            change()
            then = ["report"] if stage == "retrain" else []  # the page is of these networks at once
            _run_stages(run_dir, config, [stage, *then], LazySession(address, verbose=verbose), reporter, RUNS)
        if not run_dir.exists("report.html"):
            reporter.say(f"{'report':<9} is to be made; all that is left: {finishing_command(run_dir, config)}")
    return Run(run_dir)


def _change(run_dir: RunDir, before: Config, given: Config, config: Config, forgotten: str | None) -> None:
    """Give a directory the settings of now, and take from it what a stage, and those after it, made by others."""
    own = is_own(run_dir, before)
    if forgotten is not None:
        run_dir.forget_from(forgotten)
    run_dir.write_config(config)
    note_auto(run_dir, given, before)
    if own:
        sign(run_dir, config)  # what the overrides name is this user's own, too


def _regroup(run_dir: RunDir, config: Config, reporter: Reporter, change: Callable[[], None]) -> None:
    """Group once more. A clusterer may fail: the directory is changed once there are other groups."""
    reporter.whole.ahead = Ahead(run_dir, ["group"])
    began = time.monotonic()
    with reporter.stage("group") as progress:
        groups = groups_of(run_dir, as_tuned(run_dir, config), progress)
        run_dir.check_sources(config, "group")
        change()
        run_dir.begin("group", config)
        run_dir.write_json("groups.json", groups.to_dict())
        run_dir.mark_done("group", config, time.monotonic() - began)


def _run_stages(
    run_dir: RunDir,
    config: Config,
    names: Sequence[str],
    session: LazySession,
    reporter: Reporter,
    works: Mapping[str, Work],
) -> None:
    for name in names:
        if file := run_dir.damaged_file(name, config):
            reporter.say(f"{name:<9} {file} is not as it was left: done again")
            run_dir.forget(name)
    first = next((i for i, name in enumerate(names) if not run_dir.is_done(name, config)), len(names))
    todo = names[first:]  # what follows a stage that is made again is made from it
    failed: PartlyFailed | None = None
    reporter.whole.ahead = Ahead(run_dir, todo)
    with session:
        if session.is_elsewhere and any(STAGES[name].needs_ray for name in todo):
            session.start()  # a cluster that is of no use is refused before anything is laid out
            check_shared(run_dir)
        for name in names:
            if name not in todo:
                note = run_dir.note_of_version(name)
                reporter.say(f"{name:<9} done before{note and f' {note}{_anew(name, run_dir)}'}")
            else:
                with reporter.stage(name) as progress:
                    if STAGES[name].needs_ray:
                        session.start()
                        check_shared(run_dir)  # nodes may have joined since
                        config = settle_on_cluster(run_dir, config)
                    failed = _run_one(name, works[name], run_dir, config, progress, failed)
            if name == "parts" and (todo or config.profile.lr == "auto"):  # nothing was settled, or for other settings
                config = _settled(run_dir, config)
    if failed is not None:
        raise failed


def _run_one(
    name: str, work: Work, run_dir: RunDir, config: Config, progress: StageProgress, failed: PartlyFailed | None
) -> PartlyFailed | None:
    """Run a stage. What partly failed stages leave is worth a report, but neither they nor what follows is done."""
    began = time.monotonic()
    if note := run_dir.note_of_version(name, begun=True):
        progress.note(f"was begun {note}: begun anew")
    run_dir.begin(name, config)
    try:
        work(run_dir, as_tuned(run_dir, config), progress)
    except PartlyFailed as error:
        failed = error
    if failed is None:
        run_dir.mark_done(name, config, time.monotonic() - began)
    return failed


def _anew(name: str, run_dir: RunDir) -> str:
    """Say how a stage that an older version made is made by this one."""
    return f" (for that, {'choose another directory' if name == 'parts' else f'stg-ray {name} {run_dir.uri}'})"


def _settled(run_dir: RunDir, config: Config) -> Config:
    """Decide what is left to the tasks, and refuse what they do not have, before anything is trained."""
    index = read_index(run_dir.sub("parts"))
    config = settle(config, index)
    check(config, index)
    check_rows(run_dir.sub("parts"), config)
    run_dir.write_config(config)  # settled once, whatever a later version would take
    return config
