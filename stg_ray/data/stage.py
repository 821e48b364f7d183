"""The parts stage: load the task set and lay it out."""

from __future__ import annotations

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.data.parts import write_parts
from stg_ray.data.sources import load_task_set
from stg_ray.progress import StageProgress
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
    with noted() as notes:
        task_set = load_task_set(config.data, config.seed, task_set)
    check_varied(task_set.inputs)
    index = write_parts(
        task_set,
        run_dir.sub("parts"),
        part_rows=config.data.rows_of_a_part,
        seed=config.seed,
        normalize=config.data.normalize,
    )
    sizes = ", ".join(f"{index.n_samples(split):,} {split}" for split in index.rows)
    progress.summary = f"{len(index.tasks)} tasks, samples: {sizes}"
    for line in [*about(task_set), *notes]:
        progress.note(line)
