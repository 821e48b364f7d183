"""YAML files that would hang a program, or lose a setting in silence, are refused in one line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.config.loading import load_config
from stg_ray.config.plain_yaml import MAX_DEPTH, read_yaml
from stg_ray.errors import InputError

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_are_read_as_they_were_written(value: object) -> None:
    assert read_yaml(yaml.safe_dump(value)) == value


def test_aliases_and_merged_keys_are_yaml() -> None:
    text = "base: &base {epochs: 3, lr: 0.1}\nprofile: {<<: *base, epochs: 4}\nretrain: *base"
    assert read_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 100,000 values, with aliases written out"),
        ("a: &a [*a]", "a value that contains itself"),
        ("data: {preset: digits}\nseed: 1\nseed: 2", "the key 'seed' twice"),
        ("profile: {epochs: 1, lr: 0.1, epochs: 2}", "the key 'epochs' twice"),
        ("[" * 60 + "]" * 60, f"nested more than {MAX_DEPTH} deep"),
        ("[" * 100_000, f"nested more than {MAX_DEPTH} deep"),
    ],
    ids=["bomb", "itself", "key twice", "inner key twice", "deep", "very deep"],
)
def test_what_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    began = time.monotonic()
    with pytest.raises(InputError, match=f"mine.yaml is not valid YAML: .*{message}") as refused:
        load_config(str(tmp_path / "mine.yaml"))
    assert time.monotonic() - began < 10
    assert "\n" not in str(refused.value)


def test_overrides_are_read_alike() -> None:
    with pytest.raises(InputError, match="the key 'a' twice"):
        load_config("digits", ["data.arguments={a: 1, a: 2}"])
