"""Numbers that float32 cannot tell apart are refused where they would be rounded without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from tests.support.tables import load

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
LABELS = RNG.integers(0, 2, (200, 2))
SECONDS = 1.7e9 + np.arange(200) * 7.0


@pytest.mark.parametrize(
    ("labels", "step"),
    [(X[:, 2] + 1e7, "1 "), (X[:, 2] + 1.7e9, "128 "), (SECONDS.astype(np.int64), "128 "), (X[:, 2] / 1e9 + 1, "1.19")],
)
def test_labels_of_small_steps_on_a_large_offset_are_refused(labels: np.ndarray, step: str) -> None:
    with pytest.raises(InputError, match=f"'y' has labels up to .* in steps of {step}.*subtract an offset"):
        TaskSet.from_arrays(X, {"y": labels, "other": X[:, 0]})
    TaskSet.from_arrays(X, {"y": labels - labels.mean(), "other": X[:, 0]})


@pytest.mark.parametrize("labels", [X[:, 2] + 1e4, X[:, 2] * 1e30, 1.7e9 + np.arange(200) * 1e6, X[:, 2] * 1e-30])
def test_labels_that_float32_tells_apart_pass(labels: np.ndarray) -> None:
    task_set = TaskSet.from_arrays(X, np.stack([labels, X[:, 0]], axis=1))
    lost = np.abs(task_set.labels[:, 0] - labels) / labels.std()
    assert lost.max() < 1e-3


def test_constant_labels_are_said_to_be_constant() -> None:
    """Not that they are too fine, though sums in another order differ in the last digit."""
    noise = np.where(np.arange(200) % 2, 0.1 + 0.2, 0.3)
    task_set = TaskSet.from_arrays(X, np.stack([noise, X[:, 0]], axis=1))
    with pytest.raises(InputError, match=r"'task_0' has only the label 0\.3"):
        task_set.without_constant_tasks("refuse")


@pytest.mark.parametrize("container", ["array", "frame", "whole numbers", "series", "csv", "parquet"])
def test_inputs_of_small_steps_on_a_large_offset_are_refused(container: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"time": SECONDS, "size": X[:, 0]})
    given: Any = frame.to_numpy()
    if container in ("csv", "parquet"):
        columns = {"x_time": SECONDS, "x_size": X[:, 0], "y_a": LABELS[:, 0], "y_b": LABELS[:, 1]}
        with pytest.raises(InputError, match=r"the feature 'x_time' of the inputs has values up to 1\.7e"):
            _read(tmp_path, container, columns)
        return
    name = "feature 0 of the inputs"
    if container == "frame":
        given, name = frame, "the feature 'time' of the inputs"
    elif container == "whole numbers":
        given = given.astype(np.int64)
    elif container == "series":
        given, name = given[:, :, None], "channel 0 of the inputs"
    with pytest.raises(InputError, match=f"{name} has values up to 1.7e.* in steps of 128 .*subtract an offset"):
        TaskSet.from_arrays(given, LABELS)


def _read(folder: Path, kind: str, columns: dict[str, np.ndarray]) -> None:
    frame = pd.DataFrame(columns)
    file = folder / f"mine.{kind}"
    frame.to_csv(file, index=False) if kind == "csv" else frame.to_parquet(file)
    load(folder, kind, files=f"mine.{kind}", features="x_*", labels="y_*")


@pytest.mark.parametrize(
    "column",
    [
        RNG.integers(0, 2**24, 200),
        np.where(np.arange(200) == 7, 2025, 2024),
        np.full(200, 20_240_101),
        np.full(200, 0.1),
        SECONDS.astype(np.float32),
        1.7e9 + np.arange(200) * 3600.0,
    ],
)
def test_inputs_that_lose_little_pass(column: np.ndarray) -> None:
    given = np.stack([column, X[:, 0].astype(column.dtype)], axis=1)
    TaskSet.from_arrays(given, LABELS)
    TaskSet.from_arrays(pd.DataFrame(given), LABELS)
