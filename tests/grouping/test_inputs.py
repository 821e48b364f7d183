"""Affinities of the user's: arrays, data frames, files; and messages for those that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import stg_ray as sr
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError
from stg_ray.grouping.inputs import MatrixLike, as_matrix, in_order_of

NAMES = tuple("abcdef")
LABELS = np.array([0, 1, 0, 1, 0, 1])
VALUES = np.where(LABELS[:, None] == LABELS, 0.9, 0.1) + 0.01 * np.arange(36).reshape(6, 6) / 36
EXPECTED = [["a", "c", "e"], ["b", "d", "f"]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tensors_that_need_gradients(dtype: torch.dtype) -> None:
    values = torch.tensor(VALUES, dtype=dtype, requires_grad=True)
    assert sr.group(values, names=NAMES, n_groups=2).groups == EXPECTED
    assert values.requires_grad


@pytest.mark.parametrize("as_rows", [np.ndarray.tolist, list, lambda values: [torch.tensor(row) for row in values]])
def test_a_list_of_rows_is_one_matrix_and_one_of_matrices_several(as_rows: Callable[[np.ndarray], list[Any]]) -> None:
    rows = as_rows(VALUES)
    assert sr.group(rows, names=NAMES, n_groups=2).groups == EXPECTED
    assert sr.group([rows, VALUES], names=NAMES, weights=[0.5, 0.5], n_groups=2).groups == EXPECTED
    with pytest.raises(InputError, match="the affinity"):
        sr.group([*rows[:-1], rows[-1][:3]], names=NAMES)


def test_masked_pairs_have_no_value() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 1] = mask[1, 0] = True
    masked = np.ma.masked_array(np.where(mask, 999.0, VALUES), mask)
    np.testing.assert_array_equal(as_matrix(masked).values, np.where(mask, np.nan, VALUES))
    assert sr.group(masked, names=NAMES, n_groups=2).groups == EXPECTED


@pytest.mark.parametrize("wrong", [np.array([["a", "b"], ["c", "d"]]), np.array([[1, None], [{}, 1]])])
def test_arrays_without_numbers(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match="the affinity is no array of numbers"):
        as_matrix(wrong)


def test_every_form_gives_the_same_groups(tmp_path: Path) -> None:
    frame = pd.DataFrame(VALUES, index=list(NAMES), columns=list(NAMES))
    frame.to_csv(tmp_path / "mine.csv")
    pq.write_table(TaskMatrix(NAMES, 1 - VALUES, "distance").to_table(), tmp_path / "run.parquet")
    pq.write_table(
        pa.table({"__task__": list(NAMES)} | dict(zip(NAMES, VALUES.T, strict=True))), tmp_path / "own.parquet"
    )
    swapped = frame[list("fedcba")]
    frame.to_parquet(tmp_path / "index.parquet")
    frame.reset_index().to_parquet(tmp_path / "column.parquet")
    files = [tmp_path / f"{name}.parquet" for name in ("run", "own", "index", "column")]
    files.insert(0, tmp_path / "mine.csv")
    sources: list[MatrixLike] = [frame, swapped, str(files[0]), *files, TaskMatrix(NAMES, VALUES, "affinity")]
    for source in sources:
        assert sr.group(source, n_groups=2).groups == EXPECTED
    assert sr.group(VALUES, names=NAMES, n_groups=2).groups == EXPECTED
    assert sr.group(VALUES.max() - VALUES, kind="distance", n_groups=2).tasks[0] == "task 0"
    both = sr.group([frame, files[1]], n_groups=2, weights=[1, 2])
    assert both.groups == EXPECTED


def test_names_of_tasks_in_a_csv_file_are_those_that_it_holds(tmp_path: Path) -> None:
    names = ("NA", "null", "01", "1.0", "nan", "?")
    pd.DataFrame(VALUES, index=list(names), columns=list(names)).to_csv(tmp_path / "mine.csv")
    assert sr.group(tmp_path / "mine.csv", n_groups=2).tasks == list(names)


def test_negative_distances_are_refused_and_negative_affinities_are_not() -> None:
    """Cosines may be negative; the square of a negative distance would be that of a large one."""
    distances = VALUES.max() - VALUES
    distances[4, 1] = -0.5
    for source in (distances, TaskMatrix(NAMES, distances, "distance")):
        with pytest.raises(InputError, match=r"negative distance, -0\.5 between .*: expected 0 or more"):
            sr.group(source, kind="distance", n_groups=2)
    assert sr.group(-distances, names=NAMES, n_groups=2).tasks == list(NAMES)
    np.fill_diagonal(distances := VALUES.max() - VALUES, -1.0)
    assert sr.group(distances, names=NAMES, kind="distance", n_groups=2).groups == EXPECTED, "it is not read"


def test_distances_do_not_pass_for_affinities(tmp_path: Path) -> None:
    """Taken for affinities they put the tasks that are farthest apart together."""
    distances = np.abs(np.subtract.outer(LABELS + 0.01 * np.arange(6), LABELS + 0.01 * np.arange(6)))
    missing = distances.copy()
    missing[0, 1] = missing[1, 0] = np.nan
    frame = pd.DataFrame(distances, index=list(NAMES), columns=list(NAMES))
    frame.to_csv(tmp_path / "distances.csv")
    for source in (distances, missing, torch.tensor(distances), frame, tmp_path / "distances.csv"):
        with pytest.raises(InputError, match=r"may be of distances: .*Give kind='distance'"):
            sr.group(source, n_groups=2)
        assert sr.group(source, kind="distance", n_groups=2).labels.tolist() == LABELS.tolist()
    assert sr.group(-distances, names=NAMES, n_groups=2).groups == EXPECTED, "as a file of a run may hold them"


def test_affinities_of_any_diagonal_are_taken() -> None:
    for diagonal in (1.0, 0.5, np.nan):
        np.fill_diagonal(values := VALUES.copy(), diagonal)
        assert sr.group(values, names=NAMES, n_groups=2).groups == EXPECTED
    np.fill_diagonal(gains := VALUES - 0.2, 0.0)
    assert sr.group(gains, names=NAMES, n_groups=2).groups == EXPECTED
    np.fill_diagonal(zeros := VALUES.copy(), 0.0)
    assert sr.group(TaskMatrix(NAMES, zeros, "affinity"), n_groups=2).groups == EXPECTED, "its kind was given"
    assert sr.group(zeros, names=NAMES, kind="affinity", n_groups=2).groups == EXPECTED


def test_names_of_others_than_the_tasks_of_a_frame_are_not_left_out_unsaid() -> None:
    frame = pd.DataFrame(VALUES, index=list(NAMES), columns=list(NAMES))
    assert sr.group([VALUES, frame], names=NAMES, n_groups=2).groups == EXPECTED
    for source in (frame, TaskMatrix(NAMES, VALUES, "affinity")):
        with pytest.raises(InputError, match="names its tasks itself, and has no 'u'"):
            sr.group(source, names=list("uvwxyz"), n_groups=2)


def test_directed_values_keep_their_direction() -> None:
    frame = pd.DataFrame(VALUES, index=list(NAMES), columns=list(NAMES))
    assert np.array_equal(as_matrix(frame[list("fedcba")]).values, VALUES)
    reordered = in_order_of(as_matrix(frame), tuple("fedcba"), "it")
    assert np.array_equal(reordered.values, VALUES[::-1, ::-1])


def test_what_is_no_affinity_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame(VALUES, index=list(NAMES), columns=list(NAMES))
    (tmp_path / "text.csv").write_text(",a,b\na,1,x\nb,1,1\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "nameless.csv").write_text("1,0.9,0.2\n0.9,1,0.3\n0.2,0.3,1\n")
    (tmp_path / "twice.csv").write_text(",a,a\na,1,0.5\na,0.5,1\n")
    (tmp_path / "semicolons.csv").write_text(";a;b\na;1;0,5\nb;0,5;1\n")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    (tmp_path / "mine.xlsx").write_bytes(b"")
    pd.DataFrame({"x": [1.0, 2.0, 3.0]}).to_parquet(tmp_path / "other.parquet")
    infinite = VALUES.copy()
    infinite[0, 1] = np.inf
    for source, message in (
        (VALUES[:3], r"shape \(3, 6\): expected a square"),
        (infinite, "infinite"),
        (tmp_path / "other.parquet", "other.parquet has 3 rows and 1 columns, and '0' is not among both"),
        (frame.drop(columns="b"), "6 rows and 5 columns, and 'b' is not among both"),
        (frame.rename(index={"a": "b"}, columns={"a": "b"}), "names the task 'b' twice"),
        (tmp_path / "text.csv", "no number"),
        (tmp_path / "empty.csv", "cannot be read"),
        (tmp_path / "nameless.csv", "begins with the number 1: expected the names of the tasks"),
        (tmp_path / "twice.csv", "names the task 'a' twice"),
        (tmp_path / "semicolons.csv", "has one column: expected .* separated by commas"),
        (tmp_path / "cut.parquet", "cannot be read"),
        (tmp_path / "mine.xlsx", "ends in .parquet or .csv"),
        (tmp_path / "none.csv", "No such file"),
    ):
        with pytest.raises(InputError, match=message):
            as_matrix(source)
    with pytest.raises(InputError, match="2 names are given for 6 tasks"):
        as_matrix(VALUES, names=["a", "b"])
    with pytest.raises(InputError, match="lacks 'g'"):
        in_order_of(as_matrix(frame), [*NAMES, "g"], "the file")
    with pytest.raises(InputError, match="has 'f', which is no task of the run"):
        in_order_of(as_matrix(frame), NAMES[:5], "the file")
