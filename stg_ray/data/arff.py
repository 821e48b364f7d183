"""Task sets from ARFF files with many labels, dense and sparse (which SciPy does not read).

In Mulan's files the labels are named by an XML file, in MEKA's they are counted by the relation.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from stg_ray.config.tables import ColumnsConfig, looked_up
from stg_ray.data.columns import TableFile
from stg_ray.data.files import Found, find_files, other_format
from stg_ray.data.tables import read_tables
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config.tables import ArffConfig

QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
ATTRIBUTE = re.compile(rf"@attribute\s+({QUOTED}|[^\s{{]+)\s*(?:\s|(?={{))(.+)", re.IGNORECASE)
CATEGORY = re.compile(rf"\s*({QUOTED}|[^,]+?)\s*(?:,|$)")
CELL = re.compile(rf"\s*(\d+)\s+({QUOTED}|[^,\s]+)\s*(?:,|$)")
MEKA_LABELS = re.compile(r"-C\s+(-?\d+)")
NUMBERS = ("numeric", "real", "integer")
BATCH_ROWS = 4096


@dataclass(frozen=True)
class Attribute:
    """A column of an ARFF file: its name and its categories, None for numbers, empty for text."""

    name: str
    categories: tuple[str, ...] | None


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
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        other = other_format(path, "data.arff")
        if other is not None:
            raise InputError(f"{path} is no ARFF file: {other}") from None
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}") from error
    lines = iter(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("%"))
    attributes, relation = _header(path, lines)
    rows = list(lines)
    sparse = bool(rows) and rows[0].lstrip().startswith("{")
    table = _sparse_table(path, attributes, rows) if sparse else _dense_table(path, attributes, rows)

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from table.select(list(columns)).to_batches(BATCH_ROWS)

    return TableFile(path, table.schema, len(table), batches, split=found.split), relation


def _header(path: Path, lines: Iterator[str]) -> tuple[list[Attribute], str]:
    """Read the attributes and the relation, up to the data."""
    attributes: list[Attribute] = []
    relation = ""
    for line in lines:
        line = line.strip()
        word = line.split(None, 1)[0].lower()
        if word == "@data":
            if not attributes:
                break
            return attributes, relation
        if word == "@relation":
            relation = line
            continue
        match = ATTRIBUTE.fullmatch(line)
        if match is None:
            break
        kind = match[2].strip()
        if kind.startswith("{"):
            inside = kind[1:].rstrip().rstrip("}")
            categories: tuple[str, ...] | None = tuple(_unquoted(c[1]) for c in CATEGORY.finditer(inside))
        else:
            categories = None if kind.split()[0].lower() in NUMBERS else ()
        attributes.append(Attribute(_unquoted(match[1]), categories))
    other = other_format(path, "data.arff")
    if other:
        raise InputError(f"{path} is no ARFF file: {other}")
    raise InputError(f"{path} is no whole ARFF file: expected @relation, lines of @attribute, and @data")


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
            convert_options=pacsv.ConvertOptions(column_types=types, null_values=["?", " ?"], strings_can_be_null=True),
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
    return values.cast(_category_type(attribute))


def _category_type(attribute: Attribute) -> pa.DataType:
    for kind in (pa.int64(), pa.float64()):
        try:
            pa.array(attribute.categories or [""], pa.string()).cast(kind)
        except pa.ArrowInvalid:
            continue
        return kind
    return pa.string()


def _sparse_table(path: Path, attributes: Sequence[Attribute], rows: Sequence[str]) -> pa.Table:
    """Return rows such as `{1 0.5, 7 yes}`. What is left out is 0, or the first category."""
    n_rows = len(rows)
    cells: list[tuple[list[int], list[str]]] = [([], []) for _ in attributes]
    for number, row in enumerate(rows):
        row = row.strip()
        if not (row.startswith("{") and row.endswith("}")):
            raise InputError(f"{path}: the row {number} of the data is {row[:40]!r}: expected {{index value, ...}}")
        for match in CELL.finditer(row[1:-1]):
            index = int(match[1])
            if index >= len(attributes):
                raise InputError(
                    f"{path}: row {number} has the index {index}, and there are {len(attributes)} attributes"
                )
            cells[index][0].append(number)
            cells[index][1].append(match[2])
    return pa.Table.from_arrays(
        [_filled(path, a, n_rows, *cell) for a, cell in zip(attributes, cells, strict=True)],
        [a.name for a in attributes],
    )


def _filled(path: Path, attribute: Attribute, n_rows: int, rows: list[int], texts: list[str]) -> pa.Array:
    if attribute.categories is None or _category_type(attribute) != pa.string():
        first = float(attribute.categories[0]) if attribute.categories else 0.0
        values = np.full(n_rows, first)
        try:
            values[rows] = [np.nan if text == "?" else float(_unquoted(text)) for text in texts]
        except ValueError as error:
            raise InputError(f"{path}: the attribute {attribute.name!r} is no number: {one_line(error)}") from error
        whole = attribute.categories is not None and _category_type(attribute) == pa.int64()
        array = pa.array(values, from_pandas=True)
        return array.cast(pa.int64()) if whole else array
    words: list[Any] = [attribute.categories[0] if attribute.categories else None] * n_rows
    for row, text in zip(rows, texts, strict=True):
        words[row] = None if text == "?" else _unquoted(text)
    return pa.array(words, pa.string())


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
