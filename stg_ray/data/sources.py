"""From the configuration's `data` section to a `TaskSet`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_ray.data.image_folder import read_image_folder
from stg_ray.data.joining import join_task_sets
from stg_ray.data.parquet import read_parquet
from stg_ray.data.presets import PRESETS
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config import Config
    from stg_ray.config_data import DataConfig


def data_root(config: DataConfig) -> Path:
    """Folder of the data: `data.root`, else $STG_RAY_DATA, else ~/.cache/stg_ray."""
    return Path(config.root or os.environ.get("STG_RAY_DATA") or "~/.cache/stg_ray").expanduser()


def load_task_set(config: DataConfig, seed: int) -> TaskSet:
    """The task set that a `data` section describes, checked and limited.

    Raises:
        InputError: the data is not there or not as it must be; a function of the user's raised (its traceback is in
            the exception's cause).
    """
    task_set = _prepared(config, seed)
    if len(task_set.tasks) < 2:
        raise InputError("there is 1 task: grouping needs at least 2")
    return task_set


def _prepared(config: DataConfig, seed: int) -> TaskSet:
    """A set by itself, or one of several that are joined, which may have a single task."""
    task_set = _load(config, seed).limited(config.limit, seed).without_constant_tasks(config.constant_tasks)
    return task_set.with_balanced_classes() if config.class_weights == "balanced" else task_set


def _load(config: DataConfig, seed: int) -> TaskSet:
    root = data_root(config)
    if config.preset is not None:
        preset = PRESETS[config.preset]
        size = {} if config.image_size is None else {"image_size": config.image_size}
        return resolve(preset.source)(root, seed, **{**preset.arguments, **size})
    if config.parquet is not None:
        return read_parquet(config.parquet, root, seed, config.image_size)
    if config.images is not None:
        return read_image_folder(config.images, root, seed, config.image_size)
    if config.npz is not None:
        return _from_npz(config, seed)
    if config.function is not None:
        return _from_function(config.function, config.arguments)
    return join_task_sets({name: _prepared(part, seed) for name, part in config.joined().items()})


def source_digests(config: Config) -> dict[str, str]:
    """Hashes of the files of the user's that decide a run: data, and the modules of a function or trunk. A source that
    is not there (any more) is left out: its parts may have been laid out before."""
    files: dict[str, Path | None] = {"model.trunk": _module_file(config.model.trunk)}
    sources = {"data": config.data} | {f"data.{name}": part for name, part in config.data.joined().items()}
    for key, data in sources.items():
        files[f"{key}.npz"] = _npz_path(data) if data.npz is not None else None
        files[f"{key}.function"] = _module_file(data.function)
    if config.model.weights not in (None, "pretrained") and "://" not in config.model.weights:
        files["model.weights"] = Path(config.model.weights).expanduser()
    return file_digests(files)


def file_digests(files: Mapping[str, Path | None]) -> dict[str, str]:
    """Hashes of the contents of those files that are there."""
    digests = {}
    for key, path in files.items():
        if path is not None and path.is_file():
            with path.open("rb") as file:
                digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _module_file(name: str | None) -> Path | None:
    """The file of the module of `module:function`."""
    if name is None or ":" not in name:
        return None
    _search_here()
    spec = importlib.util.find_spec(name.partition(":")[0])
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _search_here() -> None:
    """Let modules in the current directory be found, as a script's own directory is."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _npz_path(config: DataConfig) -> Path:
    path = Path(config.npz or "").expanduser()
    return path if path.is_absolute() or path.exists() else data_root(config) / path


def resolve(name: str) -> Callable[..., Any]:
    """The object behind `module:attribute`; the current directory is searched for the module too."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise InputError(f"{name!r}: expected module:function")
    _search_here()
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


def _from_npz(config: DataConfig, seed: int) -> TaskSet:
    path = _npz_path(config)
    try:
        with np.load(path, allow_pickle=False) as file:
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
