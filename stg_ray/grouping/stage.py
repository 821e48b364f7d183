"""The group stage: it groups the tasks on the driver, from the K x K matrices of a run directory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.data_maps.histogram import PointHistogram
from stg_ray.errors import InputError
from stg_ray.grouping.arguments import check_n_groups
from stg_ray.grouping.clusterers.registry import check_method
from stg_ray.grouping.group_tasks import group_tasks
from stg_ray.grouping.inputs import as_matrix, in_order_of
from stg_ray.grouping.main_tasks import main_groups
from stg_ray.grouping.new_tasks import add_new_tasks
from stg_ray.grouping.resamples import has_errors
from stg_ray.grouping.selection import Conditions
from stg_ray.progress import StageProgress
from stg_ray.stages import AUXILIARY


def run(run_dir: RunDir, config: Config, progress: StageProgress) -> None:
    """Group the tasks by the affinities of the run and of `grouping.files`, and write groups.json."""
    run_dir.write_json("groups.json", groups_of(run_dir, config, progress).to_dict())


def groups_of(run_dir: RunDir, config: Config, progress: StageProgress) -> Groups:
    """Group the tasks by the affinities of the run and of `grouping.files`; nothing is written."""
    settings = config.grouping
    if settings.method == "auxiliary":
        groups = read_main_groups(run_dir)
        progress.summary = describe(groups)
        return groups
    sources: list[TaskMatrix | PointHistogram]
    errors: list[np.ndarray | None] | None = None
    resamples: list[np.ndarray | None] | None = None
    if settings.method == "points":
        names, sources = ["points"], [read_points(run_dir)]
    else:
        computed = config.affinity.methods
        matrices = [_read(run_dir, name) for name in computed]
        from_files = read_files(config, matrices[0].tasks)
        names, sources = [*computed, *settings.files], [*matrices, *from_files]
        unknown = [None] * len(from_files)
        errors = [*(_read(run_dir, f"{name}.stderr").values for name in computed), *unknown]
        resamples = [*(_resamples(run_dir, name) for name in computed), *unknown]
    weights = [settings.weights.get(name, 1.0) for name in names]
    groups = group_tasks(
        sources,
        errors=errors,
        resamples=resamples,
        weights=weights,
        method=settings.method,
        n_groups=settings.groups,
        min_groups=settings.min_groups,
        max_groups=settings.max_groups,
        criterion=settings.criterion,
        neighbours=settings.neighbours,
        overlap_above=settings.overlap_above,
        budget=settings.budget.model_dump() if settings.budget is not None else None,
        seed=config.seed,
        affinities=names,
    )
    known = [True] if errors is None or resamples is None else map(has_errors, resamples, errors)
    exact = [name for name, weight, is_known in zip(names, weights, known, strict=True) if weight > 0 and not is_known]
    progress.summary = describe(groups, exact)
    return groups


def add_tasks(out: str, file: str) -> Groups:
    """Join the new tasks of a larger K x K file to the groups of a run, and write groups.added.json beside groups.json.

    The run itself, whose parts have no labels of the new tasks, stays as it is.

    Raises:
        InputError: the groups are not made yet, the file is none, or does not name the old tasks and new ones, or the
            groups would break the run's budget.
    """
    run_dir = RunDir(out)
    config = run_dir.read_config()
    run_dir.check_writable()
    with run_dir.lease():
        run_dir.require("group", config)
        groups = add_new_tasks(Groups.from_dict(run_dir.read_json("groups.json")), file)
        _check_budget(config, groups)
        run_dir.write_json("groups.added.json", groups.to_dict())
        run_dir.record("group", "groups.added.json")
    return groups


def _check_budget(config: Config, groups: Groups) -> None:
    """Refuse groups that break the budget, which no old task moves to keep."""
    if (budget := config.grouping.budget) is None:
        return
    if broken := Conditions.of(budget.model_dump(), groups.tasks).broken_by(groups.members):
        raise InputError(
            f"with the new tasks the groups break grouping.budget: {broken}; old tasks would have to move: allow more, "
            "or group all tasks anew (sr.group with the same file, method='budget' and a budget)"
        )


def _read(run: RunDir, name: str) -> TaskMatrix:
    return TaskMatrix.from_table(run.read_parquet(f"affinity/{name}.parquet"))


def _resamples(run: RunDir, name: str) -> np.ndarray | None:
    """Read (B, K, K) values from resampled parts; None where an affinity does not add over parts."""
    file = f"affinity/{name}.resamples.arrow"
    return run.read_arrays(file)["values"] if run.exists(file) else None


def read_main_groups(run: RunDir) -> Groups:
    """Group the main tasks of a run with what was found to help them.

    Raises:
        InputError: nothing was looked for yet.
    """
    if not run.exists(AUXILIARY):
        raise InputError(
            f"grouping.method=auxiliary groups main tasks with what helps them, which is not known yet: give stg-ray "
            f"auxiliary {run.uri} --main TASK, then this command again"
        )
    run.check_file("affinity", AUXILIARY)
    mains = run.read_json(AUXILIARY)["mains"]
    return main_groups(read_index(run.sub("parts")).names, {main: about["kept"] for main, about in mains.items()})


def read_points(run: RunDir) -> PointHistogram:
    """Read the histograms of a run's data maps, to which every worker of the profile adds its parts.

    Raises:
        InputError: the run has none.
    """
    if not run.exists("profile/points.arrow"):
        raise InputError(f"{run.uri} has no profile/points.arrow: run stg-ray profile {run.uri} again")
    names = read_index(run.sub("parts")).names
    return PointHistogram(tuple(names), run.read_arrays("profile/points.arrow")["counts"])


def read_files(config: Config, tasks: Sequence[str]) -> list[TaskMatrix]:
    """Read the matrices of `grouping.files`, in the order of these tasks.

    Raises:
        InputError: a file cannot be read or names other tasks.
    """
    return [in_order_of(as_matrix(path), tasks, path) for path in config.grouping.files.values()]


def check_grouping(config: Config, tasks: Sequence[str], regressions: Sequence[str] = ()) -> None:
    """Check a configuration before anything is computed.

    Raises:
        InputError: a method whose package is missing, too few or too many tasks, more groups than tasks, a budget that
            contradicts itself, a file that cannot be read or names other tasks, or points of regressions.
    """
    check_method(config.grouping.method, len(tasks))
    if config.grouping.method == "points" and regressions:
        raise InputError(
            f"task {regressions[0]!r} is a regression, which has no confidence: use another grouping.method than points"
        )
    check_n_groups(config.grouping, len(tasks))
    if config.grouping.budget is not None:
        Conditions.of(config.grouping.budget.model_dump(), tasks)
    read_files(config, tasks)


def describe(groups: Groups, exact: Sequence[str] = ()) -> str:
    """Return a line on the groups, for the progress of the stage.

    Args:
        exact: the affinities whose errors are not known, and count as none.
    """
    if len(groups.groups) == 1:
        return f"one group: {groups.why_one}"
    sizes = ", ".join(str(len(members)) for members in groups.groups)
    fewer = "" if groups.asked_for is None else f" ({groups.asked_for} were asked for)"
    text = f"{len(groups.tasks)} tasks in {len(groups.groups)} groups of {sizes}{fewer}"
    if (selection := groups.selection) is not None:
        proof = "proved best" if selection.optimal else f"no choice exceeds {selection.bound:.4f}"
        text += f"; mean score {selection.score:.4f}, {proof}"
    if groups.number_choice is not None and groups.number_choice.structure is not None:
        text += f"; structure {groups.number_choice.structure}"
    if groups.is_at_bound:
        text += f"; beware: {len(groups.groups)} groups are the most that were tried: set grouping.max_groups higher"
    if groups.certainty is not None:
        text += f"; mean certainty {sum(groups.certainty.values()) / len(groups.certainty):.2f}"
        text += f", at most: errors of {' and '.join(exact)} are not known" if exact else ""
    return text
