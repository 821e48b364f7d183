"""Strange configurations and inputs, drawn by Hypothesis: one line, or parts that hold what was given.

`python -m jobs.bench.fuzz` draws for as long as it is told; here only for some seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.bench.fuzz import outcome
from jobs.bench.fuzz_cases import FEATURES, LABELS, STRANGE, Case, cases, settings_of
from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.config.plain_yaml import read_yaml
from stg_ray.errors import InputError

FIXED = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

KEYS = st.one_of(st.sampled_from(settings_of()), st.text(max_size=12))
VALUES = st.recursive(
    st.one_of(st.sampled_from(STRANGE), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


def loaded(work: Any) -> Config | None:
    """The configuration, or None where it is refused by one line."""
    message = ""
    try:
        config: Config = work()
        return config
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, message
    return None


@given(case=cases())
@FIXED
def test_inputs_are_refused_or_laid_out_as_they_were_given(case: Case) -> None:
    how, what = outcome(case)
    assert how != "fault", f"{what}; value={case.value!r}"


@pytest.mark.parametrize("source", ["parquet", "arrays"])
def test_ordinary_inputs_are_laid_out(source: str) -> None:
    """The fuzz test could not fail if all was refused."""
    for labels in (("0 and 1", "texts", "booleans"), ("0 and 1", "quantities"), ("0 and 1", "gaps")):
        mixed = source == "arrays" and labels[1] in ("texts", "gaps")
        labels = ("0 and 1", "0 and 1") if mixed else labels
        case = Case(source, 150, ("float64", "float32"), labels, "three", "", None)
        assert outcome(case) == ("right", ""), labels


@pytest.mark.parametrize("label", LABELS)
def test_every_column_of_labels(label: str) -> None:
    case = Case("parquet", 60, ("float64", "int8"), ("0 and 1", label), "none", "", None)
    assert outcome(case)[0] in ("right", "refused"), outcome(case)


@pytest.mark.parametrize("feature", FEATURES)
def test_every_column_of_inputs(feature: str) -> None:
    case = Case("parquet", 60, ("float64", feature), ("0 and 1", "booleans"), "none", "", None)
    assert outcome(case)[0] in ("right", "refused"), outcome(case)


@given(overrides=st.lists(st.tuples(KEYS, VALUES), max_size=3))
@FIXED
def test_settings_are_refused_or_read_back_as_they_were(tmp_path: Path, overrides: list[tuple[str, Any]]) -> None:
    values: dict[str, Any] = {"data": {"npz": "a.npz"}}
    for key, value in overrides:
        at, (*path, last) = values, key.split(".")
        for section in path:
            if not isinstance(at.setdefault(section, {}), dict):
                at[section] = {}
            at = at[section]
        at[last] = value
    config = loaded(lambda: load_config(values))
    if config is not None:
        assert Config.model_validate(read_yaml(config.to_yaml())).fingerprint(["data"]) == config.fingerprint(["data"])


@given(key=KEYS, value=st.one_of(VALUES.map(str), st.text(max_size=30)))
@FIXED
def test_overrides(key: str, value: str) -> None:
    loaded(lambda: load_config("digits", [f"{key}={value}"]))


@given(text=st.one_of(st.text(max_size=60), st.binary(max_size=60)))
@FIXED
def test_files(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    loaded(lambda: load_config(str(file)))
    try:
        read_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError):
        return
