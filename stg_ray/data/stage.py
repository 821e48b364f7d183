"""The parts stage: load the task set and lay it out."""

from __future__ import annotations

from dataclasses import replace

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.data.parts import read_index, write_parts
from stg_ray.data.sources import load_task_set
from stg_ray.data.used_files import used_files
from stg_ray.progress import Reporter, StageProgress
from stg_ray.tasks import TaskSet
from stg_ray.tasks.about import about
from stg_ray.tasks.checks import check_varied
from stg_ray.tasks.notes import noted


def run(run_dir: RunDir, config: Config, progress: StageProgress, *, task_set: TaskSet | None = None) -> None:
    """Load the task set of the configuration and write its parts.

    Args:
        task_set: the one whose digest is `data.task_set`, where it is given in Python.

    Raises:
        InputError: the data is not there, or not as it must be.
    """
    with noted() as notes, used_files() as used:
        task_set = load_task_set(config.data, config.seed, task_set)
    check_varied(task_set.inputs)
    index = write_parts(
        task_set,
        run_dir.sub("parts"),
        part_rows=config.data.rows_of_a_part,
        seed=config.seed,
        normalize=config.data.normalize,
    )
    run_dir.note_images(used)
    sizes = ", ".join(f"{index.n_samples(split):,} {split}" for split in index.rows)
    progress.summary = f"{len(index.tasks)} tasks, samples: {sizes}"
    for line in [*about(task_set), *notes]:
        progress.note(line)


def take_names(run_dir: RunDir, config: Config, source: object, reporter: Reporter) -> None:
    """Give a run whose parts are laid out the names that its task set now has for the columns of its inputs.

    They decide nothing that is computed, only which columns of a data frame are taken for which in a prediction: the
    digest of a task set leaves them out, and what was trained stays as it is.

    Args:
        run_dir: of the run, whose owner calls this.
        config: of the run.
        source: what is run; where it is no task set, or its columns have no names, nothing is done.
        reporter: says which names are others.
    """
    if not isinstance(source, TaskSet) or source.features is None or not run_dir.is_done("parts", config):
        return
    index = read_index(run_dir.sub("parts"))
    if index.features == source.features:
        return
    run_dir.write_json("parts/index.json", replace(index, features=source.features).to_dict())
    run_dir.record("parts", "parts/index.json")
    if index.features is not None:
        others = [pair for pair in zip(index.features, source.features, strict=True) if pair[0] != pair[1]]
        (before, now), more = others[0], f" (and {len(others) - 1:,} more)" if len(others) > 1 else ""
        reporter.say(f"{'parts':<9} takes the names of columns as they are given now: {before!r} is {now!r}{more}")
