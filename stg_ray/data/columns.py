"""Roles of a table's columns (inputs, labels and more), and one type for each over all files."""

from __future__ import annotations

import fnmatch
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.errors import InputError, unknown
from stg_ray.tasks.column_types import in_words
from stg_ray.tasks.notes import DataWarning

if TYPE_CHECKING:
    from stg_ray.config.tables import ColumnsConfig

INDEX_COLUMN = re.compile(r"__index_level_\d+__|Unnamed: \d+|")
"""Names of an index that pandas wrote: in Parquet, in CSV (none), and once more after reading that."""


TENSOR_SHAPE = b"tensor_shape"
"""Key of a field's metadata with the shape of its tensors, which their type has in the file."""


class Batches(Protocol):
    """A function that reads some columns, a batch of rows at a time."""

    def __call__(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield batches with these columns."""


@dataclass(frozen=True)
class TableFile:
    """A file of a table.

    Attributes:
        path: the file, for messages.
        schema: its columns.
        n_rows: the number of its rows.
        batches: reads some of its columns.
        constants: columns with one value for the whole file, which its path tells.
        split: train, val or test, where the configuration or its folder tells.
        matrix: of a sparse file, returns some of its columns as a sparse matrix of SciPy's; None where they are none.
    """

    path: Path
    schema: pa.Schema
    n_rows: int
    batches: Batches
    constants: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    matrix: Callable[[Sequence[str]], Any] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the columns, those of the path last."""
        return [*self.schema.names, *(name for name in self.constants if name not in self.schema.names)]


@dataclass(frozen=True)
class Chosen:
    """The columns that are inputs, labels, and what else is needed of the rows."""

    features: list[str]
    labels: list[str]
    others: list[str]


def choose(config: ColumnsConfig, files: Sequence[TableFile], key: str) -> Chosen:
    """Return the columns that a configuration names by name or pattern.

    A name is stronger than a pattern, a pattern than `*`: `features: ["*"]` is all columns but the labels. Classes,
    groups, split and the index of a pandas frame are never found by a pattern.

    Raises:
        InputError: no such column, one that is input and label, or one that a file has twice.
    """
    names = list(dict.fromkeys(name for file in files for name in file.names))
    others = [name for name in (config.classes, config.groups, config.split) if name is not None]
    bits: str | None = getattr(config, "bits", None)
    hidden = {*others, *(name for name in (config.image, bits) if name is not None), *_index_columns(files)}
    labels = _ranked(names, config.labels, f"{key}.labels", hidden)
    features = _ranked(names, config.features, f"{key}.features", hidden)
    for name in sorted(set(labels) & set(features), key=names.index):
        if labels[name] == features[name]:
            raise InputError(
                f"the column {name!r} is in {key}.features and in {key}.labels: leave it out of one (a pattern leaves "
                f"it out with '!{name}')"
            )
        (labels if labels[name] < features[name] else features).pop(name)
    single = [name for name in (config.image, bits) if name is not None]
    for name in sorted(_index_columns(files) - {*others, *single, *features, *labels}):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in config.features):
            warnings.warn(
                f"the column {name!r} is the index of a data frame and is left out of {key}.features, unless it is "
                "named there",
                DataWarning,
                stacklevel=2,
            )
    for name in (*single, *others):
        if name not in names:
            raise InputError(f"{key}: no column {name!r}, there are {', '.join(names[:8])}, ...")
    for name in others:
        if name in features or name in labels or name in single:
            raise InputError(f"{key}: the column {name!r} is an input or a label and also {_role(config, name)}")
    for what, chosen, given in (("features", features, config.features), ("labels", labels, config.labels)):
        if given and not chosen:
            raise InputError(f"{key}.{what}: no column is left beside those that are named elsewhere")
    columns = Chosen(single or list(features), list(labels), list(dict.fromkeys(others)))
    _check_files(files, [*columns.features, *columns.labels, *columns.others])
    return columns


def _role(config: ColumnsConfig, name: str) -> str:
    return next(key for key in ("classes", "groups", "split") if getattr(config, key) == name)


