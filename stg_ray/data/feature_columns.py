"""The input array of a table, filled a batch at a time: columns of numbers or of vectors, images, or packed bits."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.data.columns import TENSOR_SHAPE
from stg_ray.data.images import common_mode, decode_all, image_source, large_array
from stg_ray.errors import InputError
from stg_ray.tasks.column_types import RECIPE, in_words, is_list, of_each_kind
from stg_ray.tasks.notes import DataWarning
from stg_ray.tasks.precision import check_input_steps, rows_to_look_at

if TYPE_CHECKING:
    from stg_ray.config.tables import ColumnsConfig

SHOWN = 3
"""Columns that a message names."""

ID_NAME = re.compile(r"(^|_)(id|idx|index|uid|uuid|row|rownames)$", re.IGNORECASE)
"""Names of columns that often number the rows."""

BATCHES = 16
"""Batches whose rows are looked at together, about."""

FLOAT32_MAX = float(np.finfo(np.float32).max)


class FeatureColumns:
    """The inputs of N rows.

    Args:
        config: which columns are features, images or bits.
        key: the configuration's section, for messages.
        schema: the types of the columns over all files.
        n_rows: N.
        image_size: side in pixels to which images are cropped and scaled.

    Attributes:
        array: (N, ...) inputs.
    """

    def __init__(self, config: ColumnsConfig, key: str, schema: pa.Schema, n_rows: int, image_size: int | None) -> None:
        self.key, self.schema, self.n_rows, self.image_size = key, schema, n_rows, image_size
        self.image, self.bits = config.image, getattr(config, "bits", None)
        self.filled = 0
        self.array = np.zeros((0, 1))
        self.wrong: dict[tuple[str, str], list[str | int]] = {}
        self.unfit: dict[str, str] = {}
        for name in schema.names:
            self._check_type(name, schema.field(name).type)
        self.names = [name for name in schema.names if name not in self.unfit]
        types = [schema.field(name).type for name in self.names]
        kinds = [_values_of(kind) for kind in types]
        self.vectors = any(map(is_list, types))
        self.small = all(kind == pa.uint8() or pa.types.is_boolean(kind) for kind in kinds)
        self.looked_at: list[np.ndarray] = []

    def _check_type(self, name: str, kind: pa.DataType) -> None:
        is_bytes = pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)
        if self.image is not None:
            if not (is_bytes or pa.types.is_string(kind) or pa.types.is_struct(kind)):
                raise InputError(
                    f"the image column {name!r} holds {in_words(kind)}: expected encoded images (bytes of JPEG, PNG, "
                    f"...) or their paths (numbers of pixels are {self.key}.features)"
                )
        elif self.bits is not None:
            if not is_bytes:
                raise InputError(
                    f"the column of packed bits {name!r} holds {in_words(kind)}: expected bytes (numbers are "
                    f"{self.key}.features)"
                )
        elif not _is_number(_values_of(kind)):
            self.unfit[name] = in_words(kind)  # said with those that lack numbers in some rows, not one at a time

    def add(self, batch: pa.RecordBatch, file: Path, row: int) -> None:
        """Append the inputs of a batch of rows, of which the first is the given row of its file.

        Raises:
            InputError: an image that cannot be decoded, or inputs of another shape than those before.
        """
        if self.image is not None:
            values = batch.column(self.image).to_pylist()
            sources = [image_source(value, file, self.image, row + i) for i, value in enumerate(values)]
            if b"" in sources:
                raise InputError(f"{file}: there is no image in row {row + sources.index(b'')}: remove the row")
            block = self._images(sources, file, row)
        elif self.bits is not None:
            packed = [np.frombuffer(value or b"", np.uint8) for value in batch.column(self.bits).to_pylist()]
            block = np.unpackbits(_stacked(packed, file, row), axis=1, bitorder="little")
        else:
            block = self._numbers(batch, file, row)
        if self.filled == 0:
            self.array = large_array((self.n_rows, *block.shape[1:]), block.dtype)
        if block.shape[1:] != self.array.shape[1:]:
            way = " (or set data.image_size, to crop and scale images)" if self.image is not None else ""
            raise InputError(
                f"{file}: inputs from row {row} have the shape {block.shape[1:]}, those before {self.array.shape[1:]}: "
                f"expected one shape{way}"
            )
        self.array[self.filled : self.filled + len(block)] = block
        self.filled += len(block)

    def _images(self, sources: Sequence[bytes | Path], file: Path, row: int) -> np.ndarray:
        """Return the pixels of a batch of images, in colour from the first batch on that has a coloured one."""
        coloured = self.filled > 0 and self.array.shape[1] == 3
        mode = "RGB" if coloured else common_mode(sources)
        if mode == "RGB" and self.filled > 0 and not coloured:
            grey = self.array[: self.filled]
            self.array = large_array((self.n_rows, 3, *grey.shape[2:]), grey.dtype)
            self.array[: self.filled] = grey  # the grey level is that of each colour

        def where(i: int) -> str:
            source = sources[i]
            path = f", {source}," if isinstance(source, Path) else ""
            return f"{file}: the image in row {row + i}{path}"

        return decode_all(sources, where, self.image_size, mode)

    def _numbers(self, batch: pa.RecordBatch, file: Path, row: int) -> np.ndarray:
        """Return the features (n, F) of a batch, with NaN or 0 where there is none, which is remembered."""
        columns = [batch.column(name) for name in self.names]
        if self.vectors:
            return self._vectors(columns, file, row)
        block = np.empty((len(batch), len(columns)), np.uint8 if self.small else np.float32)
        if not self.small:
            some = pa.array(rows_to_look_at(len(batch), BATCHES * len(columns)))
            exact = [np.asarray(_floats(column.take(some)), np.float64) for column in columns]
            self.looked_at.append(np.stack(exact, axis=1))
        with np.errstate(over="ignore"):  # what exceeds float32 is found below
            for f, column in enumerate(columns):
                if self.small and column.null_count:
                    self._remember(self.names[f], "missing (null)", _is_null(column), file, row)
                    column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
                block[:, f] = _floats(column)
        if not self.small and not np.isfinite(block).all():
            self._find_wrong(columns, block, file, row)
        return block

    def _vectors(self, columns: Sequence[pa.Array], file: Path, row: int) -> np.ndarray:
        """Return features (n, F) of which some columns are lists of numbers, of one length each.

        A single column of nested lists or tensors keeps its shape (n, ...).
        """
        blocks = []
        for name, column in zip(self.names, columns, strict=True):
            shape, numbers = self._flat(name, column, file, row)
            values = np.asarray(_floats(numbers)).reshape(len(column), -1)
            with np.errstate(over="ignore"):
                block = values.astype(np.uint8 if self.small else np.float32)
            if not np.isfinite(block).all():
                wrong = ~np.isfinite(block).all(axis=1)
                self._remember(name, f"missing, infinite or beyond float32's {FLOAT32_MAX:.1e}", wrong, file, row)
            blocks.append(block)
        if len(columns) > 1:
            return np.concatenate(blocks, axis=1)
        tensor = (self.schema.field(self.names[0]).metadata or {}).get(TENSOR_SHAPE)
        return blocks[0].reshape(len(columns[0]), *(json.loads(tensor) if tensor else shape))

    def _flat(self, name: str, column: pa.Array, file: Path, row: int) -> tuple[list[int], pa.Array]:
        """Return the shape of a cell, and the numbers of all cells one after the other."""
        shape: list[int] = []
        values = column
        while is_list(values.type):
            cells = int(np.prod(shape))  # lists of this depth in a row
            if values.null_count:
                empty = row + int(_is_null(values).argmax()) // max(1, cells)
                raise InputError(
                    f"{file}: the feature {name!r} is missing (null) in row {empty}: fill it or leave the row out"
                )
            lengths: np.ndarray = np.asarray(pc.list_value_length(values))
            odd = int((lengths != lengths[0]).argmax())
            if lengths[odd] != lengths[0] or lengths[0] == 0:
                raise InputError(
                    f"{file}: the vector {name!r} has {lengths[odd]} values in row {row + odd // max(1, cells)} and "
                    f"{lengths[0]} in row {row}: expected one length, from 1"
                )
            shape.append(int(lengths[0]))
            values = values.flatten()
        return shape, values

    def _find_wrong(self, columns: Sequence[pa.Array], block: np.ndarray, file: Path, row: int) -> None:
        """Remember which features have no finite value, and why."""
        for f in np.flatnonzero(~np.isfinite(block).all(axis=0)).tolist():
            values = np.asarray(_floats(columns[f]), np.float64)
            name = self.names[f]
            self._remember(name, "missing (null or NaN)", np.isnan(values), file, row)
            self._remember(name, "infinite", np.isinf(values), file, row)
            beyond = np.isfinite(values) & ~np.isfinite(block[:, f])
            if beyond.any():
                value = values[beyond.argmax()]
                self._remember(name, f"{value:g}, beyond float32's {FLOAT32_MAX:.1e},", beyond, file, row)

    def _remember(self, name: str, what: str, rows: np.ndarray, file: Path, row: int) -> None:
        if rows.any():
            entry = self.wrong.setdefault((name, what), [0, f"row {row + int(rows.argmax())} of {file}"])
            entry[0] = int(entry[0]) + int(rows.sum())

    def finished(self) -> np.ndarray:
        """Return the inputs (N, ...).

        Raises:
            InputError: features that hold no numbers, by kind, or have no finite value, with the first row.
        """
        if self.wrong or self.unfit:
            shown = [
                f"{name!r} is {what} in {count:,} of {self.n_rows:,} rows, the first is {where}"
                for (name, what), (count, where) in list(self.wrong.items())[:SHOWN]
            ]
            more = f"; and {len(self.wrong) - SHOWN} more columns" if len(self.wrong) > SHOWN else ""
            recipe = f"expected numbers: {RECIPE}; " if self.unfit else ""
            raise InputError(
                f"features without a number: {'; '.join([*of_each_kind(self.unfit), *shown])}{more} ({recipe}fill "
                f"gaps, remove the rows, or leave a column out with '!NAME' after a pattern in {self.key}.features)"
            )
        if self.looked_at:
            check_input_steps(np.concatenate(self.looked_at), self.names)
        self._warn_of_row_numbers()
        return self.array

    def _warn_of_row_numbers(self) -> None:
        """Warn of a feature that is called an id and is another whole number in every row."""
        if self.image or self.bits or self.vectors or len(self.schema.names) < 2:
            return
        for f, name in enumerate(self.schema.names):
            is_id = ID_NAME.search(name) and pa.types.is_integer(self.schema.field(name).type)
            if is_id and len(np.unique(self.array[:, f])) == self.n_rows:
                warnings.warn(
                    f"the feature {name!r} is another number in every row: if it only names the rows, leave it out "
                    f"with '!{name}' after a pattern in {self.key}.features",
                    DataWarning,
                    stacklevel=2,
                )


def _stacked(arrays: Sequence[np.ndarray], file: Path, row: int) -> np.ndarray:
    """Stack the inputs of a batch, which must have one shape; the first is in the given row of the file."""
    for i, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise InputError(
                f"{file}: the input in row {row + i} has the shape {array.shape}, the one in row {row} "
                f"{arrays[0].shape}: expected one shape"
            )
    return np.stack(arrays)


def _floats(column: pa.Array) -> np.ndarray:
    """Return a column as numbers, NaN where null."""
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _is_null(column: pa.Array) -> np.ndarray:
    nulls: np.ndarray = column.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _values_of(kind: pa.DataType) -> pa.DataType:
    """Return the type of the numbers in a column, which may be lists."""
    while is_list(kind):
        kind = kind.value_type
    return kind


def _is_number(kind: pa.DataType) -> bool:
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in numbers)
