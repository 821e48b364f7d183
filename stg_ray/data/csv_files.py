"""Task sets from CSV and TSV files with a header, read by pyarrow."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from stg_ray.data.columns import TableFile
from stg_ray.data.files import Found, find_files, other_format
from stg_ray.data.tables import read_tables
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config.tables import CsvConfig

DELIMITERS = ",;\t|"

NULLS = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A", "-nan", "1.#QNAN"]
"""Texts that stand for a missing value among numbers. In a column of text they may be classes: FR, DE and NA."""

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

COMMA_NUMBER = r"^\s*[-+]?\d+,\d+\s*$"

NO_TEXT = "it holds null characters, so it is no text, or data.csv.encoding is another one, such as utf-16-le"

READ_AHEAD = 2**20
MAX_BLOCK = 2**31 - 1


def read_csv(config: CsvConfig, root: Path, seed: int, image_size: int | None = None) -> TaskSet:
    """Read the task set of CSV files. A column of images holds paths, relative to the folder of the file.

    Args:
        config: the files, their format, and the columns that are inputs and labels.
        root: the data root, in which relative paths are looked up too.
        seed: seed of the split, where nothing gives one.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Raises:
        InputError: no such file or column, no header, a file of another format or encoding, and as `read_tables`.
    """
    files = find_files(config.files, root, "data.csv")
    tables = [_table(found.path, config) for found in files]
    texts = {field.name.strip() for table in tables for field in table.schema if pa.types.is_string(field.type)}
    for place, (found, table) in enumerate(zip(files, tables, strict=True)):
        # A file of which all cells are NA does not tell whether these are texts, as those of another file are.
        untold = [f.name for f in table.schema if pa.types.is_null(f.type) and f.name.strip() in texts]
        tables[place] = _checked(found.path, _table(found.path, config, untold) if untold else table, config)
    named = [_table_file(found, table) for found, table in zip(files, tables, strict=True)]
    return read_tables(config, "data.csv", named, seed, image_size)


def _table_file(found: Found, table: pa.Table) -> TableFile:
    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from table.select(list(columns)).to_batches(4096)

    return TableFile(found.path, table.schema, len(table), batches, split=found.split)


def _table(path: Path, config: CsvConfig, texts: Sequence[str] = ()) -> pa.Table:
    """Return a file as one table. Its types are told from all rows: pyarrow tells them from the first block.

    Args:
        path: of the file.
        config: its format.
        texts: columns that are text, whatever they look like.
    """
    header = _header(path, config)
    delimiter = config.delimiter or max(DELIMITERS, key=_unquoted(header).count)
    names = [cell.strip().strip('"') for cell in _unquoted(header).split(delimiter)]
    if names and all(NUMBER.fullmatch(cell) for cell in names):
        raise InputError(f"{path} has no header: its first row is {header[:60]!r}; add a row of column names")
    block = min(MAX_BLOCK, max(READ_AHEAD, 8 * path.stat().st_size))  # a compressed file is larger than it looks
    try:
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(block_size=block, encoding=config.encoding),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(texts, pa.string()), null_values=NULLS, decimal_point=config.decimal
            ),
        )
    except (pa.ArrowException, OSError, UnicodeError, LookupError) as error:
        reason = one_line(error)
        if "UTF8" in reason or isinstance(error, UnicodeError):
            reason = f"it is not {config.encoding}; set data.csv.encoding, for example latin-1"
        raise InputError(
            f"{path} cannot be read as CSV with the delimiter {delimiter!r} and the header {header[:60]!r}: {reason}"
        ) from error
    return table


def _checked(path: Path, table: pa.Table, config: CsvConfig) -> pa.Table:
    """Return a table with plain names of columns, and null for empty cells in columns of text too."""
    table = table.rename_columns([name.strip() for name in table.column_names])
    _check_decimal(path, table, config)
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(place)
            table = table.set_column(place, field, pc.if_else(pc.equal(column, ""), None, column))
    return table


def _check_decimal(path: Path, table: pa.Table, config: CsvConfig) -> None:
    """Refuse columns of text in which every value is a number with a comma."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if config.decimal != "." or not pa.types.is_string(column.type):
            continue
        column = column.filter(pc.invert(pc.is_in(column, pa.array(NULLS))))
        if len(column) and pc.all(pc.match_substring_regex(column, COMMA_NUMBER)).as_py():
            raise InputError(
                f"{path}: the column {name!r} holds numbers such as {column[0].as_py()}: set "
                "data.csv.decimal to ',' if the comma is the decimal point, else write them without it"
            )


def _header(path: Path, config: CsvConfig) -> str:
    """Return the first line, once the file is known to hold a table of text."""
    other = other_format(path, "data.csv")
    if other is not None:
        raise InputError(f"{path} is no CSV file: {other}")
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            head = stream.read(READ_AHEAD)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}") from error
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and config.encoding == "utf-8":
        raise InputError(f"{path} holds UTF-16: set data.csv.encoding to utf-16")
    try:
        text = codecs.getincrementaldecoder(config.encoding)().decode(head).lstrip("\ufeff")
    except UnicodeError as error:
        if b"\0" in head:
            raise InputError(f"{path} is no CSV file: {NO_TEXT}") from error
        raise InputError(
            f"{path} is not {config.encoding}; set data.csv.encoding, for example latin-1 ({one_line(error)})"
        ) from error
    except LookupError as error:
        raise InputError(f"data.csv.encoding: unknown encoding {config.encoding!r}, for example utf-8") from error
    if "\0" in text:
        raise InputError(f"{path} is no CSV file: {NO_TEXT}")
    lines = text.splitlines()
    if len(lines) == 1:
        raise InputError(f"{path} has no row: its only line is {lines[0][:60]!r}")
    return next(iter(lines), "")


def _unquoted(line: str) -> str:
    """Return a line without what stands in quotes, where delimiters do not count."""
    return re.sub(r'"(?:[^"]|"")*"', lambda cell: re.sub(f"[{re.escape(DELIMITERS)}]", "_", cell[0]), line)
