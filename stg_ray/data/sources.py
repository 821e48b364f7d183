"""Task sets of the configuration's `data` section, whatever their source."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

from stg_ray.config.data import data_root, npz_path
from stg_ray.config.presets import PRESETS
from stg_ray.data.arff import read_arff
from stg_ray.data.array_files import read_npy, read_npz
from stg_ray.data.csv_files import read_csv
from stg_ray.data.hugging_face import read_hugging_face
from stg_ray.data.image_folder import read_image_folder
from stg_ray.data.joining import join_task_sets
from stg_ray.data.libsvm import read_libsvm
from stg_ray.data.parquet import read_parquet
from stg_ray.errors import InputError, one_line
from stg_ray.imports import check_arguments, raised, resolve
from stg_ray.tasks import TaskSet
from stg_ray.tasks.notes import DataWarning, noted
from stg_ray.tasks.settings import TaskSettings, task_settings
from stg_ray.tasks.splitting import check_split

if TYPE_CHECKING:
    from stg_ray.config.data import DataConfig


def load_task_set(config: DataConfig, seed: int, given: TaskSet | None = None) -> TaskSet:
    """Return the task set that a `data` section describes, checked and limited.

    Args:
        seed: decides splits that are made, and the rows that a limit keeps.
        given: the task set itself, where `data.task_set` is the digest of one that is given in Python.

    Raises:
        InputError: the data is not there or not as it must be; a function of the user's raised (its traceback is in
            the exception's cause).
    """
    task_set = _prepared(config, seed, given)
    if len(task_set.tasks) < 2:
        raise InputError(
            "there is 1 task: grouping needs at least 2 (of a column of classes, data.*.classes makes a task for each "
            "class; in Python, labels == c does)"
        )
    check_split(task_set.split)
    return task_set


def _prepared(config: DataConfig, seed: int, given: TaskSet | None = None) -> TaskSet:
    """Return a set by itself, or one of several that are joined, which may have a single task."""
    try:
        if given is None:
            with task_settings(_settings_of(config)):
                given = _load(config, seed)
        whole = given.with_new_split(seed) if config.split == "stratified" else given
        some = whole.limited(config.limit, seed).without_constant_tasks(config.constant_tasks, config.min_positives)
        return some.with_balanced_classes() if config.class_weights == "balanced" else some
    except OSError as error:
        raise InputError(f"the data cannot be read: {one_line(error)}") from error
    except MemoryError as error:
        raise InputError(
            f"the data does not fit into this machine's memory ({one_line(error)}): give fewer rows or features, or "
            "lift the limit (ulimit -v)"
        ) from error


def _settings_of(config: DataConfig) -> TaskSettings:
    return TaskSettings(
        kinds={pattern: task.kind for pattern, task in config.tasks.items() if task.kind is not None},
        missing={pattern: task.missing for pattern, task in config.tasks.items() if task.missing is not None},
        drops_empty=config.constant_tasks != "refuse",
        makes_split=config.split == "stratified",
    )


def _load(config: DataConfig, seed: int) -> TaskSet:
    """Return the task set of the one source that is given."""
    root = data_root(config)
    if config.preset is not None:
        preset = PRESETS[config.preset]
        size = {} if config.image_size is None else {"image_size": config.image_size}
        task_set: TaskSet = resolve(preset.source)(root, seed, **{**preset.arguments, **size})
        return task_set
    if config.parquet is not None:
        return read_parquet(config.parquet, root, seed, config.image_size)
    if config.csv is not None:
        return read_csv(config.csv, root, seed, config.image_size)
    if config.arff is not None:
        return read_arff(config.arff, root, seed)
    if config.libsvm is not None:
        return read_libsvm(config.libsvm, root, seed)
    if config.hugging_face is not None:
        return read_hugging_face(config.hugging_face, root, seed, config.image_size)
    if config.images is not None:
        return read_image_folder(config.images, root, seed, config.image_size)
    if config.npz is not None:
        return read_npz(npz_path(config), config.npz, root, seed)
    if config.npy is not None:
        return read_npy(config.npy, root, seed)
    if config.function is not None:
        return _from_function(config.function, config.arguments)
    if config.task_set is not None:
        raise InputError(
            "data.task_set stands for a task set that was given in Python, and only the directory of its run holds it, "
            "once its parts are laid out there: call sr.run again with that task set and directory"
        )
    parts = enumerate(config.joined().items())
    return join_task_sets({name: _joined_part(i, name, part, seed) for i, (name, part) in parts})


def _joined_part(number: int, name: str, config: DataConfig, seed: int) -> TaskSet:
    """Return one of the sets that are joined; what is wrong with it, or may not be meant, is said with its name."""
    which = f"the joined set {name!r} (data.join.{number})"
    try:
        with noted() as notes:
            task_set = _prepared(config, seed)
    except InputError as error:
        raise InputError(f"{which}: {error}") from (error.__cause__ or error)
    for note in notes:
        warnings.warn(f"{which}: {note}", DataWarning, stacklevel=2)
    return task_set


def _from_function(name: str, arguments: dict[str, Any]) -> TaskSet:
    function = resolve(name, "data.function")
    check_arguments(name, function, arguments)
    try:
        result = function(**arguments)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit too: it would end this program as if it had done its work
        raise InputError(f"data.function={name} was called, and {raised(error)}") from error
    if inspect.iscoroutine(result):
        result.close()
    if not isinstance(result, TaskSet):
        raise InputError(f"{name} returned {type(result).__name__}: expected a stg_ray.TaskSet")
    return result
