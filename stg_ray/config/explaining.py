"""Explanations, in one line, of what pydantic finds wrong with a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from stg_ray.config import Config
from stg_ray.errors import nearest
from stg_ray.shown import plain

SHOWN = 3
"""Mistakes that are named."""

EXPECTED = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_": "text",
    "list_": "a list",
    "tuple_": "a list",
    "dict_": "keys with values, {key: value}",
    "model_": "keys with values",
}
"""What a type expects, by the beginning of pydantic's name of the mistake."""

OF_TYPE = re.compile(r"constrained-|function-|(?:literal|list|tuple|dict)\[|(?:int|float|str|bool)$")
"""A step to a value that is that of a type, where several are possible."""


def explained(error: ValidationError) -> str:
    """Return what is wrong and what is expected; types that a value may have are told together."""

    def place(problem: Any) -> str:
        return _place(problem["loc"])

    problems = [list(own) for _, own in groupby(error.errors(), key=place)]
    return "; ".join(_explain(own) for own in problems[:SHOWN])


def _explain(problems: list[Any]) -> str:
    """Describe the mistakes at one place."""
    first = problems[0]
    if first["type"] == "extra_forbidden":
        return _unknown_key([str(step) for step in first["loc"]], first["input"])
    place, value = _place(first["loc"]), first["input"]
    place = place if place.isprintable() else repr(place)
    expected = [_expected(problem) for problem in problems]
    known = [name for problem in problems if problem["type"] == "literal_error" for name in _choices(problem)]
    if all(expected):
        words = _either([word for words in expected for word in words]) + _keys(problems)
        return f"{place} is {plain(value)}: {_near(value, known)}expected {words}{_as_list(problems, value)}"
    if first["type"] == "missing":
        return f"{place} is missing"
    message = next(problem for problem, words in zip(problems, expected, strict=True) if not words)["msg"]
    message = message.removeprefix("Value error, ")
    if isinstance(value, dict | BaseModel):
        return f"{place}: {message}" if place else message
    return f"{place} is {plain(value)}: {message[0].lower()}{message[1:]}"


def _place(steps: Iterable[Any]) -> str:
    return ".".join(step for step in map(str, steps) if not OF_TYPE.match(step))


def _expected(problem: Any) -> list[str]:
    """Return what the value should have been; nothing where pydantic's words say it."""
    kind = problem["type"]
    if kind == "literal_error":
        return _choices(problem)
    endings = ("type", "parsing", "from_float")
    return [words for beginning, words in EXPECTED.items() if kind in {beginning + ending for ending in endings}]


def _choices(problem: Any) -> list[str]:
    return re.findall(r"'([^']*)'", problem["ctx"]["expected"])


def _near(value: Any, known: list[str]) -> str:
    near = nearest(str(value), known)
    return f"did you mean {near!r}? " if near else ""


def _as_list(problems: list[Any], value: Any) -> str:
    is_list = any(problem["type"] == "list_type" for problem in problems)
    return f" (write [{value}])" if is_list and isinstance(value, str | int | float) else ""


def _keys(problems: list[Any]) -> str:
    """Return the keys that are known where keys with values are expected."""
    models = [_model_at(problem["loc"]) for problem in problems if problem["type"].startswith("model_")]
    fields = models[0].model_fields if models else {}
    by_need = sorted(fields, key=lambda name: not fields[name].is_required())
    return f" (known: {', '.join(by_need)})" if models else ""


def _model_at(path: Iterable[Any]) -> Any:
    """Return the section of the configuration at a path."""
    model: Any = Config
    for step in map(str, path):
        if step not in model.model_fields:
            continue  # a key of a dictionary of sections, or the number of one in a list
        annotation = model.model_fields[step].annotation
        inner = [a for a in get_args(annotation) if hasattr(a, "model_fields")]  # of `X | None`, `dict[str, X]`
        model = inner[0] if inner else annotation
    return model


def _either(words: list[str]) -> str:
    words = list(dict.fromkeys(words))
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} or {words[-1]}"


def nested(key: str, value: Any) -> str:
    """Return a dotted key of a mapping as the mappings in one another that are expected."""
    for step in reversed(key.split(".")):
        value = {step: value}
    return f"keys with a point are for --set only, expected {value}"


def _unknown_key(where: list[str], value: Any) -> str:
    """Describe an unknown key, with the nearest known one."""
    *path, name = where
    known = list(_model_at(path).model_fields)
    near = nearest(name, known)
    elsewhere = [f"{section}.{name}" for section in Config.model_fields if name in _fields_at([section])]
    within = [".".join([*path, part, name]) for part in known if path and name in _fields_at([*path, part])][:SHOWN]
    nearest_one = [".".join([*path, near])] if near else []
    shown = _either(within or elsewhere or nearest_one)
    hint = f"did you mean {shown}?" if shown else f"known: {', '.join(known)}"
    if name.partition(".")[0] in known and "." in name:
        hint = nested(name, value)
    key = ".".join(where)
    return f"unknown key {key if key.isprintable() else repr(key)}: {hint}"


def _fields_at(path: list[str]) -> Iterable[str]:
    return getattr(_model_at(path), "model_fields", {})
