"""Task sets of the configuration's `data` section, whatever their source."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_ray.config.data import data_root, npz_path
from stg_ray.config.presets import PRESETS
from stg_ray.data.image_folder import read_image_folder
from stg_ray.data.joining import join_task_sets
from stg_ray.data.parquet import read_parquet
from stg_ray.errors import InputError, one_line
from stg_ray.imports import resolve
from stg_ray.tasks import TaskSet
from stg_ray.tasks.settings import TaskSettings, task_settings

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
        raise InputError("there is 1 task: grouping needs at least 2")
    return task_set


def _prepared(config: DataConfig, seed: int, given: TaskSet | None = None) -> TaskSet:
    """Return a set by itself, or one of several that are joined, which may have a single task."""
    if given is None:
        with task_settings(_settings_of(config)):
            given = _load(config, seed)
    task_set = given.with_new_split(seed) if config.split == "stratified" else given
    task_set = task_set.limited(config.limit, seed).without_constant_tasks(config.constant_tasks, config.min_positives)
    return task_set.with_balanced_classes() if config.class_weights == "balanced" else task_set


def _settings_of(config: DataConfig) -> TaskSettings:
    return TaskSettings(
        kinds={pattern: task.kind for pattern, task in config.tasks.items() if task.kind is not None},
        missing={pattern: task.missing for pattern, task in config.tasks.items() if task.missing is not None},
        drops_empty=config.constant_tasks != "refuse",
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
    if config.images is not None:
        return read_image_folder(config.images, root, seed, config.image_size)
    if config.npz is not None:
        return _from_npz(config, seed)
    if config.function is not None:
        return _from_function(config.function, config.arguments)
    if config.task_set is not None:
        raise InputError(
            "data.task_set stands for a task set that was given in Python, and only the directory of its run holds it, "
            "once its parts are laid out there: call sr.run again with that task set and directory"
        )
    return join_task_sets({name: _prepared(part, seed) for name, part in config.joined().items()})


def _from_function(name: str, arguments: dict[str, Any]) -> TaskSet:
    function = resolve(name)
    try:
        result = function(**arguments)
    except InputError:
        raise
    except Exception as error:
        # The fault is in the user's own code: what helps is its traceback, without our frames above it.
        tail = error.__traceback__.tb_next if error.__traceback__ else None
        text = "".join(traceback.format_exception(error.with_traceback(tail))).rstrip()
        raise InputError(f"{name} raised {type(error).__name__}:\n{text}") from error
    if not isinstance(result, TaskSet):
        raise InputError(f"{name} returned {type(result).__name__}: expected a stg_ray.TaskSet")
    return result


def _from_npz(config: DataConfig, seed: int) -> TaskSet:
    path = npz_path(config)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise InputError(f"data.npz: no file {config.npz!r} here nor in the data root {data_root(config)}") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"data.npz: {path} cannot be read as .npz: {one_line(error)}") from error
    except Exception as error:  # zipfile and zlib raise their own kinds for truncated files
        raise InputError(f"data.npz: {path} is damaged: {one_line(error)}") from error
    known = {"inputs", "labels", "names", "kinds", "groups", "split"}
    if not {"inputs", "labels"} <= set(arrays) or not set(arrays) <= known:
        raise InputError(
            f"data.npz: {path} holds {', '.join(sorted(arrays)) or 'nothing'}: expected inputs and labels, and "
            "optionally names, kinds, groups, split"
        )
    texts = {key: arrays[key].astype(str).tolist() for key in ("names", "kinds", "groups", "split") if key in arrays}
    return TaskSet.from_arrays(arrays["inputs"], arrays["labels"], **texts, seed=seed)
