"""Credentials are refused before anything is written, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

import stg_ray as sr
from stg_ray.config.secrets import HIDDEN, without_secrets
from stg_ray.errors import InputError

PARQUET = {"features": ["x_*"], "labels": ["y_*"]}


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"npz": "s3://AKIA:hunter2@bucket/mine.npz"}, "data.npz"),
        ({"parquet": {**PARQUET, "files": ["gs://a/b", "https://me:hunter2@host/a.parquet"]}}, "data.parquet.files"),
        ({"function": "m:f", "arguments": {"at": "postgresql://me:hunter2@host/db"}}, "data.arguments.at"),
        ({"preset": "digits", "root": "s3://bucket/x?secret_key=hunter2"}, "data.root"),
        ({"npz": "https://host/a.npz?X-Amz-Signature=hunter2"}, "data.npz"),
        ([{"npz": "s3://a:hunter2@b/c", "name": "a"}, "digits"], "data"),
    ],
)
def test_addresses_with_credentials_are_refused(data: object, key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds credentials in its address") as refused:
        sr.run({"data": data}, str(tmp_path / "run"))
    assert str(refused.value).startswith(key)
    assert "hunter2" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_settings_are_looked_at_too() -> None:
    for override in ("model.weights=s3://a:hunter2@b/c", "affinity.start=s3://a:hunter2@b/c"):
        with pytest.raises(InputError, match="holds credentials"):
            sr.load_config("digits", [override])


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a@b:c/d", "s3://bucket/x?region=eu", "s3://bucket/x?endpoint_override=a:1"]
)
def test_addresses_without_credentials_are_fine(uri: str) -> None:
    assert sr.load_config({"data": {"npz": uri}}).data.npz == uri


def test_values_with_secret_names_are_hidden_where_they_are_shown() -> None:
    arguments = {"api_key": "hunter2", "rows": 3, "inner": [{"PASSWORD": "hunter2"}], "token": None}
    config = sr.load_config({"data": {"function": "m:f", "arguments": arguments}})
    assert "hunter2" in config.to_yaml(), "a run that is resumed needs it"
    assert "hunter2" not in config.to_yaml(hide_secrets=True)
    other = sr.load_config({"data": {"function": "m:f", "arguments": {**arguments, "api_key": "hunter3"}}})
    assert config.differences(other) == ["data.arguments.api_key is '(hidden)', now '(hidden)'"]
    assert without_secrets(arguments) == {
        "api_key": HIDDEN,
        "rows": 3,
        "inner": [{"PASSWORD": HIDDEN}],
        "token": None,
    }
