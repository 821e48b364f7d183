"""From the configuration's `data` section to a `TaskSet`."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_ray.data.presets import PRESETS
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config import DataConfig


def data_root(config: DataConfig) -> Path:
    """Folder of the data: `data.root`, else $STG_RAY_DATA, else ~/.cache/stg_ray."""
    return Path(config.root or os.environ.get("STG_RAY_DATA") or "~/.cache/stg_ray").expanduser()


def load_task_set(config: DataConfig, seed: int) -> TaskSet:
    """The task set that a `data` section describes, checked and limited.

    Raises:
        InputError: the data is not there or not as it must be; a function of the user's raised (its traceback is in
            the exception's cause).
    """
    root = data_root(config)
    if config.preset is not None:
        task_set = resolve(PRESETS[config.preset].source)(root, seed)
    elif config.npz is not None:
        task_set = _from_npz(root, config, seed)
    else:
        assert config.function is not None, "the configuration has exactly one source"
        task_set = _from_function(config.function, config.arguments)
    return task_set.limited(config.limit, seed)


def resolve(name: str) -> Callable[..., Any]:
    """The object behind `module:attribute`; the current directory is searched for the module too."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise InputError(f"{name!r}: expected module:function")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name!r}: no module named {error.name!r} (looked in the current directory and the installed packages)"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise InputError(f"{name!r}: module {module_name!r} has no {attribute!r}") from error


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


def _from_npz(root: Path, config: DataConfig, seed: int) -> TaskSet:
    path = Path(config.npz or "").expanduser()
    if not path.is_absolute() and not path.exists():
        path = root / path
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise InputError(f"data.npz: no file {config.npz!r} here nor in the data root {root}") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"data.npz: {path} cannot be read as .npz: {' '.join(str(error).split())}") from error
    except Exception as error:  # zipfile and zlib raise their own kinds for truncated files
        raise InputError(f"data.npz: {path} is damaged: {' '.join(str(error).split())}") from error
    known = {"inputs", "labels", "names", "kinds", "groups", "split"}
    if not {"inputs", "labels"} <= set(arrays) or not set(arrays) <= known:
        raise InputError(
            f"data.npz: {path} holds {', '.join(sorted(arrays)) or 'nothing'}: expected inputs and labels, and "
            "optionally names, kinds, groups, split"
        )
    texts = {key: arrays[key].astype(str).tolist() for key in ("names", "kinds", "groups", "split") if key in arrays}
    return TaskSet.from_arrays(
        arrays["inputs"], arrays["labels"], **texts, constant_tasks=config.constant_tasks, seed=seed
    )
