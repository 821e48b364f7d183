"""Task sets from files of arrays: one .npz, or .npy files and sparse matrices of SciPy's."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from stg_ray.config.tables import looked_up, refuse_missing
from stg_ray.data.files import other_format
from stg_ray.data.images import large_array
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet
from stg_ray.tasks.sparse_rows import stays_sparse

if TYPE_CHECKING:
    from stg_ray.config.tables import NpyConfig

KNOWN = ("inputs", "labels", "names", "kinds", "groups", "split")
TEXTS = ("names", "kinds", "groups", "split")
SPARSE = {"format", "shape", "data"}
"""Arrays in a file that `scipy.sparse.save_npz` wrote."""

BLOCK_ROWS = 4096

OBJECTS = (
    "holds Python objects (rows of unequal length, None, or text among numbers), which only a pickle could restore: "
    "save it as numbers, with NaN or -1 where a value is missing"
)


def read_npz(path: Path, shown: str, root: Path, seed: int) -> TaskSet:
    """Read the task set of an .npz file.

    Args:
        path: the file.
        shown: its name in the configuration.
        root: the data root, for messages.
        seed: seed of the split, where the file has none.

    Raises:
        InputError: no such file, one of another format, or without inputs and labels.
    """
    if not path.is_file():
        refuse_missing("data.npz", shown, root)
    arrays = _arrays(path, "data.npz")
    if set(arrays) >= SPARSE:
        raise InputError(
            f"data.npz: {path} is one sparse matrix: give the files of inputs and labels as data.npy.inputs and "
            "data.npy.labels"
        )
    if not {"inputs", "labels"} <= set(arrays) or not set(arrays) <= set(KNOWN):
        raise InputError(
            f"data.npz: {path} holds {', '.join(sorted(arrays)) or 'nothing'}: expected inputs and labels, and "
            f"optionally {', '.join(TEXTS)}"
        )
    texts: dict[str, Any] = {key: arrays[key].astype(str).ravel().tolist() for key in TEXTS if key in arrays}
    for key in {"kinds", "groups"} & set(texts):
        texts[key] = [None if text in ("", "None") else text for text in texts[key]]
    return TaskSet.from_arrays(arrays["inputs"], arrays["labels"], **texts, seed=seed)


def read_npy(config: NpyConfig, root: Path, seed: int) -> TaskSet:
    """Read the task set of one file of inputs and one of labels.

    Raises:
        InputError: no such file, one of another format, or one that holds several arrays.
    """
    inputs = _array(config.inputs, "inputs", root)
    labels = _array(config.labels, "labels", root)
    split = None if config.split is None else _array(config.split, "split", root).astype(str)
    if labels.ndim == 1:
        raise InputError(
            f"data.npy.labels: {config.labels} has the shape {labels.shape}: expected (N, K), one column for each task"
        )
    return TaskSet.from_arrays(inputs, labels, names=config.names, split=split, seed=seed)


def _array(name: str, key: str, root: Path) -> Any:
    """Return the array of a .npy file, or the dense one of a sparse matrix; large sparse inputs as they are."""
    path = looked_up(name, root)
    if not path.is_file():
        refuse_missing(f"data.npy.{key}", name, root)
    if _start(path).startswith(b"PK"):
        arrays = _arrays(path, f"data.npy.{key}")
        if set(arrays) >= SPARSE:
            matrix = _sparse(path, key)
            return matrix if key == "inputs" and stays_sparse(matrix) else dense(matrix)
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        raise InputError(
            f"data.npy.{key}: {path} holds {', '.join(sorted(arrays))}: expected one array (a file with inputs and "
            "labels is data.npz)"
        )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"data.npy.{key}: {path} {_reason(path, error, '')}") from error
    return np.asarray(array)


def _sparse(path: Path, key: str) -> Any:
    try:
        return scipy.sparse.load_npz(path)
    except Exception as error:  # what SciPy raises depends on what is damaged
        raise InputError(f"data.npy.{key}: {path} is no whole sparse matrix: {one_line(error)}") from error


def dense(matrix: Any) -> np.ndarray:
    """Return a sparse matrix (N, F) as an array: whole numbers in a small type, others as they are.

    Raises:
        InputError: it holds complex numbers, or the array has no room.
    """
    matrix = matrix.tocsr()
    if matrix.dtype.kind not in "biuf":
        raise InputError(f"a sparse matrix of {matrix.dtype} cannot be used: expected real numbers")
    limits = np.iinfo(np.int32)
    if matrix.dtype.kind == "b":
        dtype: type = np.int8
    elif matrix.dtype.kind in "iu" and limits.min <= matrix.min() and matrix.max() <= limits.max:
        dtype = np.uint8 if matrix.dtype == np.uint8 else np.int32
    else:
        dtype = np.float64 if matrix.dtype.itemsize > 4 else np.float32
    array = large_array(matrix.shape, dtype)
    for start in range(0, matrix.shape[0], BLOCK_ROWS):
        array[start : start + BLOCK_ROWS] = matrix[start : start + BLOCK_ROWS].toarray()
    return array


def _arrays(path: Path, key: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name."""
    name = "it"
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise ValueError("no zip archive")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {}
                for name in file.files:
                    arrays[name] = file[name]
                return arrays
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{key}: {path} {_reason(path, error, name)}") from error
    except Exception as error:  # zipfile and zlib raise their own kinds for truncated files
        raise InputError(f"{key}: {path} is damaged: {one_line(error)}") from error


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(6)


def _reason(path: Path, error: Exception, name: str) -> str:
    """Say why a file cannot be read as arrays."""
    start = _start(path)
    if ("allow_pickle" in str(error) or "Python objects" in str(error)) and start[:2] in (b"PK", b"\x93N"):
        if name in TEXTS:
            return f"cannot be used: its array {name!r} holds Python objects: save it as text, {name}.astype(str)"
        return OBJECTS if not name else f"cannot be used: its array {name!r} {OBJECTS}"
    other = None if start[:2] == b"PK" else other_format(path, "data.npz" if name else "data.npy")
    if other:
        return f"cannot be read as arrays: {other}"
    return f"is damaged or cannot be read as arrays: {one_line(error)}"
