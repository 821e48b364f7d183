"""Task sets from Parquet files.

Inputs are columns of numbers, one column of encoded images (JPEG, PNG, ...; decoded once, here), or one column of
packed bits. Labels are one column per task, null where missing, or one column of classes.
"""

from __future__ import annotations

import fnmatch
import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stg_ray.data.classes import class_tasks
from stg_ray.data.images import decode_all, large_array
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import MISSING, TaskSet

if TYPE_CHECKING:
    from stg_ray.config.data import ParquetConfig

BATCH_ROWS = 4096


def read_parquet(config: ParquetConfig, root: Path, seed: int, image_size: int | None = None) -> TaskSet:
    """Read the task set of Parquet files, a batch of rows at a time.

    Args:
        config: the files, and the columns that are inputs and labels.
        root: the data root, in which relative paths are looked up too.
        seed: seed of the split, where no column has one.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Raises:
        InputError: no such file or column, a truncated file, an image that cannot be decoded (which file and row).
    """
    files = {path: _open(path) for path in _paths(config.files, root)}
    first, schema = next((path, file.schema_arrow) for path, file in files.items())
    for path, file in files.items():
        if file.schema_arrow.names != schema.names:
            raise InputError(f"{path} and {first} have different columns")
        if file.schema_arrow.metadata != schema.metadata and config.classes is not None:
            raise InputError(f"{path} and {first} have different class names in their metadata")
    n_rows = sum(file.metadata.num_rows for file in files.values())
    inputs = _Inputs(config, schema, n_rows, image_size)
    label_columns = _matching(schema.names, config.labels, "labels")
    others = [name for name in (config.classes, config.groups, config.split) if name is not None]
    for name in others:
        _require(schema, name)
    kept: list[pa.Table] = []
    for path, file in files.items():
        row = 0
        try:
            for batch in file.iter_batches(BATCH_ROWS, columns=[*inputs.columns, *label_columns, *others]):
                inputs.add(batch, path, row)
                kept.append(pa.Table.from_batches([batch]).select([*label_columns, *others]))
                row += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged at or after row {row}: {one_line(error)}") from error
    table = pa.concat_tables(kept)
    split = table.column(config.split).to_pylist() if config.split else None
    if config.classes is not None:
        tasks = _class_tasks(config, table, schema)
    else:
        tasks = {"labels": table.select(label_columns), "names": _without_prefix(label_columns, config.labels)}
    return TaskSet.from_arrays(inputs.array, **tasks, split=split, seed=seed)


class _Inputs:
    """The input array, filled a batch at a time."""

    def __init__(self, config: ParquetConfig, schema: pa.Schema, n_rows: int, image_size: int | None) -> None:
        self.config = config
        self.n_rows = n_rows
        self.image_size = image_size
        self.filled = 0
        self.array = np.zeros((0, 1))
        if config.image is not None or config.bits is not None:
            self.columns = [config.image or config.bits or ""]
        else:
            self.columns = _matching(schema.names, config.features, "features")
        for name in self.columns:
            _require(schema, name)
        types = [schema.field(name).type for name in self.columns]
        not_numbers = [
            n for n, t in zip(self.columns, types, strict=True) if not (pa.types.is_integer(t) or _is_real(t))
        ]
        if config.features and not_numbers:
            raise InputError(
                f"the feature column {not_numbers[0]!r} is {schema.field(not_numbers[0]).type}: expected numbers"
            )
        self.small = all(t == pa.uint8() or pa.types.is_boolean(t) for t in types)

    def add(self, batch: pa.RecordBatch, file: Path, row: int) -> None:
        """Append the inputs of a batch of rows, of which the first is the given row of its file."""
        if self.config.image is not None:
            encoded = [value or b"" for value in batch.column(self.config.image).to_pylist()]
            block = decode_all(encoded, lambda i: f"{file}: the image in row {row + i}", self.image_size)
        elif self.config.bits is not None:
            packed = [np.frombuffer(value or b"", np.uint8) for value in batch.column(self.config.bits).to_pylist()]
            block = np.unpackbits(_stacked(packed, file, row), axis=1, bitorder="little")
        else:
            dtype = np.uint8 if self.small else np.float32
            columns = [batch.column(name) for name in self.columns]
            block = np.empty((len(batch), len(columns)), dtype)
            for f, column in enumerate(columns):
                if column.null_count and self.small:
                    raise InputError(f"{file}: the feature {self.columns[f]!r} has no value in some rows: fill them")
                block[:, f] = column.to_numpy(zero_copy_only=False)
        if self.filled == 0:
            self.array = large_array((self.n_rows, *block.shape[1:]), block.dtype)
        if block.shape[1:] != self.array.shape[1:]:
            raise InputError(
                f"{file}: inputs from row {row} have the shape {block.shape[1:]}, those before {self.array.shape[1:]}: "
                "expected one shape"
            )
        self.array[self.filled : self.filled + len(block)] = block
        self.filled += len(block)


