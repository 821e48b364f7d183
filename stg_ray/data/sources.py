"""From the configuration's `data` section to a `TaskSet`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_ray.data.parquet import read_parquet
from stg_ray.data.presets import PRESETS
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config import Config, DataConfig


def data_root(config: DataConfig) -> Path:
    """Folder of the data: `data.root`, else $STG_RAY_DATA, else ~/.cache/stg_ray."""
    return Path(config.root or os.environ.get("STG_RAY_DATA") or "~/.cache/stg_ray").expanduser()


def load_task_set(config: DataConfig, seed: int) -> TaskSet:
    """The task set that a `data` section describes, checked and limited.

    Raises:
        InputError: the data is not there or not as it must be; a function of the user's raised (its traceback is in
            the exception's cause).
    """
    if config.preset is not None:
        preset = PRESETS[config.preset]
        task_set = resolve(preset.source)(data_root(config), seed, **preset.arguments)
    elif config.parquet is not None:
        task_set = read_parquet(config.parquet, data_root(config), seed)
    elif config.npz is not None:
        task_set = _from_npz(config, seed)
    else:
        assert config.function is not None, "the configuration has exactly one source"
        task_set = _from_function(config.function, config.arguments)
    return task_set.limited(config.limit, seed).without_constant_tasks(config.constant_tasks)


def source_digests(config: Config) -> dict[str, str]:
    """Hashes of the files of the user's that decide a run: data, and the modules of a function or trunk. A source that
    is not there (any more) is left out: its parts may have been laid out before."""
    digests = {}
    if config.data.npz is not None and (path := _npz_path(config.data)).is_file():
        with path.open("rb") as file:
            digests["data.npz"] = hashlib.file_digest(file, "sha256").hexdigest()
    for key, name in (("data.function", config.data.function), ("model.trunk", config.model.trunk)):
        if name is not None and ":" in name:
            _search_here()
            spec = importlib.util.find_spec(name.partition(":")[0])
            if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
                digests[key] = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    return digests


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
