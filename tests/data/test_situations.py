"""Situations that people report from their own data, each with the right outcome: labels as meant, or a question.

They come from issue trackers (scikit-learn, scikit-multilearn, datasets, OGB, CheXpert, CatBoost, fast-bert, mldr) and
from the formats' own habits; tests of a source beside this file have more about each.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
import scipy.sparse
import torch
from sklearn.preprocessing import MultiLabelBinarizer

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from tests.support.tables import written

N = 40
ROWS = np.arange(N)
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
A, B = ROWS % 2, ROWS // 2 % 2
Y = np.stack([A, B], axis=1)
GAPS = np.where(ROWS % 4 == 3, -1, A)  # 0, 1, 0, missing
WORDS = [["red", "round"], ["round"], ["red"], ["blue"]] * 10

Result = list[int] | str
"""The first four labels of the first task, or what the refusal says."""


def arrays(labels: Any, inputs: Any = X, **options: Any) -> Callable[[Path], TaskSet]:
    return lambda _: TaskSet.from_arrays(inputs, labels, **options)


def frame(**columns: Any) -> Callable[[Path], TaskSet]:
    return lambda _: TaskSet.from_frame(pd.DataFrame({"x": X[:, 0], **columns, "y_b": B}), labels="y_*")


def source(root: Path, **data: Any) -> TaskSet:
    return load_task_set(load_config({"data": {"root": str(root), **data}}).data, seed=0)


def csv(header: str, row: Callable[[int], object], start: str = "", **options: Any) -> Callable[[Path], TaskSet]:
    def read(folder: Path) -> TaskSet:
        (folder / "a.csv").write_text("\n".join([*([start] if start else []), header, *map(str, map(row, range(N)))]))
        return source(folder, csv={"files": "a.csv", "features": ["x*"], "labels": ["y*"], **options})

    return read


def parquet(column: Any, **options: Any) -> Callable[[Path], TaskSet]:
    def read(folder: Path) -> TaskSet:
        written(folder, {"x": X[:, 0], "y_a": column, "y_b": B}, "a.parquet")
        return source(folder, parquet={"files": "a.parquet", "features": ["x"], "labels": ["y_*"], **options})

    return read


def text(suffix: str, content: str, key: str, **options: Any) -> Callable[[Path], TaskSet]:
    def read(folder: Path) -> TaskSet:
        (folder / f"a.{suffix}").write_text(content)
        return source(folder, **{key: {"files": f"a.{suffix}", **options}})

    return read


def saved(inputs: Any, labels: Any) -> Callable[[Path], TaskSet]:
    def read(folder: Path) -> TaskSet:
        np.save(folder / "x.npy", inputs)
        np.save(folder / "y.npy", labels)
        return source(folder, npy={"inputs": "x.npy", "labels": "y.npy"})

    return read


def zipped(folder: Path) -> TaskSet:
    with zipfile.ZipFile(folder / "a.csv", "w") as archive:
        archive.writestr("inner.csv", "x,y\n1,0\n")
    return source(folder, csv={"files": "a.csv", "features": ["x"], "labels": ["y"]})


def feather(folder: Path) -> TaskSet:
    pyarrow.feather.write_feather(pa.table({"x": X[:, 0], "y": A}), str(folder / "a.feather"))
    return source(folder, parquet={"files": "a.feather", "features": ["x"], "labels": ["y"]})


def keras(folder: Path) -> TaskSet:
    np.savez(folder / "a.npz", x_train=X, y_train=Y)
    return source(folder, npz="a.npz")


def objects(folder: Path) -> TaskSet:
    np.savez(folder / "a.npz", inputs=X, labels=Y, names=np.array(["p", "q"], dtype=object))
    return source(folder, npz="a.npz")


def shuffled(folder: Path) -> TaskSet:
    return TaskSet.from_arrays(pd.DataFrame(X), pd.DataFrame(Y, index=ROWS[::-1]))


ARFF = "@relation m\n@attribute a numeric\n@attribute l1 {no,yes}\n@attribute l2 {FALSE,TRUE}\n@data\n"
YES, NO, TRUE = np.array(["no", "yes"]), [0, 1, 0, 1], [0, 1, 0, -1]
FIVE = ["Yes", "yes", "NO", "no"] * 10

SITUATIONS: dict[str, tuple[Callable[[Path], TaskSet], Result]] = {
    # containers
    "pandas Int64 with NA": (frame(y_a=pd.array([0, 1, 0, None] * 10, dtype="Int64")), TRUE),
    "pandas boolean with NA": (frame(y_a=pd.array([False, True, False, None] * 10, dtype="boolean")), TRUE),
    "booleans and NaN as objects": (frame(y_a=np.array([False, True, False, np.nan] * 10, object)), TRUE),
    "numbers beside the same as text": (
        frame(y_a=np.array([0, 1, "0", "1"] * 10, object)),
        "cannot be read: .*column 'y_a'",
    ),
    "pandas sparse columns": (frame(y_a=pd.arrays.SparseArray(A)), NO),
    "a category that does not occur": (frame(y_a=pd.Categorical(["a", "b"] * 20, categories=["a", "b", "c"])), NO),
    "dates as labels": (frame(y_a=pd.date_range("2020", periods=N)), "'y_a' holds dates"),
    "lists in a frame": (frame(y_a=WORDS), [0, 0, 0, 1]),
    "labels whose index has another order": (shuffled, "inputs and labels have the same rows at other.*reset_index"),
    "labels of later rows": (
        arrays(pd.DataFrame(np.concatenate([Y, Y])).iloc[1 : N + 1], pd.DataFrame(X)),
        r"\(1 is at 1 and at 0\).*one.index.intersection\(other.index\).*to_numpy",
    ),
    "labels of other rows altogether": (arrays(pd.DataFrame(Y, index=ROWS + N), pd.DataFrame(X)), NO),
    "a split of later rows": (
        lambda _: TaskSet.from_arrays(pd.DataFrame(X), Y, split=pd.Series(["train", "test"] * N).iloc[2 : N + 2]),
        "indices of inputs and split have the same rows at other places",
    ),
    "series whose indices differ": (
        arrays({"p": pd.Series(A, index=ROWS[::-1]), "q": pd.Series(B)}),
        "the indices of labels 'p' and labels 'q' have the same rows at other places",
    ),
    "columns that are numbers": (arrays(pd.DataFrame(Y)), NO),
    "SciPy's sparse inputs and labels": (arrays(scipy.sparse.csr_matrix(Y), scipy.sparse.csr_array(X)), NO),
    "sparse labels in columns": (arrays(scipy.sparse.csc_matrix(Y)), NO),
    "a binarizer's matrix": (arrays(MultiLabelBinarizer().fit_transform(WORDS)), [0, 0, 0, 1]),
    "lists of names": (arrays(WORDS), "labels are lists of unequal lengths.*MultiLabelBinarizer"),
    "sets of names": (arrays([{"a"}, {"b"}] * 20), "or sets: do they name the labels"),
    "columns as rows": (arrays([A, B]), r"are the labels columns\? Give labels.T"),
    "tensors with gradients": (arrays(torch.tensor(Y), torch.tensor(X, requires_grad=True)), NO),
    "tensors in bfloat16": (arrays(torch.tensor(Y), torch.tensor(X, dtype=torch.bfloat16)), NO),
    "sparse tensors": (arrays(torch.tensor(Y), torch.tensor(X).to_sparse()), NO),
    "halves": (arrays(Y.astype(np.float16), X.astype(np.float16)), NO),
    "the other byte order": (arrays(Y.astype(">i8"), X.astype(">f4")), NO),
    "complex numbers": (arrays(Y, X.astype(np.complex64)), "inputs have the type complex64"),
    "records": (arrays(Y, np.zeros(N, [("a", "f4"), ("b", "f4")])), "inputs have the type"),
    # marks and types
    "NaN where a molecule was not measured": (arrays(np.stack([np.where(GAPS < 0, np.nan, GAPS), B], axis=1)), TRUE),
    "-100 of a loss that ignores it": (arrays({"a": np.where(GAPS < 0, -100, A), "b": B}), "-100, 0 and 1: which are"),
    "-1 for uncertain beside blanks": (
        arrays({"a": np.array([1, 0, -1, np.nan] * 10), "b": np.array([1, 1, 0, -1] * 10)}),
        "-1, 0 and 1: which are missing",
    ),
    "-1 and 1 for attributes of faces": (arrays(2 * Y - 1), NO),
    "masks of 0 and 255": (arrays({"a": (A * 255).astype(np.uint8), "b": B}), NO),
    "one hot": (arrays(np.eye(4)[ROWS % 4]), [1, 0, 0, 0]),
    "numbers beyond 2**53": (parquet(pa.array([int(a) * 2**63 for a in A], pa.uint64())), NO),
    "decimals": (parquet(pa.array(A).cast(pa.decimal128(21, 2))), NO),
    "Y and N": (csv("x,y_a,y_b", lambda i: f"{i},{'NY'[A[i]]},{B[i]}"), NO),
    "T and F": (csv("x,y_a,y_b", lambda i: f"{i},{'FT'[A[i]]},{B[i]}"), NO),
    "plus and minus": (csv("x,y_a,y_b", lambda i: f"{i},{'-+'[A[i]]},{B[i]}"), NO),
    "TRUE and FALSE of a spreadsheet": (csv("x,y_a,y_b", lambda i: f"{i},{str(bool(A[i])).upper()},{B[i]}"), NO),
    "yes in several spellings": (parquet(FIVE), "the labels NO and no, which differ in upper and lower case"),
    "1 for yes and nothing for no": (
        csv("x,y_a,y_b", lambda i: f"{i},{A[i] or ''},{B[i]}"),
        "only the label 1 in the train rows, and none in others: if no label means no",
    ),
    "codes with leading zeros": (parquet(["007", "7", "07", "7"] * 10), [0, 2, 1, 2]),
    "structs": (parquet(pa.array([{"p": 1}] * N)), "'y_a' holds records"),
    # lists of labels
    "genres with bars": (parquet(["|".join(words) for words in WORDS]), r"list labels, with '\|' between them"),
    "genres with their separator": (parquet(["|".join(words) for words in WORDS], separator="|"), [0, 0, 0, 1]),
    "lists as pandas writes them to CSV": (csv("x;y_a;y_b", lambda i: f"{i};{WORDS[i]};{B[i]}"), [0, 0, 0, 1]),
    "lists as NumPy writes them": (parquet(["['a' 'b']", "['a']"] * 20), r"\['a' 'b'\].*which is no list"),
    "labels that are named twice in a row": (parquet([["a", "a"], ["c"]] * 20), [1, 0, 1, 0]),
    "vectors of booleans": (parquet([[bool(a), bool(b)] for a, b in Y]), NO),
    # files
    "a comment above the header": (csv("x,y_a,y_b", lambda i: f"{i},{A[i]},{B[i]}", "# by me"), "header '# by me'"),
    "a second header within": (
        csv("x,y_a,y_b", lambda i: "x,y_a,y_b" if i == 9 else f"{i},{A[i]},{B[i]}"),
        "'x' holds text",
    ),
    "a comma after each row": (csv("x,y_a,y_b,", lambda i: f"{i},{A[i]},{B[i]},"), NO),
    "a row that is too long": (
        csv("x,y_a,y_b", lambda i: f"{i},{A[i]},{B[i]}" + ",9" * int(i == 7)),
        "Expected 3 columns",
    ),
    "units beside numbers": (csv("x,y_a,y_b", lambda i: f"{i} kg,{A[i]},{B[i]}"), "'x' holds text .expected numbers"),
    "thousands": (csv("x,y_a,y_b", lambda i: f'"1,{100 + i}",{A[i]},{B[i]}'), "holds numbers such as 1,100"),
    "a CSV in a zip": (zipped, "holds a zip archive"),
    "Feather": (feather, "holds an Arrow .Feather. file"),
    "arrays named as in Keras": (keras, "holds x_train, y_train: expected inputs and labels"),
    "splits in capitals": (
        csv("x,y_a,y_b,part", lambda i: f"{i},{A[i]},{B[i]},{'Training' if i < 30 else 'TEST'}", split="part"),
        NO,
    ),
    "splits that are numbers": (
        csv("x,y_a,y_b,part", lambda i: f"{i},{A[i]},{B[i]},{i > 30:d}", split="part"),
        "entry '0'",
    ),
    "nominal attributes": (
        text(
            "arff", ARFF + "\n".join(f"{i},{YES[A[i]]},{str(bool(B[i])).upper()}" for i in ROWS), "arff", labels=["l*"]
        ),
        NO,
    ),
    "weights of instances": (text("arff", ARFF + "1,no,TRUE,{0.5}\n" * N, "arff", labels=["l*"]), "does not fit its 3"),
    "rows without a label in LIBSVM": (
        text("svm", "\n".join(f"{' '.join([f'{1 + A[i]}'] * int(i % 4 != 1))} 1:{i}" for i in ROWS), "libsvm"),
        [1, 0, 1, 0],
    ),
    "names as objects in .npz": (objects, "'names' holds Python objects: save it as text, names.astype"),
    "text in .npy": (saved(X, YES[Y]), NO),
    "labels that are turned": (saved(X, Y.T), "Give labels.T"),
    "one column of labels": (saved(X, A), r"has the shape \(40,\): expected \(N, K\)"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_becomes_of_it(situation: str, tmp_path: Path) -> None:
    load, expected = SITUATIONS[situation]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected) as raised:
            load(tmp_path)
        assert "\n" not in str(raised.value)
    else:
        assert load(tmp_path).labels[:4, 0].tolist() == expected


def test_forty_situations_and_more() -> None:
    assert len(SITUATIONS) >= 40


def test_row_numbers_among_the_features_are_warned_of(tmp_path: Path) -> None:
    written(tmp_path, {"sample_id": ROWS, "x": X[:, 0], "y_a": A, "y_b": B}, "a.parquet")
    with pytest.warns(UserWarning, match="the feature 'sample_id' is another number in every row.* with '!sample_id'"):
        source(tmp_path, parquet={"files": "a.parquet", "features": ["*"], "labels": ["y_*"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source(tmp_path, parquet={"files": "a.parquet", "features": ["*", "!sample_id"], "labels": ["y_*"]})


def test_labels_that_differ_in_case_only_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the labels 'Cat' and 'cat' differ in upper and lower case only"):
        parquet([["Cat"], ["cat", "dog"]] * 20)(tmp_path)
