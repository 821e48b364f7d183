"""Sparse inputs: every selection of rows, every statistic is that of the dense array."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from stg_ray.tasks.about import about
from stg_ray.tasks.sparse_rows import SparseRows, joined, stays_sparse

N, F = 40, 1500
MATRIX = scipy.sparse.random(N, F, 0.01, format="csr", random_state=0)
DENSE = MATRIX.toarray().astype(np.float32)
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2], axis=1)


@given(rows=st.lists(st.integers(0, N - 1), max_size=60), start=st.integers(0, N), stop=st.integers(0, N))
def test_rows_are_those_of_the_dense_array(rows: list[int], start: int, stop: int) -> None:
    sparse = SparseRows.of(MATRIX)
    chosen = np.array(rows, int)
    assert np.array_equal(sparse[chosen], DENSE[chosen])
    assert np.array_equal(sparse.take(chosen)[::-1], DENSE[chosen][::-1])
    both = joined([sparse.take(slice(start, stop)), sparse.take(chosen)])
    assert np.array_equal(both[:], np.concatenate([DENSE[start:stop], DENSE[chosen]]))
    total, squares = sparse.moments(chosen)
    assert np.allclose(total, DENSE[chosen].sum(axis=0, dtype=np.float64))
    assert np.allclose(squares, np.square(DENSE[chosen], dtype=np.float64).sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_rows_of_a_dense_array(monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    monkeypatch.setattr("stg_ray.tasks.sparse_rows.BLOCK_ROWS", 7)
    array = (DENSE * 9).astype(dtype)
    sparse = SparseRows.of_dense(array)
    assert np.array_equal(sparse[:], array)
    assert sparse.n_filled == np.count_nonzero(array)


def test_the_range_has_the_zeros() -> None:
    assert SparseRows.of(MATRIX).range() == (0.0, float(DENSE.max()))
    assert SparseRows.of(scipy.sparse.csr_matrix(np.full((2, 2), 3.0))).range() == (3.0, 3.0)
    assert SparseRows.of(scipy.sparse.csr_matrix((2, 2))).range() == (0.0, 0.0)


def test_numbers_that_stand_twice_are_added_and_the_users_matrix_stays() -> None:
    twice = scipy.sparse.csr_matrix(([1.0, 2.0], [3, 3], [0, 2]), shape=(1, 5))
    assert SparseRows.of(twice)[:].tolist() == [[0, 0, 0, 3, 0]]
    assert twice.nnz == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_what_is_no_number_is_named(value: float) -> None:
    bad = MATRIX.copy()
    bad.data[bad.indptr[7]] = value
    with pytest.raises(InputError, match="the first in row 7"):
        SparseRows.of(bad)


def test_few_columns_and_full_ones_are_dense() -> None:
    assert stays_sparse(MATRIX)
    assert not stays_sparse(MATRIX[:, :1000])
    assert not stays_sparse(scipy.sparse.random(N, F, 0.2))


def test_a_task_set_keeps_them_sparse() -> None:
    task_set = TaskSet.from_arrays(scipy.sparse.coo_matrix(MATRIX), LABELS)
    assert isinstance(task_set.inputs, SparseRows)
    assert task_set.digest == TaskSet.from_arrays(MATRIX, LABELS).digest
    assert about(task_set)[-1] == f"inputs: 1,500 numbers from 0 to {DENSE.max():.4g}, 1 % not 0: kept sparse"
    with pytest.raises(InputError, match=r"inputs have the shape \(39, 1500\)"):
        TaskSet.from_arrays(MATRIX[1:], LABELS)
