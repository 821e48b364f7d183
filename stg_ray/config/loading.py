"""Loading of configurations from presets, YAML files, mappings and `--set`, with messages for mistakes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stg_ray.config import Config
from stg_ray.config.explaining import explained, nested
from stg_ray.config.methods import AFFINITY_METHODS, GROUPING_METHODS
from stg_ray.config.plain_values import check_texts
from stg_ray.config.plain_yaml import read_yaml
from stg_ray.config.presets import PRESETS
from stg_ray.config.secrets import check_no_credentials
from stg_ray.config.tables import matching_paths
from stg_ray.config.writers import newer_writer
from stg_ray.errors import InputError, NotHere, one_line, unknown
from stg_ray.stages import STAGES

COLUMNS = '{{files: {file}, features: ["*"], labels: ["y_*"]}}'
DATA_FILES = {
    ".csv": f"csv: {COLUMNS}",
    ".tsv": f"csv: {COLUMNS}",
    ".parquet": f"parquet: {COLUMNS}",
    ".arff": "arff: {{files: {file}}}",
    ".npz": "npz: {file}",
}
"""What `data` may say of a file, by its suffix."""
YAML_SUFFIXES = (".yaml", ".yml")


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any], overrides: Iterable[str] = (), *, of_run: bool = False
) -> Config:
    """Load a configuration.

    Args:
        source: a preset's name, the path of a YAML file, or a mapping of sections.
        overrides: settings as `section.key=value` that replace those of the source.
        of_run: it is that of a run, whose affinities and clusterer need not be installed here.

    Raises:
        InputError: no such preset or file, bad YAML, an unknown key (the message names the nearest known one), or a
            bad value.

    Example:
        >>> from stg_ray import load_config
        >>> config = load_config("digits", ["grouping.groups=3"])
        >>> config.data.preset, config.grouping.groups
        ('digits', 3)
        >>> load_config({"data": {"npz": "mine.npz"}, "profile": {"epoch": 3}})
        Traceback (most recent call last):
        stg_ray.errors.InputError: unknown key profile.epoch: did you mean profile.epochs?
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str | Mapping):
        raise InputError(
            f"{type(source).__name__} is no configuration: expected a preset's name, the path of a YAML file, or a "
            "dictionary of sections"
        )
    values = _read(source) if isinstance(source, str) else _copied(_plain(source))
    if isinstance(values.get("data"), list):
        values["data"] = {"join": values["data"]}
    for override in overrides:
        _override(values, override)
    data = values.get("data")
    preset = data.get("preset") if isinstance(data, dict) else None
    if isinstance(preset, str) and preset in PRESETS:
        values = _merged(PRESETS[preset].settings, values)
    try:
        with looking_beside(source):
            return _validated(values, of_run=of_run)
    except InputError as error:
        if isinstance(source, str) and (newer := _newer_writer_of(source)):
            raise InputError(f"{source}: {error}{newer}") from error
        raise


def set_values(config: Config, overrides: Iterable[str]) -> Config:
    """Return a configuration with `section.key=value` overrides on top.

    Raises:
        InputError: an override is not of this form, its key is unknown, or its value is bad.
    """
    values = config.model_dump()
    for override in overrides:
        _override(values, override)
    return _validated(values, known=config)


def with_settings(source: Config | str | Mapping[str, Any], settings: Mapping[str, Any] | None) -> Config:
    """Load a configuration with sections of `settings`, such as `{"profile": {"epochs": 3}}`, on top.

    Args:
        source: a configuration, or what `load_config` takes.
        settings: keys to change, by section, if any.

    Raises:
        InputError: as `load_config`.
    """
    settings = checked_settings(settings)
    if isinstance(source, Config):  # a preset's defaults are in it already
        return _validated(_merged(source.model_dump(), _plain(settings)), known=source) if settings else source
    with looking_beside(source):
        return load_config(_merged(_read(source) if isinstance(source, str) else _plain(source), _plain(settings)))


