"""Task sets from Parquet files, or directories of them, also partitioned by folders such as `split=train`.

Inputs are columns of numbers or vectors, one column of encoded images (JPEG, PNG, ...; decoded once, here), or one
column of packed bits. Labels are one column per task, null where missing, or one column of classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from stg_ray.data.columns import TableFile
from stg_ray.data.files import Found, find_files, other_format
from stg_ray.data.tables import read_tables
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config.tables import ParquetConfig

BATCH_ROWS = 4096

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""Folder that stands for null."""


def read_parquet(config: ParquetConfig, root: Path, seed: int, image_size: int | None = None) -> TaskSet:
    """Read the task set of Parquet files, a batch of rows at a time.

    Args:
        config: the files, and the columns that are inputs and labels.
        root: the data root, in which relative paths are looked up too.
        seed: seed of the split, where no column has one.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Raises:
        InputError: no such file or column, a truncated file, a file of another format, and as `read_tables`.
    """
    found = find_files(config.files, root, "data.parquet")
    partitions = _partitions(found, {config.split, config.classes, config.groups, *config.labels})
    files = [_table_file(file, partitions.get(file.path, {})) for file in found]
    if config.classes is not None:
        for file in files[1:]:
            if _names_of_classes(file) != _names_of_classes(files[0]):
                raise InputError(f"{file.path} and {files[0].path} have different class names in their metadata")
    return read_tables(config, "data.parquet", files, seed, image_size)


def _table_file(found: Found, constants: dict[str, Any]) -> TableFile:
    file = _open(found.path)

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if columns:
            yield from file.iter_batches(BATCH_ROWS, columns=list(columns))

    return TableFile(found.path, file.schema_arrow, file.metadata.num_rows, batches, constants, found.split)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        reason = other_format(path, "data.parquet") or one_line(error)
        raise InputError(f"{path} is no whole Parquet file: {reason}") from error


def _partitions(found: Sequence[Found], named: set[str | None]) -> dict[Path, dict[str, Any]]:
    """Return the columns that folders such as `year=2024` tell of each file, of one type over all files.

    Folders above a directory, or above a file that is named itself, tell only the columns that are `named`.
    """
    told: dict[Path, dict[str, str]] = {}
    for file in found:
        steps = [step.split("=", 1) for step in file.path.absolute().parent.parts if "=" in step[1:]]
        inside = set() if file.base is None else set(file.path.parent.relative_to(file.base).parts)
        told[file.path] = {key: text for key, text in steps if f"{key}={text}" in inside or key in named}
    columns: dict[Path, dict[str, Any]] = {path: {} for path in told}
    for name in dict.fromkeys(name for own in told.values() for name in own):
        texts = [own.get(name) for own in told.values()]
        values = pa.array([None if text in (None, HIVE_NULL) else unquote(text) for text in texts], pa.string())
        with suppress(pa.ArrowInvalid):
            values = values.cast(pa.int64())
        for path, value in zip(told, values, strict=True):
            columns[path][name] = value
    return columns


def _names_of_classes(file: TableFile) -> list[bytes | None]:
    metadata = file.schema.metadata or {}
    return [metadata.get(key) for key in (b"class_names", b"coarse_names")]
