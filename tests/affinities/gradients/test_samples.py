"""Choice of the rows that the landscape looks at."""

from __future__ import annotations

from typing import Literal

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from stg_ray.affinities.gradients.samples import (
    AUTO_ROWS,
    LEAST_PARTS,
    LEAST_ROWS,
    MOST_AUTO_PARTS,
    most_variable,
    parts_looked_at,
    rows_per_part,
    stratified,
)
from stg_ray.config import AffinityConfig
from stg_ray.data.parts import PartIndex
from stg_ray.tasks import Task

TASKS = [Task("common"), Task("rare"), Task("three", "multiclass", 3), Task("value", "regression", 1)]


def _labels(n: int, rng: np.random.Generator) -> np.ndarray:
    columns = [rng.integers(0, 2, n), rng.random(n) < 0.02, rng.integers(0, 3, n), rng.normal(size=n)]
    return np.stack(columns, axis=1).astype(np.float64)


@given(samples=st.one_of(st.just("auto"), st.integers(1, 20_000)), n_parts=st.integers(1, 2000))
@example(samples=1409, n_parts=24)
def test_rows_are_of_as_many_parts_as_have_enough(samples: int | Literal["auto"], n_parts: int) -> None:
    settings = AffinityConfig(samples=samples)
    index = PartIndex(tuple(TASKS), (1,), [0.0], [1.0], 1.0, 1.0, {"train": [500] * n_parts})
    parts, rows = parts_looked_at(settings, index), rows_per_part(settings, index)
    assert min(n_parts, LEAST_PARTS) <= parts <= n_parts
    if samples == "auto":
        assert (parts, rows) == (min(n_parts, MOST_AUTO_PARTS), AUTO_ROWS)
    else:
        assert samples <= parts * rows < samples + parts
        assert parts in (n_parts, LEAST_PARTS) or rows <= LEAST_ROWS < samples / (parts - 1)


def test_rare_classes_are_represented() -> None:
    rng = np.random.default_rng(0)
    labels = _labels(2000, rng)
    chosen = labels[stratified(labels, TASKS, 60, rng)]
    assert len(chosen) == 60
    assert chosen[:, 1].sum() >= 14, "at random, one or two"
    counts = [(chosen[:, 0] == c).sum() for c in range(2)] + [(chosen[:, 2] == c).sum() for c in range(3)]
    assert min(counts) >= 14


@given(n=st.integers(1, 30), n_rows=st.integers(30, 60), seed=st.integers(0, 1000), missing=st.floats(0, 1))
def test_every_row_is_taken_once_at_most(n: int, n_rows: int, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    labels = _labels(n_rows, rng)
    labels[rng.random(labels.shape) < missing] = np.nan
    rows = stratified(labels, TASKS, n, np.random.default_rng(seed))
    assert len(rows) == n
    assert len(set(rows.tolist())) == n
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, stratified(labels, TASKS, n, np.random.default_rng(seed)))


def test_ambiguous_rows_come_first_where_they_are_asked_for() -> None:
    variability = np.array([[0.1, 0.1], [0.4, np.nan], [0.2, 0.5], [np.nan, np.nan], [0.0, 0.9]])
    assert most_variable(variability, 2).tolist() == [1, 4]
