"""Task sets from files in LIBSVM's multi-label format, read by scikit-learn: one binary task per label."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_ray.data.array_files import dense
from stg_ray.data.files import find_files, other_format
from stg_ray.data.images import large_array
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet
from stg_ray.tasks.sparse_rows import stays_sparse

if TYPE_CHECKING:
    from stg_ray.config.tables import LibsvmConfig

SIZES = re.compile(rb"\s*(\d+)\s+(\d+)\s+(\d+)\s*")
"""First line of the files of the extreme-classification repository: numbers of rows, features and labels."""


def read_libsvm(config: LibsvmConfig, root: Path, seed: int) -> TaskSet:
    """Read the task set of one or several files, each label against the rest.

    A label is missing nowhere: a row has the labels that it names, and not the others.

    Args:
        config: the files.
        root: the data root, in which relative paths are looked up too.
        seed: seed of the split, where the files have none.

    Raises:
        InputError: no such file, a file of another format, targets that are no labels, or a single label.
    """
    import scipy.sparse
    from sklearn.datasets import load_svmlight_files  # a second of imports that no other source needs

    found = find_files(config.files, root, "data.libsvm")
    streams, sizes = [], []
    try:
        for file in found:
            streams.append(file.path.open("rb"))
            sizes.append(SIZES.fullmatch(streams[-1].readline()))
            if sizes[-1] is None:
                streams[-1].seek(0)
        headed = all(size is not None for size in sizes)
        width = max(int(size[2]) for size in sizes if size is not None) if headed else None
        loaded: list[Any] = load_svmlight_files(
            streams, n_features=width, multilabel=True, zero_based=True if headed else "auto", dtype=np.float32
        )
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(_wrong([file.path for file in found], error)) from error
    finally:
        for stream in streams:
            stream.close()
    for file, size, matrix in zip(found, sizes, loaded[::2], strict=True):
        if size is not None and int(size[1]) != matrix.shape[0]:
            raise InputError(
                f"{file.path} has {matrix.shape[0]:,} rows with labels or features, and its first line says "
                f"{int(size[1]):,}: fetch it again if it was cut, else correct the line"
            )
    matrices, rows = loaded[::2], [labels for part in loaded[1::2] for labels in part]
    if not rows:
        raise InputError(f"{found[0].path} has no row: {other_format(found[0].path, 'data.libsvm') or 'it is empty'}")
    splits = None
    if found[0].split is not None:
        splits = np.repeat([file.split for file in found], [matrix.shape[0] for matrix in matrices])
    labels, names = _labels(rows)
    inputs = scipy.sparse.vstack(matrices)
    inputs = inputs if stays_sparse(inputs) else dense(inputs)
    return TaskSet.from_arrays(inputs, labels, names=names, split=splits, seed=seed)


def _labels(rows: list[tuple[float, ...]]) -> tuple[np.ndarray, list[str]]:
    """Return labels (N, K) 0 and 1, and their names, from the numbers of the labels of each row."""
    numbers = np.unique(np.concatenate([np.asarray(row, np.float64) for row in rows]))
    real = numbers[numbers != np.trunc(numbers)]
    if len(real):
        raise InputError(
            f"data.libsvm: the target {real[0]:g} is no label: expected whole numbers, such as 1,4 (targets of a "
            "regression are one task: put several in the columns of data.csv or data.npy)"
        )
    if len(numbers) == 0:
        raise InputError("data.libsvm: no row has a label")
    if set(numbers) <= {-1.0, 0.0, 1.0} and max(map(len, rows)) <= 1:
        raise InputError(
            "data.libsvm: the rows have one label of "
            f"{', '.join(f'{number:g}' for number in numbers)}: this is a single binary task, and grouping needs "
            "several (their labels in columns: data.csv or data.npy)"
        )
    labels = large_array((len(rows), len(numbers)), np.int8)
    labels[:] = 0
    lengths = [len(row) for row in rows]
    columns = np.searchsorted(numbers, np.concatenate([np.asarray(row, np.float64) for row in rows]))
    labels[np.repeat(np.arange(len(rows)), lengths), columns] = 1
    return labels, [f"label_{number:.0f}" for number in numbers]


def _wrong(paths: list[Path], error: Exception) -> str:
    """Say which file is not in LIBSVM's format, and what it is."""
    for candidate in paths:
        other = other_format(candidate, "data.libsvm")
        if other:
            return f"{candidate} is not in LIBSVM's format: {other}"
    return f"{', '.join(map(str, paths))} cannot be read in LIBSVM's format (1,4 3:0.5 7:1): {one_line(error)}"
