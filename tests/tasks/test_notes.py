"""Warnings about data are lines of the plan and of the parts; others stay warnings."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.planning.estimate import estimate
from stg_ray.tasks.notes import DataWarning, noted


def gathered() -> list[str]:
    with noted() as notes:
        for message in ("b", "a", "b"):
            warnings.warn(message, DataWarning, stacklevel=1)
        warnings.warn("somebody else's", DeprecationWarning, stacklevel=1)
    return notes


def test_warnings_about_data_are_gathered_once_and_in_order() -> None:
    with pytest.warns(DeprecationWarning, match="somebody else") as others:
        assert gathered() == ["b", "a"]
    assert len(others) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DeprecationWarning):
            gathered()


def test_the_plan_tells_what_was_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / "set" / name / f"{i}.png")
        (tmp_path / "set" / name / "note.gif").write_bytes(b"GIF")
    lines = [text for _, text in estimate(load_config({"data": {"images": {"folder": "set"}, "root": str(tmp_path)}}))]
    assert any("2 files are left out (2 .gif)" in line for line in lines)