def _stacked(arrays: Sequence[np.ndarray], file: Path, row: int) -> np.ndarray:
    """Stack the inputs of a batch, which must have one shape; the first is in the given row of the file."""
    for i, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise InputError(
                f"{file}: the input in row {row + i} has the shape {array.shape}, the one in row {row} "
                f"{arrays[0].shape}: expected one shape"
            )
    return np.stack(arrays)


def _class_tasks(config: ParquetConfig, table: pa.Table, schema: pa.Schema) -> dict[str, Any]:
    """Return the tasks of the column of classes, as arguments of `TaskSet.from_arrays`."""
    assert config.classes is not None, "called for a column of classes"
    classes, names = _codes(table.column(config.classes), schema, "class_names")
    groups = None
    if config.groups is not None:
        coarse, coarse_names = _codes(table.column(config.groups), schema, "coarse_names")
        groups = []
        for c, name in enumerate(names):
            of_class = np.unique(coarse[classes == c])
            if len(of_class) != 1 or of_class[0] == MISSING:
                raise InputError(f"the class {name!r} is in {len(of_class)} super-classes: expected one")
            groups.append(coarse_names[of_class[0]])
    return class_tasks(classes, names, groups=groups, tasks=config.class_tasks)


def _codes(column: pa.ChunkedArray, schema: pa.Schema, key: str) -> tuple[np.ndarray, list[str]]:
    """Encode a column as (N,) int32 codes, and name the codes; numbers by the list in the schema's metadata `key`."""
    named = json.loads((schema.metadata or {}).get(key.encode(), b"null"))
    if pa.types.is_integer(column.type) and named is not None:
        return pc.fill_null(column.cast(pa.int32()), MISSING).to_numpy(), [str(name) for name in named]
    values = sorted(value for value in column.unique().to_pylist() if value is not None and value == value)  # NaN
    index = pc.index_in(column, value_set=pa.array(values, column.type))
    return pc.fill_null(index, MISSING).to_numpy().astype(np.int32), [str(value) for value in values]


def _paths(patterns: str | list[str], root: Path) -> list[Path]:
    paths: list[Path] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        candidates = (Path(pattern).expanduser(), root / pattern)
        matches = next((m for m in (sorted(glob.glob(str(c))) for c in candidates) if m), [])
        if not matches:
            raise InputError(f"data.parquet.files: no file {pattern!r} here nor in the data root {root}")
        paths += map(Path, matches)
    return paths


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no whole Parquet file: {one_line(error)}") from error


def _matching(names: Sequence[str], patterns: Sequence[str], key: str) -> list[str]:
    matched = []
    for pattern in patterns:
        matches = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise InputError(f"data.parquet.{key}: no column matches {pattern!r}")
        matched += matches
    return list(dict.fromkeys(matched))


def _without_prefix(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the names of columns as those of tasks, without the prefix of a single pattern such as `y_*`."""
    if len(patterns) == 1 and patterns[0].endswith("*") and "*" not in patterns[0][:-1]:
        return [name.removeprefix(patterns[0][:-1]) for name in names]
    return list(names)


def _require(schema: pa.Schema, name: str) -> None:
    if name not in schema.names:
        raise InputError(f"data.parquet: no column {name!r}, there are {', '.join(schema.names[:8])}, ...")


def _is_real(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))
