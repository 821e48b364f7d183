"""LIBSVM's multi-label format, with and without the sizes in the first line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

N = 60
X = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
X[np.abs(X) < 0.5] = 0
X[:, 0] = 1
Y = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2, np.arange(N) % 3 == 0], axis=1).astype(int)


def load(folder: Path, files: Any = "mine.svm") -> TaskSet:
    data = {"libsvm": {"files": files}, "root": str(folder)}
    return load_task_set(load_config({"data": data}).data, seed=0)


@pytest.mark.parametrize("sizes", [False, True])
def test_one_binary_task_per_label(tmp_path: Path, sizes: bool) -> None:
    dump_svmlight_file(X, Y, str(tmp_path / "mine.svm"), multilabel=True, zero_based=sizes)
    if sizes:
        text = (tmp_path / "mine.svm").read_text()
        (tmp_path / "mine.svm").write_text(f"{N} 7 3\n{text}")
    task_set = load(tmp_path)
    assert task_set.names == ("label_0", "label_1", "label_2")
    assert np.array_equal(task_set.labels, Y)
    assert np.allclose(task_set.inputs[:, :5], X, atol=1e-6)
    assert task_set.inputs.shape[1] == (7 if sizes else 5)


def test_files_by_split_have_the_same_features(tmp_path: Path) -> None:
    narrow = X.copy()
    narrow[40:, 4] = 0
    dump_svmlight_file(narrow[:40], Y[:40], str(tmp_path / "train"), multilabel=True, zero_based=False)
    dump_svmlight_file(narrow[40:, :4], Y[40:], str(tmp_path / "test"), multilabel=True, zero_based=False)
    task_set = load(tmp_path, {"train": "train", "test": "test"})
    assert np.allclose(task_set.inputs, narrow, atol=1e-6)
    assert task_set.rows("test").tolist() == list(range(40, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9 5 3\n1,2 1:0.5\n2 0:1\n", "has 2 rows with labels or features, and its first line says 9"),
        ("+1 1:0.5\n-1 1:1\n" * 20, "one label of -1, 1: this is a single binary task, and grouping needs several"),
        ("1,0.25 1:0.5\n" * 20, "the target 0.25 is no label: expected whole numbers"),
        (" 1:0.5\n" * 20, "no row has a label"),
        ("1,2 1:0.5 3:high\n" * 20, "mine.svm cannot be read in LIBSVM's format"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.svm").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)