def _index_columns(files: Sequence[TableFile]) -> set[str]:
    """Return the columns that hold the index of a pandas frame."""
    found = {name for file in files for name in file.names if INDEX_COLUMN.fullmatch(name)}
    for file in files:
        pandas = json.loads((file.schema.metadata or {}).get(b"pandas", b"{}"))
        found |= {column for column in pandas.get("index_columns", ()) if isinstance(column, str)}
    return found


def _ranked(names: Sequence[str], patterns: Sequence[str], key: str, hidden: set[str]) -> dict[str, int]:
    """Return the columns that patterns name, in their order: 2 for those by name, 1 by pattern, 0 by `*`."""
    ranks: dict[str, int] = {}
    for pattern in patterns:
        if pattern in names:
            ranks[pattern] = 2
            continue
        if pattern.startswith("!"):
            other = pattern[1:]
            left_out = [other] if other in ranks else [name for name in ranks if fnmatch.fnmatchcase(name, other)]
            if not left_out:
                raise InputError(f"{key}: {pattern!r} leaves out no column that a pattern before it names")
            for name in left_out:
                del ranks[name]
            continue
        matches = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            hint = "" if set("*?[") & set(pattern) else f" ({unknown(pattern, names, 'column')})"
            shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            raise InputError(f"{key}: no column matches {pattern!r}{hint or f'; there are {shown}'}")
        rank = 0 if pattern == "*" else 1
        for name in matches:
            if name not in hidden:
                ranks[name] = max(rank, ranks.get(name, 0))
    return ranks


def _check_files(files: Sequence[TableFile], columns: Sequence[str]) -> None:
    """Refuse a file that lacks a column, or has it twice."""
    for file in files:
        names, counts = set(file.names), Counter(file.schema.names)
        for name in columns:
            if name not in names:
                has = next(other for other in files if name in other.names)
                raise InputError(
                    f"{file.path} and {has.path} have different columns: {name!r} is missing in the former"
                )
            if counts[name] > 1:
                raise InputError(f"{file.path} has {counts[name]} columns named {name!r}: rename or remove one")


def unified(files: Sequence[TableFile], columns: Sequence[str], categories: Sequence[str] = ()) -> pa.Schema:
    """Return one type for each column over all files: dictionaries as their values, integers and floats widened.

    Args:
        files: the files.
        columns: the columns.
        categories: those among them that stay dictionaries where they are in all files.

    Raises:
        InputError: a column has types that do not go together, such as numbers here and text there.
    """
    types = [
        {name: value.type for name, value in file.constants.items()} | {f.name: f.type for f in file.schema}
        for file in files
    ]
    fields = []
    for name in columns:
        kind = plain(types[0][name])
        for file, own_types in zip(files[1:], types[1:], strict=True):
            own = plain(own_types[name])
            if own != kind:
                try:
                    kind = _common(kind, own)
                except pa.ArrowException as error:
                    found, before = in_words(own), in_words(kind)
                    if found == before:  # such as times with zones and without
                        found, before = str(own), str(kind)
                    raise InputError(
                        f"the column {name!r} holds {found} in {file.path} and {before} in {files[0].path}: write it "
                        "with one type"
                    ) from error
        if name in categories and pa.types.is_binary(kind):
            kind = pa.string()  # as Hive and Impala write text
        elif name in categories and all(pa.types.is_dictionary(own[name]) for own in types):
            kind = pa.dictionary(pa.int32(), kind)
        shapes = {getattr(own[name], "shape", None) and tuple(own[name].shape) for own in types}
        if len(shapes) > 1:
            raise InputError(f"the tensors {name!r} have different shapes in the files: {', '.join(map(str, shapes))}")
        shape = shapes.pop()
        fields.append(pa.field(name, kind, metadata={TENSOR_SHAPE: json.dumps(shape)} if shape else None))
    return pa.schema(fields, files[0].schema.metadata)


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary or extension type, and text and bytes in their simplest type."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) else kind


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_boolean(one) and pa.types.is_integer(other):
        return other
    if pa.types.is_boolean(other) and pa.types.is_integer(one):
        return one
    schemas = [pa.schema([("column", kind)]) for kind in (one, other)]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def as_type(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column in its type over all files."""
    if column.type == kind:
        return column
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    elif pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type).dictionary_encode()
    return column if column.type == kind else column.cast(kind)
