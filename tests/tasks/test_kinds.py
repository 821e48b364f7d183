"""Kinds of columns of labels: each kind in any container, missing marks, and what is asked instead of guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stg_ray.config.data import DataConfig
from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import Task, TaskSet
from tests.support.label_columns import HALF, INPUTS, NAN, N, repeated, task_and_labels

UNDERSTOOD: dict[str, tuple[list[Any], str, tuple[Any, ...] | None, list[float | None]]] = {
    "0 and 1": (repeated(0, 1), "binary", None, repeated(0, 1)),
    "0.0 and 1.0": (repeated(0.0, 1.0), "binary", None, repeated(0, 1)),
    "booleans": (repeated(False, True), "binary", None, repeated(0, 1)),
    "booleans with None": (repeated(False, True, None), "binary", None, repeated(0, 1, None)),
    "NaN is missing": (repeated(0.0, 1.0, NAN), "binary", None, repeated(0, 1, None)),
    "-1 is missing among 0, 1": (repeated(0, 1, -1), "binary", None, repeated(0, 1, None)),
    "-1.0 is missing among 0.0, 1.0": (repeated(0.0, 1.0, -1.0), "binary", None, repeated(0, 1, None)),
    "-1 is missing among 0, 1, 2": (repeated(0, 1, 2, -1), "multiclass", None, repeated(0, 1, 2, None)),
    "1 and 2": (repeated(1, 2), "binary", (1, 2), repeated(0, 1)),
    "1 and 2, -1 missing": (repeated(1, 2, -1), "multiclass 2", (1, 2), repeated(0, 1, None)),
    "0 and 2": (repeated(0, 2), "binary", (0, 2), repeated(0, 1)),
    "0 and 255 of a mask": (repeated(0, 255), "binary", (0, 255), repeated(0, 1)),
    "1.0 to 3.0": (repeated(1.0, 2.0, 3.0), "multiclass", (1, 2, 3), repeated(0, 1, 2)),
    "0.0 to 3.0 with gaps": (repeated(0.0, 3.0, NAN, 1.0), "multiclass", (0, 1, 3), repeated(0, 2, None, 1)),
    "a scale from -2 to 2": (repeated(-2, -1, 0, 1, 2), "multiclass", (-2, -1, 0, 1, 2), repeated(0, 1, 2, 3, 4)),
    "yes and no": (repeated("yes", "no"), "binary", ("no", "yes"), repeated(1, 0)),
    "Active, Inactive": (repeated("Active", "Inactive"), "binary", ("Inactive", "Active"), repeated(1, 0)),
    "true and FALSE": (repeated("true", "FALSE"), "binary", None, repeated(1, 0)),
    "'0' and '1'": (repeated("0", "1"), "binary", None, repeated(0, 1)),
    "'0', '1' and nothing": (repeated("0", "1", "", None), "binary", None, repeated(0, 1, None, None)),
    "'1' to '3' and nan": (repeated("1", "2", "3", "nan"), "multiclass", (1, 2, 3), repeated(0, 1, 2, None)),
    "names": (
        repeated("cat", "dog", " cat", None, "bus"),
        "multiclass",
        ("bus", "cat", "dog"),
        repeated(1, 2, 1, None, 0),
    ),
    "codes with zeros are names": (repeated("01", "02", "10"), "multiclass", ("01", "02", "10"), repeated(0, 1, 2)),
    "fractions": (repeated(0.5, 1.0, 2.0), "regression", None, repeated(0.5, 1, 2)),
    "'0.5' and '2'": (repeated("0.5", "2"), "regression", None, repeated(0.5, 2)),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_column_is_understood(name: str) -> None:
    column, kind, classes, labels = UNDERSTOOD[name]
    task, found = task_and_labels(column)
    assert task.kind == ("binary" if "2" in kind else kind)
    assert task.classes == classes
    assert task.n_classes == (1 if kind == "regression" else max(2, len(classes or set(labels) - {None})))
    assert found == labels


def test_signs_are_two_classes_in_a_set_of_signs() -> None:
    for column in (repeated(-1, 1), repeated(-1.0, 1.0), repeated(1.0, -1.0, NAN), repeated("-1", "+1")):
        task_set = TaskSet.from_arrays(INPUTS, {"one": column, "two": column})
        assert [(task.kind, task.classes) for task in task_set.tasks] == [("binary", (-1, 1))] * 2
    matrix = TaskSet.from_arrays(INPUTS, np.stack([repeated(-1, 1), repeated(1, -1)], axis=1))
    assert [task.classes for task in matrix.tasks] == [(-1, 1)] * 2
    assert matrix.labels[:2].tolist() == [[0, 1], [1, 0]]


ASKED: dict[str, tuple[Any, list[dict[str, Any]], str]] = {
    "-1, 0 and 1, and no column that tells": (
        np.stack([repeated(-1, 0, 1), repeated(1, 0, -1)], axis=1),
        [{"missing": [-1]}, {"missing": [0]}, {"missing": []}],
        r"'task_0' has the labels -1, 0 and 1: which are missing\? Set data.tasks: .* to \[-1\] if -1 is missing, "
        r"\[0\] if 0 is missing or \[\] if they are classes",
    ),
    "0 is unmeasured beside signs": (
        {"one": repeated(-1, 1), "two": repeated(1, 0, -1)},
        [{"missing": {"two": [0]}}, {"missing": {"two": [-1], "one": []}}],
        r"'two' has the labels -1, 0 and 1",
    ),
    "signs beside 0 and 1": ({"one": HALF, "two": repeated(-1, 1)}, [{"missing": {"two": []}}], r"where other tasks"),
    "-999": ({"a": HALF, "b": repeated(0.0, 1.0, -999.0)}, [{"missing": [-999]}], r"\[-999\] if that is missing"),
    "-100": ({"a": HALF, "b": repeated(0, 1, 2, -100)}, [{"missing": [-100]}], r"\[-100\] if that is missing"),
    "255": ({"a": HALF, "b": repeated(0, 1, 255)}, [{"missing": [255]}, {"missing": []}], r"\[255\] if 255 is missing"),
    "two marks": ({"a": HALF, "b": repeated(0, 1, -1, -9)}, [{"missing": [-1, -9]}], r"\[-9, -1\] if that is missing"),
    "a far number": (
        {"a": HALF, "b": np.where(np.arange(N) % 7 == 0, -999.0, INPUTS[:, 0])},
        [{"missing": [-999]}, {"missing": []}],
        "has the number -999 in 9 rows, and others from",
    ),
    "-1 beside ages": (
        {"a": HALF, "b": np.where(np.arange(N) % 7 == 0, -1.0, np.arange(N) + 17.5)},
        [{"missing": {"b": [-1]}}],
        "has the number -1 in 9 rows",
    ),
    "text that may be missing": (
        {"a": HALF, "b": repeated("cat", "dog", "NA")},
        [{"missing": ["NA"]}, {"missing": {"b": []}}],
        "has the label 'NA' beside cat and dog",
    ),
    "many classes, or ages": (
        {"a": np.arange(150) % 2, "b": np.arange(150) % 30},
        [{"kinds": {"b": "multiclass"}}, {"kinds": {"b": "regression"}}],
        r"30 distinct whole numbers from 0 to 29: are they classes or a quantity\? Set data.tasks",
    ),
    "ages as integers": (
        {"a": np.arange(400) % 2, "b": 17 + np.arange(400) % 70},
        [{"kinds": {"b": "regression"}}],
        "70 distinct whole numbers from 17 to 86",
    ),
    "scores of a small school beside those of large ones": (
        {"large": np.arange(150.0) % 70, "small": np.arange(150.0) % 12},
        [{"kinds": {"small": "regression"}}, {"kinds": {"small": "multiclass"}}],
        "'small' has 12 distinct whole numbers, where columns beside it have many more: are they classes",
    ),
    "free text": (
        {"a": HALF, "b": [f"patient {i}" for i in range(N)]},
        [{"kinds": {"b": "multiclass"}}],
        "60 distinct texts in 60 rows, such as 'patient 0'",
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_may_mean_two_things_is_asked_and_each_answer_is_taken(name: str) -> None:
    labels, answers, message = ASKED[name]
    n_rows = len(labels) if isinstance(labels, np.ndarray) else len(next(iter(labels.values())))
    inputs = np.zeros((n_rows, 1))
    with pytest.raises(InputError, match=message):
        TaskSet.from_arrays(inputs, labels)
    if "kinds" in answers[0]:  # what is missing is another question
        with pytest.raises(InputError, match=message):
            TaskSet.from_arrays(inputs, labels, missing=[-1])
    for answer in answers:
        TaskSet.from_arrays(inputs, labels, **answer)


def test_answers_decide() -> None:
    signs = {"a": repeated(1, 0, -1), "b": repeated(-1, 1)}
    task_set = TaskSet.from_arrays(INPUTS, signs, missing={"a": [0]})
    assert [task.classes for task in task_set.tasks] == [(-1, 1)] * 2
    assert task_set.labels[:3].tolist() == [[1, 0], [-1, 1], [0, 0]]
    ternary = TaskSet.from_arrays(INPUTS, signs, missing=[])
    assert [(task.kind, task.n_classes) for task in ternary.tasks] == [("multiclass", 3), ("binary", 2)]
    with pytest.raises(InputError, match="'b' has the labels -1 and 1, where other"):
        TaskSet.from_arrays(INPUTS, signs, missing={"a": [-1]})
    task, labels = task_and_labels(repeated(0, 1, 255), missing={"i*": [255]})
    assert (task.kind, labels) == ("binary", repeated(0, 1, None))
    task, labels = task_and_labels(repeated(1.5, -999.0, 2.5), missing=[-999])
    assert (task.kind, labels) == ("regression", repeated(1.5, None, 2.5))
    task, labels = task_and_labels(repeated("1", "2", "?"), missing=["?"])
    assert (task.classes, labels) == ((1, 2), repeated(0, 1, None))
    with pytest.raises(InputError, match="missing: unknown task 'z'"):
        task_and_labels(HALF, missing={"z": [1]})


def test_whole_numbers_that_occur_seldom_or_have_gaps_are_a_quantity() -> None:
    for column in (np.arange(N) * 3 + 20, np.arange(N) * 3.0 + 20, np.arange(N) % 30 * 2.0 + 18):
        assert task_and_labels(column)[0].kind == "regression"


def test_a_real_column_leaves_the_others_what_they_are() -> None:
    columns = {"class": repeated(1, 2, 5, None), "real": INPUTS[:, 0], "sign": repeated("no", "yes", "")}
    task_set = TaskSet.from_arrays(INPUTS, columns)
    assert [(t.kind, t.classes) for t in task_set.tasks] == [
        ("multiclass", (1, 2, 5)),
        ("regression", None),
        ("binary", ("no", "yes")),
    ]
    assert task_set.labels.dtype == np.float32
    assert np.array_equal(task_set.labels[:4, 0], [0, 1, 2, NAN], equal_nan=True)
    gaps = np.where(np.arange(N)[:, None] == 5, NAN, INPUTS)
    assert np.array_equal(np.isnan(TaskSet.from_arrays(INPUTS, gaps).labels), np.isnan(gaps)), "regressions only"
    matrix = TaskSet.from_arrays(INPUTS, np.stack([np.arange(N) % 3 + 1.0, INPUTS[:, 0]], axis=1))
    assert [(t.kind, t.classes) for t in matrix.tasks] == [("multiclass", (1, 2, 3)), ("regression", None)]


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        ([None] * N, {}, "'it' has no label at all: remove it .of data .*data.constant_tasks=drop"),
        ([NAN] * N, {}, "'it' has no label at all"),
        ([""] * N, {}, "'it' has no label at all"),
        (np.full(N, -1), {}, "'it' has no label at all"),
        (repeated("cat", "dog", "bus"), {"kinds": {"it": "binary"}}, "is binary and has the labels bus, cat and dog"),
        (repeated("cat", "dog"), {"kinds": {"it": "regression"}}, "is a regression and has the label 'cat'"),
        (repeated(0.5, 1.0), {"kinds": {"it": "multiclass"}}, "is multiclass and has the label 0.5: expected whole"),
        (repeated(0.5, float("inf")), {}, "'it' has infinite labels"),
        (repeated(0.5, 1e300), {}, "'it' has labels beyond 3.4e"),
        (
            pa.array(repeated([1], [2])),
            {},
            "'it' holds lists of whole numbers: expected lists of names, one column for",
        ),
        (repeated(1, "a"), {}, "the labels of task 'it' cannot be read"),
        (repeated(1 + 2j, 1), {}, "'it' cannot be read|'it' holds"),
        (HALF[:-1], {}, "different lengths: 59, 60"),
    ],
)
def test_what_holds_no_labels_is_refused_by_name(column: Any, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        task_and_labels(column, **options)


def npz(labels: np.ndarray, path: Any) -> str:
    np.savez(path, inputs=np.random.default_rng(0).normal(size=(len(labels), 3)), labels=labels, names=["y_a", "y_b"])
    return str(path)


def test_settings_say_what_columns_mean_for_every_source(tmp_path: Any) -> None:
    labels = np.stack([repeated(1, 0, -1), repeated(-1, 1, 0)], axis=1)
    file = npz(labels, tmp_path / "mine.npz")
    with pytest.raises(InputError, match="which are missing"):
        load_task_set(DataConfig(npz=file), seed=0)
    config = load_config({"data": {"npz": file, "tasks": {"y_*": {"missing": [0]}}}})
    assert [task.classes for task in load_task_set(config.data, 0).tasks] == [(-1, 1)] * 2
    config = load_config({"data": {"npz": file}}, ["data.tasks.y_a.missing=[]", "data.tasks.y_b.kind=regression"])
    assert [task.kind for task in load_task_set(config.data, 0).tasks] == ["multiclass", "regression"]
    with pytest.raises(InputError, match=r"data.tasks: unknown task 'z_a': did you mean 'y_a'"):
        load_task_set(load_config({"data": {"npz": file, "tasks": {"z_a": {"missing": []}}}}).data, seed=0)
    with pytest.raises(InputError, match=r"unknown key data.tasks.y_a.kinds: did you mean .*kind"):
        load_config({"data": {"npz": file, "tasks": {"y_a": {"kinds": "binary"}}}})
    with pytest.raises(InputError, match="belong to each of the joined sets"):
        load_config({"data": {"join": [{"npz": file}], "tasks": {"y_a": {"missing": []}}}})
    assert TaskSet.from_arrays(np.zeros((N, 1)), {"z": HALF}).names == ("z",), "settings end with their source"


def test_columns_of_parquet_files_keep_their_own_types(tmp_path: Any) -> None:
    table = pa.table(
        {
            "x": INPUTS[:, 0],
            "y_gaps": pa.array(repeated(0, 1, None)),
            "y_sign": pa.array(repeated(-1, 1, None), pa.int8()),
            "y_class": pa.array(repeated(1.0, 2.0, NAN)),
            "y_real": INPUTS[:, 1],
            "y_text": pa.array(repeated("yes", "no", None)).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "mine.parquet")
    parquet = {"files": str(tmp_path / "mine.parquet"), "features": ["x"], "labels": ["y_*"]}
    task_set = load_task_set(load_config({"data": {"parquet": parquet}}).data, seed=0)
    assert [(task.name, task.kind, task.classes) for task in task_set.tasks] == [
        ("gaps", "binary", None),
        ("sign", "binary", (-1, 1)),
        ("class", "binary", (1, 2)),
        ("real", "regression", None),
        ("text", "binary", ("no", "yes")),
    ]
    assert np.array_equal(task_set.labels[:3, [0, 1, 2, 4]], [[0, 0, 0, 1], [1, 1, 1, 0], [NAN] * 4], equal_nan=True)


def test_categories_are_classes_however_many() -> None:
    inputs = np.zeros((300, 1))
    labels = pd.DataFrame({"half": np.arange(300) % 2, "many": pd.Categorical(np.arange(300) % 30)})
    assert TaskSet.from_arrays(inputs, labels).tasks[1].n_classes == 30
    with pytest.raises(InputError, match="30 distinct whole numbers from 0 to 29"):
        TaskSet.from_arrays(inputs, labels.astype("Int64"))


def test_minus_one_beside_a_quantity_is_asked_about() -> None:
    column = np.where(np.arange(N) == 3, -1, np.arange(N) * 3 + 20)
    with pytest.raises(InputError, match="has the number -1 beside whole numbers from 20 to 197"):
        task_and_labels(column)
    assert task_and_labels(column, missing=[-1])[1][3] is None
    assert task_and_labels(column, kinds={"it": "regression"})[0].kind == "regression"


def test_tasks_of_earlier_versions_are_read() -> None:
    old = {
        "name": "a",
        "kind": "binary",
        "n_classes": 2,
        "group": None,
        "center": 0.0,
        "scale": 1.0,
        "class_weights": None,
    }
    assert Task.from_dict(old).to_dict() == old, "and written as they were"
    task = Task("b", "multiclass", 3, classes=(1, 2, 5), is_scored=False)
    assert Task.from_dict(task.to_dict()) == task
    assert task.original(np.array([2, 0])).tolist() == [5, 1]
