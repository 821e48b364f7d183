"""Task sets from ARFF files with many labels, dense and sparse (which SciPy does not read).

In Mulan's files the labels are named by an XML file, in MEKA's they are counted by the relation.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from stg_ray.config.tables import ColumnsConfig, looked_up
from stg_ray.data.arff_header import Attribute, read_header
from stg_ray.data.arff_sparse import SparseCells
from stg_ray.data.columns import TableFile
from stg_ray.data.files import Found, find_files, other_format
from stg_ray.data.tables import read_tables
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config.tables import ArffConfig

MEKA_LABELS = re.compile(r"-C\s+(-?\d+)")
BATCH_ROWS = 4096


def read_arff(config: ArffConfig, root: Path, seed: int) -> TaskSet:
    """Read the task set of ARFF files.

    Labels are the attributes that the configuration names, else those of Mulan's XML file, else those that MEKA's
    relation counts (`-C 6`: the first six; `-C -6`: the last six).

    Args:
        config: the files, and what names the labels.
        root: the data root, in which relative paths are looked up too.
        seed: seed of the split, where the files have none.

    Raises:
        InputError: no such file, a file of another format, no labels, and as `read_tables`.
    """
    found = find_files(config.files, root, "data.arff")
    parsed = [_parsed(file) for file in found]
    columns = ColumnsConfig(features=config.features, labels=config.labels or _labels(config, root, found, parsed))
    return read_tables(columns, "data.arff", [file for file, _ in parsed], seed)


def _labels(
    config: ArffConfig, root: Path, found: Sequence[Found], parsed: Sequence[tuple[TableFile, str]]
) -> list[str]:
    """Return the names of the attributes that are labels."""
    file, relation = parsed[0]
    named = None if config.xml is None else looked_up(config.xml, root)
    stems = [re.sub(r"-(train|test|val)$", "", found[0].path.stem), found[0].path.stem]
    beside = next((near for stem in stems if (near := found[0].path.with_name(f"{stem}.xml")).is_file()), None)
    path = named or beside
    if path is not None:
        try:
            names = [label.attrib["name"] for label in ET.parse(path).iter() if label.tag.rpartition("}")[2] == "label"]
        except (OSError, ET.ParseError, KeyError) as error:
            raise InputError(f"data.arff.xml: {path} names no labels: {one_line(error)}") from error
        missing = [name for name in names if name not in file.names]
        if missing or not names:
            raise InputError(
                f"data.arff.xml: {path} names {f'the label {missing[0]!r}' if missing else 'no label'}, which is no "
                f"attribute of {file.path}"
                if missing
                else f"data.arff.xml: {path} names no label: expected <labels><label name=...></label></labels>"
            )
        return names
    meka = MEKA_LABELS.search(relation)
    if meka is None:
        raise InputError(
            f"{file.path}: nothing tells which attributes are labels: set data.arff.xml to Mulan's file of label "
            "names, or data.arff.labels to names or patterns"
        )
    count = int(meka[1])
    return file.names[:count] if count > 0 else file.names[count:]


def _parsed(found: Found) -> tuple[TableFile, str]:
    """Return a file as a table, and the text of its relation."""
    path = found.path
    try:
        try:
            return _read(found, "utf-8-sig")
        except UnicodeDecodeError:
            other = other_format(path, "data.arff")
            if other is not None:
                raise InputError(f"{path} is no ARFF file: {other}") from None
            return _read(found, "latin-1")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}") from error


def _read(found: Found, encoding: str) -> tuple[TableFile, str]:
    path = found.path
    with path.open(encoding=encoding) as stream:
        lines = (line for line in stream if line.strip() and not line.lstrip().startswith("%"))
        attributes, relation = read_header(path, lines)
        first = next(lines, None)
        rows = chain([] if first is None else [first], lines)
        if first is not None and first.lstrip().startswith("{"):
            return _sparse_file(found, attributes, SparseCells(path, attributes, rows)), relation
        table = _dense_table(path, attributes, list(rows))

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from table.select(list(columns)).to_batches(BATCH_ROWS)

    return TableFile(path, table.schema, len(table), batches, split=found.split), relation


def _sparse_file(found: Found, attributes: Sequence[Attribute], cells: SparseCells) -> TableFile:
    """Return a file of which only the columns that are asked for become dense."""
    places = {attribute.name: place for place, attribute in enumerate(attributes)}

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        table = pa.table({name: cells.column(places[name]) for name in columns})
        yield from table.to_batches(BATCH_ROWS)

    def matrix(columns: Sequence[str]) -> Any:
        return cells.matrix([places[name] for name in columns])

    schema = pa.schema([(attribute.name, attribute.type) for attribute in attributes])
    return TableFile(found.path, schema, len(cells), batches, split=found.split, matrix=matrix)


def _dense_table(path: Path, attributes: Sequence[Attribute], rows: Sequence[str]) -> pa.Table:
    text = "\n".join(row.strip() for row in rows).encode()
    if not rows:
        return pa.table(
            {a.name: pa.array([], pa.float64() if a.categories is None else pa.string()) for a in attributes}
        )
    keys = [str(number) for number in range(len(attributes))]  # names may occur twice
    types = {k: pa.float64() if a.categories is None else pa.string() for k, a in zip(keys, attributes, strict=True)}
    delimiter = "\t" if "\t" in rows[0] and "," not in rows[0] else ","
    try:
        table = pacsv.read_csv(
            io.BytesIO(text),
            read_options=pacsv.ReadOptions(column_names=keys, block_size=max(2**20, len(text) + 1)),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, quote_char="'", escape_char="\\"),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                null_values=["?", " ?"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,  # '?' is a text, as in sparse files
            ),
        )
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: the data does not fit its {len(attributes)} attributes: {one_line(error)}"
        ) from error
    columns = [_column(path, a, column.combine_chunks()) for a, column in zip(attributes, table.columns, strict=True)]
    return pa.Table.from_arrays(columns, [a.name for a in attributes])


def _column(path: Path, attribute: Attribute, values: pa.Array) -> pa.Array:
    """Return a column of categories that are numbers as numbers."""
    if attribute.categories is None:
        return values
    values = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r'^"(.*)"$', r"\1")
    if attribute.categories:
        strange = values.filter(pc.invert(pc.is_in(values, pa.array([*attribute.categories, None], pa.string()))))
        if len(strange):
            raise InputError(
                f"{path}: the attribute {attribute.name!r} has the value {strange[0].as_py()!r} (in {len(strange):,} "
                f"rows), which is none of its categories {', '.join(attribute.categories[:5])}"
            )
    return values.cast(attribute.type)
