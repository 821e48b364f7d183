"""Sources of task sets, and messages where one cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stg_ray.artifacts.digests import source_digests
from stg_ray.config.data import DataConfig, data_root
from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError

INPUTS = np.random.default_rng(0).normal(size=(60, 4))
LABELS = np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], axis=1)


def test_digits_are_the_fifteen_tasks() -> None:
    task_set = load_task_set(DataConfig(preset="digits"), seed=0)
    assert task_set.inputs.shape == (1797, 1, 8, 8)
    assert task_set.inputs.dtype == np.uint8
    assert len(task_set.tasks) == 15
    names = list(task_set.names)
    loop, no_loop = (task_set.labels[:, names.index(name)] for name in ("closed loop", "no closed loop"))
    assert np.array_equal(loop, 1 - no_loop)
    assert (task_set.labels[:, :10].sum(axis=1) == 1).all()


def test_npz_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "mine.npz", inputs=INPUTS, labels=LABELS, names=["ä & <b>", "second"])
    monkeypatch.setenv("STG_RAY_DATA", str(tmp_path))
    assert data_root(DataConfig(npz="mine.npz")) == tmp_path
    assert load_task_set(DataConfig(npz="mine.npz"), seed=0).names == ("ä & <b>", "second")


def test_npz_files_that_are_not_as_they_must_be(tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", x=INPUTS, labels=LABELS)
    whole = (tmp_path / "wrong.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no arrays here")
    for name, message in {
        "none.npz": "no file '.*none.npz': check the path",
        "wrong.npz": "holds labels, x: expected inputs and labels",
        "cut.npz": "damaged|cannot be read",
        "text.npz": "cannot be read|damaged",
    }.items():
        with pytest.raises(InputError, match=message):
            load_task_set(DataConfig(npz=str(tmp_path / name)), seed=0)


def test_a_function_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tasks.py").write_text(
        "import numpy as np\n"
        "import stg_ray as sr\n"
        "def load(n):\n"
        "    labels = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1)\n"
        "    return sr.TaskSet.from_arrays(np.random.default_rng(0).normal(size=(n, 3)), labels)\n"
        "def broken():\n"
        "    return {}['no such key']\n"
        "def other():\n"
        "    return 7\n"
    )
    monkeypatch.chdir(tmp_path)
    assert len(load_task_set(DataConfig(function="my_tasks:load", arguments={"n": 50}), seed=0).inputs) == 50
    with pytest.raises(
        InputError, match=r"raised KeyError: 'no such key' \(.*my_tasks.py, line 7, in broken\)"
    ) as raised:
        load_task_set(DataConfig(function="my_tasks:broken"), seed=0)
    assert "sources.py" not in str(raised.value), "the user's own frames only"
    with pytest.raises(InputError, match="returned int"):
        load_task_set(DataConfig(function="my_tasks:other"), seed=0)
    with pytest.raises(InputError, match="no module named 'nowhere'"):
        load_task_set(DataConfig(function="nowhere:load"), seed=0)
    with pytest.raises(InputError, match="has no 'lod'"):
        load_task_set(DataConfig(function="my_tasks:lod"), seed=0)


def test_files_of_a_source_are_known_by_their_contents(tmp_path: Path) -> None:
    for name in ("x.npy", "y.npy", "a.csv", "b.csv", "set.arff", "set.xml", "mine.svm"):
        (tmp_path / name).write_text(name)
    (tmp_path / "hf" / "train").mkdir(parents=True)
    (tmp_path / "hf" / "train" / "state.json").write_text("{}")
    columns = {"features": ["x"], "labels": ["y"]}
    for data, keys in (
        ({"npy": {"inputs": "x.npy", "labels": "y.npy"}}, ["npy.inputs", "npy.labels"]),
        ({"csv": {"files": "*.csv", **columns}}, ["csv.files: a.csv", "csv.files: b.csv"]),
        (
            {"csv": {"files": {"train": "a.csv", "test": ["b.csv"]}, **columns}},
            ["csv.files: a.csv", "csv.files: b.csv"],
        ),
        ({"arff": {"files": "set.arff", "xml": "set.xml"}}, ["arff.files: set.arff", "arff.xml"]),
        ({"libsvm": {"files": "mine.svm"}}, ["libsvm.files: mine.svm"]),
        ({"hugging_face": {"folder": "hf", **columns}}, ["hugging_face.folder: train/state.json"]),
        ({"libsvm": {"files": "absent.svm"}}, []),
    ):
        config = load_config({"data": {**data, "root": str(tmp_path)}})
        digests = source_digests(config)
        assert [key.replace(f"{tmp_path}/", "") for key in sorted(digests)] == [f"data.{key}" for key in keys]


def test_sets_of_every_source_have_a_name() -> None:
    columns = {"features": ["x"], "labels": ["y"]}
    for data, name in (
        ({"csv": {"files": "a/houses-*.csv", **columns}}, "houses"),
        ({"parquet": {"files": {"train": "mine-train.parquet"}, **columns}}, "mine-train"),
        ({"arff": {"files": ["yeast.arff"]}}, "yeast"),
        ({"libsvm": {"files": "a/eurlex.svm"}}, "eurlex"),
        ({"hugging_face": {"folder": "saved/emotions", **columns}}, "emotions"),
        ({"npy": {"inputs": "a/x.npy", "labels": "a/y.npy"}}, "x"),
    ):
        assert load_config({"data": data}).data.set_name == name
