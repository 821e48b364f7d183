"""Task sets from tables in files, whatever the format: read a batch of rows at a time, one type for each column."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.data.classes import class_tasks
from stg_ray.data.columns import TableFile, as_type, choose, unified
from stg_ray.data.feature_columns import FeatureColumns
from stg_ray.data.label_columns import LabelColumns
from stg_ray.data.label_lists import ListRules
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import MISSING, TaskSet, texts
from stg_ray.tasks.column_types import in_words
from stg_ray.tasks.columns import NO_TEXT
from stg_ray.tasks.notes import DataWarning
from stg_ray.tasks.settings import named_by_columns
from stg_ray.tasks.sparse_rows import stays_sparse

if TYPE_CHECKING:
    from stg_ray.config.tables import ColumnsConfig


def read_tables(
    config: ColumnsConfig, key: str, files: Sequence[TableFile], seed: int, image_size: int | None = None
) -> TaskSet:
    """Return the task set of the rows of all files.

    Args:
        config: the columns that are inputs and labels.
        key: the configuration's section, such as `data.csv`, for messages.
        files: the files, in the order of their rows.
        seed: seed of the split, where none is given.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Raises:
        InputError: no such column, no row, a damaged file, types that do not go together, a feature without a number,
            an image that cannot be decoded (which file and row).
    """
    columns = choose(config, files, key)
    n_rows = sum(file.n_rows for file in files)
    if n_rows == 0:
        raise InputError(f"{files[0].path}{' and the other files have' if len(files) > 1 else ' has'} no row")
    schema = unified(files, [*columns.features, *columns.labels, *columns.others], categories=columns.labels)
    others = _part(schema, columns.others)
    inputs = FeatureColumns(config, key, _part(schema, columns.features), n_rows, image_size)
    sparse = _sparse_inputs(files, columns.features)
    if sparse is not None:
        schema = _part(schema, [*columns.labels, *columns.others])
    labels = LabelColumns(_part(schema, columns.labels), ListRules(key, config.separator, config.empty))
    kept: list[pa.Table] = []
    for file in files:
        row = 0
        try:
            for batch in _batches(file, schema):
                if sparse is None:
                    inputs.add(batch, file.path, row)
                labels.add(batch)
                kept.append(pa.Table.from_batches([batch]).select(others.names))
                row += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file.path} is damaged at or after row {row}: {one_line(error)}") from error
    rows = inputs.finished() if sparse is None else sparse
    table = pa.concat_tables(kept)
    names = _without_prefix(columns.labels, config.labels)
    if config.classes is not None:
        tasks = _class_tasks(config, table, others)
    else:
        tasks = labels.tasks(names)
    # Images, packed bits and lists of numbers have no column of their own for each value.
    features = columns.features if rows.shape[1:] == (len(columns.features),) else None
    with named_by_columns(dict(zip(names, columns.labels, strict=True))):
        return TaskSet.from_arrays(rows, **tasks, split=_split(config, files, table), features=features, seed=seed)


def _sparse_inputs(files: Sequence[TableFile], features: Sequence[str]) -> Any:
    """Return the features of all files as one sparse matrix; None where they are to be dense.

    Raises:
        InputError: a feature has no number in some row.
    """
    matrices: list[Any] = [None if file.matrix is None else file.matrix(features) for file in files]
    if any(matrix is None for matrix in matrices):
        return None
    import scipy.sparse

    whole = scipy.sparse.vstack(matrices, format="csr")
    if not stays_sparse(whole):
        return None
    for file, matrix in zip(files, matrices, strict=True):
        if (wrong := ~np.isfinite(matrix.data)).any():
            place = int(wrong.argmax())
            row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
            raise InputError(
                f"features without a number: {features[matrix.indices[place]]!r} is missing, infinite or beyond "
                f"float32 in row {row} of {file.path}, and {int(wrong.sum()) - 1:,} others are (fill them, or leave "
                "the column out of the features)"
            )
    return whole


def _part(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names], schema.metadata)


def _batches(file: TableFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file with the columns and types of `schema`, those that its path tells among them."""
    stored = {field.name: field.type for field in file.schema}
    names = [name for name in schema.names if name in stored]
    as_they_are = len(names) == len(schema) and all(stored[field.name] == field.type for field in schema)
    for batch in file.batches(names):
        if len(batch) == 0:
            continue
        if as_they_are:
            yield batch
            continue
        told = {name: pa.repeat(value, len(batch)) for name, value in file.constants.items()}
        columns = {f.name: batch.column(f.name) if f.name in stored else told[f.name] for f in schema}
        yield pa.record_batch(
            [as_type(column, schema.field(name).type) for name, column in columns.items()], list(columns)
        )


def _split(config: ColumnsConfig, files: Sequence[TableFile], table: pa.Table) -> Any:
    """Return the split of each row: from a column, from the files, or None."""
    if config.split is not None:
        column = table.column(config.split)
        if column.null_count:
            raise InputError(
                f"the column of splits {config.split!r} is null in {column.null_count:,} rows: expected train, val or "
                "test"
            )
        return column.to_pylist()
    if all(file.split is None for file in files):
        return None
    return np.repeat([file.split for file in files], [file.n_rows for file in files])


def _class_tasks(config: ColumnsConfig, table: pa.Table, schema: pa.Schema) -> dict[str, Any]:
    """Return the tasks of the column of classes, as arguments of `TaskSet.from_arrays`."""
    assert config.classes is not None, "called for a column of classes"
    for name in schema.names:
        kind = schema.field(name).type
        if name != config.split and (pa.types.is_nested(kind) or table.column(name).null_count == len(table)):
            found = f"holds {in_words(kind)}" if pa.types.is_nested(kind) else "is null in all rows"
            raise InputError(
                f"the column of classes {name!r} {found}: expected one class for each row (lists of label names are "
                "labels)"
            )
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
    try:
        named = json.loads((schema.metadata or {}).get(key.encode(), b"null"))
    except ValueError:
        named = key
    if not isinstance(named, list | None):
        raise InputError(f"the metadata {key!r} of the table is no JSON list of names: write one, or remove it")
    if pa.types.is_integer(column.type) and named is not None:
        return pc.fill_null(column.cast(pa.int32()), MISSING).to_numpy(), [str(name) for name in named]
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    elif pa.types.is_string(column.type):
        nothing = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(column)), pa.array(NO_TEXT))
        column = pc.if_else(nothing, None, column)
        _warn_of_unclear(column)
    values = sorted(value for value in column.unique().to_pylist() if value is not None)
    index = pc.index_in(column, value_set=pa.array(values, column.type))
    return pc.fill_null(index, MISSING).to_numpy().astype(np.int32), [str(value) for value in values]


def _warn_of_unclear(column: pa.ChunkedArray) -> None:
    """Warn of classes that may mark what is missing; such labels are asked about, where a setting can answer."""
    for text in texts.unclear(column.unique().drop_null().to_pylist()):
        warnings.warn(
            f"the text {text!r} is taken for a class: if it marks rows without one, leave their cells empty",
            DataWarning,
            stacklevel=2,
        )


def _without_prefix(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the names of columns as those of tasks, without the prefix of a single pattern such as `y_*`."""
    if len(patterns) == 1 and patterns[0].endswith("*") and "*" not in patterns[0][:-1]:
        return [name.removeprefix(patterns[0][:-1]) for name in names]
    return list(names)
