"""Sums of parts: their ratio, its standard error, and what they become as a table."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.affinities.base import Partial, ratio_of_sums
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError


def _partial(total: object, count: object) -> Partial:
    return {"total": np.array(total), "count": np.array(count), "samples": np.array(3)}


def test_the_ratio_is_the_mean_over_all_samples_and_nan_without_any() -> None:
    partials = [
        _partial([[0.0, 4.0], [4.0, 0.0]], [[2.0, 2.0], [2.0, 0.0]]),
        _partial([[0.0, 5.0], [5.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]),
    ]
    ratio, _, samples = ratio_of_sums(partials, "total", "count")
    assert samples == 6
    assert ratio[0, 1] == 3.0
    assert np.isnan(ratio[1, 1])


def test_the_standard_error_covers_the_truth_as_often_as_it_should() -> None:
    """Parts of unequal size of samples with mean 2: the interval of two standard errors holds in about 95 %."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        partials = []
        for _ in range(40):
            n = int(rng.integers(5, 30))
            partials.append(_partial([[rng.exponential(2.0, n).sum()]], [[float(n)]]))
        ratio, error, _ = ratio_of_sums(partials, "total", "count")
        inside += bool(abs(ratio[0, 0] - 2.0) < 1.96 * error[0, 0])
    assert 0.90 <= inside / 500 <= 0.98


def test_one_part_has_no_standard_error() -> None:
    _, error, _ = ratio_of_sums([_partial(np.ones((2, 2)), np.ones((2, 2)))], "total", "count")
    assert np.isnan(error).all()


def test_a_matrix_reads_back_the_same() -> None:
    values = np.array([[0.0, np.nan], [np.nan, 0.0]])
    matrix = TaskMatrix(("a <b>", "ü"), values, "distance", {"method": "data_map"}, 12)
    back = TaskMatrix.from_table(matrix.to_table())
    assert back.tasks == matrix.tasks
    assert (back.kind, back.parameters, back.samples) == ("distance", {"method": "data_map"}, 12)
    assert np.array_equal(back.values, values, equal_nan=True)


def test_a_table_that_is_no_matrix_is_refused() -> None:
    table = TaskMatrix(("a", "b"), np.zeros((2, 2)), "distance").to_table()
    with pytest.raises(InputError, match="metadata key stg_ray"):
        TaskMatrix.from_table(table.replace_schema_metadata(None))
    with pytest.raises(InputError, match="different tasks"):
        TaskMatrix.from_table(
            table.rename_columns(["__task__", "b", "a"]).replace_schema_metadata(table.schema.metadata)
        )