def checked_settings(settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return settings that are given in Python; none for None.

    Raises:
        InputError: they are no dictionary.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise InputError(
            f'settings are {settings!r}: expected sections of keys, such as {{"profile": {{"epochs": 3}}}}'
        )
    return settings or {}


@contextmanager
def looking_beside(source: object) -> Iterator[None]:
    """Say of what is not here that it lies beside the configuration file, where nothing is looked up.

    Args:
        source: what is run; nothing is said where it is no path of a YAML file.

    Raises:
        InputError: as it was raised within, with this.
    """
    try:
        yield
    except InputError as error:
        causes: list[BaseException] = [error]
        while cause := causes[-1].__cause__:
            causes.append(cause)
        name = next((each.name for each in causes if isinstance(each, NotHere)), None)
        if name is None or not isinstance(source, str | os.PathLike) or Path(source).suffix not in YAML_SUFFIXES:
            raise
        if not (beside := matching_paths(name, folder := Path(source).parent)):
            raise
        raise InputError(f"{error}; {beside[0]} is there, beside the configuration file: start in {folder}") from error


def default_out(source: str, config: Config) -> str:
    """Return the default directory: the same configuration finds it again, another one gets another."""
    return f"runs/{Path(source).stem}-{config.fingerprint(STAGES['report'].sections)[:8]}"


def _copied(values: Any) -> Any:
    """Copy dictionaries and lists, and leave what they hold: it may be a module."""
    if isinstance(values, Mapping):
        return {key: _copied(value) for key, value in values.items()}
    return [_copied(value) for value in values] if isinstance(values, list) else values


def _read(source: str) -> dict[str, Any]:
    path = Path(source)
    if source in PRESETS and not path.suffix:
        return {"data": {"preset": source}}
    if (example := DATA_FILES.get(path.suffix.lower())) and path.exists():
        raise InputError(
            f"{source} holds data: give a file such as mine.yaml, which says what is in it, for example data: "
            f"{{{example.format(file=source)}}} (stg-ray guide your_data)"
        )
    if path.suffix not in YAML_SUFFIXES:
        raise InputError(unknown(source, PRESETS, "preset") + " (or a configuration file that ends in .yaml)")
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{source} is not valid YAML: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise InputError(f"{source}: expected sections such as 'data: {{preset: digits}}', found {_in_words(values)}")
    return values


def _in_words(value: Any) -> str:
    """Say what a file holds that holds no sections."""
    if value is None:
        return "an empty file"
    words = ((list, "a list"), (bool, "a truth value"), (int | float, "a number"), (str, "a text"))
    return next((word for kind, word in words if isinstance(value, kind)), f"a {type(value).__name__}")


def _newer_writer_of(source: str) -> str:
    return "" if source in PRESETS else newer_writer(Path(source).read_text(encoding="utf-8"))


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value_text = text.partition("=")
    text = " ".join(text.split())  # for messages
    if not equals or not key.strip():
        raise InputError(f"--set {text}: expected section.key=value, for example --set profile.epochs=10")
    try:
        value = read_yaml(value_text) if value_text.strip() else None
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: the value is not valid YAML ({one_line(error)})") from error
    *sections, last = key.strip().split(".")
    at = values
    for section in sections:
        below = at[section] = {} if at.get(section) is None else at[section]  # an optional section may be None
        if not isinstance(below, dict):
            raise InputError(f"--set {text}: {section} has no keys of its own")
        at = below
    at[last] = value


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _plain(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return values whose texts and nesting a file can hold."""
    try:
        check_texts(values)
    except ValueError as error:
        raise InputError(str(error)) from error
    return values


def _validated(values: Mapping[str, Any], *, known: Config | None = None, of_run: bool = False) -> Config:
    """Make a configuration of values, whose methods must be those of a known one, or have a class here."""
    try:
        check_no_credentials(_plain(values))  # before anything is said of them
    except ValueError as error:
        raise InputError(str(error)) from error
    if "data" not in values:
        near = [
            f"unknown key {key}: {nested(key, value)}"
            if key.startswith("data.")
            else unknown(key, Config.model_fields, "section")
            for key, value in values.items()
            if key not in Config.model_fields
        ]
        raise InputError(near[0] if near else "no data: expected for example 'data: {preset: digits}'")
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise InputError(explained(error)) from error
    if not of_run:
        before = [] if known is None else [*known.affinity.methods, known.grouping.method]
        if not config.affinity.leaves_methods:
            AFFINITY_METHODS.check(name for name in config.affinity.methods if name not in before)
        GROUPING_METHODS.check(name for name in [config.grouping.method] if name not in before)
    return config
