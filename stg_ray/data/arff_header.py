"""The header of an ARFF file: its relation and its attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from stg_ray.data.files import other_format
from stg_ray.errors import InputError

QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
ATTRIBUTE = re.compile(rf"@attribute\s+({QUOTED}|[^\s{{]+)\s*(?:\s|(?={{))(.+)", re.IGNORECASE)
CATEGORY = re.compile(rf"\s*({QUOTED}|[^,]+?)\s*(?:,|$)")
NUMBERS = ("numeric", "real", "integer")


@dataclass(frozen=True)
class Attribute:
    """A column of an ARFF file: its name and its categories, None for numbers, empty for text."""

    name: str
    categories: tuple[str, ...] | None

    @cached_property
    def type(self) -> pa.DataType:
        """Type of its values: numbers also where all categories are numbers, else text."""
        if self.categories is None:
            return pa.float64()
        for kind in (pa.int8(), pa.int64(), pa.float64()):
            try:
                pa.array(self.categories or [""], pa.string()).cast(kind)
            except pa.ArrowInvalid:
                continue
            return kind
        return pa.string()

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return bool(pa.types.is_string(self.type))


def read_header(path: Path, lines: Iterator[str]) -> tuple[list[Attribute], str]:
    """Read the attributes and the relation, up to the data.

    Raises:
        InputError: there is something else.
    """
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
            categories: tuple[str, ...] | None = tuple(unquoted(c[1]) for c in CATEGORY.finditer(inside))
        else:
            categories = None if kind.split()[0].lower() in NUMBERS else ()
        attributes.append(Attribute(unquoted(match[1]), categories))
    other = other_format(path, "data.arff")
    if other:
        raise InputError(f"{path} is no ARFF file: {other}")
    raise InputError(f"{path} is no whole ARFF file: expected @relation, lines of @attribute, and @data")


def unquoted(text: str) -> str:
    """Return a name or a value without the quotes around it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
