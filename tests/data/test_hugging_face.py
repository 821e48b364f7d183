"""Data sets in the folders that Hugging Face's `datasets` writes: Arrow streams beside a state.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from tests.support.tables import png

N = 60
ROWS = np.arange(N)
PIXELS = np.random.default_rng(0).integers(0, 255, (N, 4, 5, 3), dtype=np.uint8)
FEATURES = {
    "image": {"_type": "Image"},
    "emb": {"feature": {"dtype": "float32", "_type": "Value"}, "length": 3, "_type": "List"},
    "label": {"names": ["cat", "dog", "car"], "_type": "ClassLabel"},
    "tags": {"feature": {"names": ["red", "green", "blue"], "_type": "ClassLabel"}, "_type": "List"},
    "y_a": {"dtype": "int64", "_type": "Value"},
    "y_b": {"dtype": "bool", "_type": "Value"},
}
"""The features as datasets 5.2 writes them."""


def table() -> pa.Table:
    columns = {
        "image": [{"bytes": png(image), "path": None} for image in PIXELS],
        "emb": pa.FixedSizeListArray.from_arrays(np.arange(3 * N, dtype=np.float32), 3),
        "label": ROWS % 3,
        "tags": [[t for t in range(3) if row >> t & 1] for row in range(N)],
        "y_a": ROWS % 2,
        "y_b": ROWS // 2 % 2 == 1,
    }
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return pa.table(columns).replace_schema_metadata(metadata)


def save(folder: Path, rows: pa.Table, n_files: int = 1) -> None:
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{n_files:05d}.arrow" for number in range(n_files)]
    size = -(-len(rows) // n_files)
    for number, name in enumerate(names):
        with pa.ipc.new_stream(str(folder / name), rows.schema) as writer:
            writer.write_table(rows.slice(number * size, size), max_chunksize=16)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "abc", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def load(root: Path, **columns: Any) -> TaskSet:
    place = {} if "name" in columns else {"folder": "set"}
    data = {"hugging_face": {**place, **columns}, "root": str(root)}
    return load_task_set(load_config({"data": data}).data, seed=0)


def test_images_and_named_classes(tmp_path: Path) -> None:
    save(tmp_path / "set", table(), n_files=3)
    task_set = load(tmp_path, image="image", classes="label")
    assert task_set.names == ("cat", "dog", "car")
    assert np.array_equal(task_set.inputs, PIXELS.transpose(0, 3, 1, 2))
    assert np.array_equal(task_set.labels, np.eye(3)[ROWS % 3])


def test_vectors_and_lists_of_named_labels(tmp_path: Path) -> None:
    save(tmp_path / "set", table())
    task_set = load(tmp_path, features="emb", labels=["tags", "y_*"])
    assert task_set.names == ("red", "green", "blue", "y_a", "y_b")
    assert np.array_equal(task_set.inputs, np.arange(3 * N).reshape(N, 3))
    assert np.array_equal(task_set.labels[:, :3], ROWS[:, None] >> np.arange(3) & 1)
    assert np.array_equal(task_set.labels[:, 3:], np.stack([ROWS % 2, ROWS // 2 % 2], axis=1))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_in_a_list_without_a_name_is_refused(tmp_path: Path, label: int) -> None:
    rows = table()
    tags = pa.array([[label] if row == 7 else [row % 3] for row in range(N)])
    save(tmp_path / "set", rows.set_column(rows.schema.get_field_index("tags"), "tags", tags))
    with pytest.raises(InputError, match=f"a list holds the label {label}: expected 0 to 2, as there are names for"):
        load(tmp_path, features="emb", labels=["tags", "y_*"])


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "dev"])
def test_splits_are_its_folders(tmp_path: Path, validation: str) -> None:
    splits = {"train": (0, 40), validation: (40, 8), "test": (48, 12)}
    for name, (start, length) in splits.items():
        save(tmp_path / "set" / name, table().slice(start, length))
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    task_set = load(tmp_path, features=["emb"], labels=["y_*"])
    assert [len(task_set.rows(split)) for split in ("train", "val", "test")] == [40, 8, 12]


@pytest.mark.parametrize(
    ("splits", "names", "sizes"),
    [
        (["train", "unsupervised"], {"train": "train"}, [42, 6, 12]),
        (["train", "validation"], {"train": "train", "test": "validation"}, [27, 3, 30]),
        (["a", "b", "unsupervised"], {"train": "b", "val": "unsupervised", "test": "a"}, [20, 20, 20]),
    ],
)
def test_splits_may_be_named(tmp_path: Path, splits: list[str], names: dict[str, str], sizes: list[int]) -> None:
    size = N if names == {"train": "train"} else N // len(splits)
    for number, split in enumerate(splits):
        save(tmp_path / "set" / split, table().slice(0 if size == N else number * size, size))
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    task_set = load(tmp_path, features=["emb"], labels=["y_*"], splits=names)
    assert [len(task_set.rows(split)) for split in ("train", "val", "test")] == sizes


@pytest.mark.parametrize(
    ("splits", "names", "message"),
    [
        (["train", "validation"], {}, "has no split for tests: say which to use: .*has train, validation"),
        (["train", "test", "val", "dev"], {}, "has the split 'dev' beside 'val'"),
        (["train", "test"], {"train": "train", "test": "tests"}, "no split 'tests': .* has the splits train, test"),
        ([], {"train": "train"}, "no split 'train': .* has one part and no splits"),
    ],
)
def test_splits_that_do_not_fit(tmp_path: Path, splits: list[str], names: dict[str, str], message: str) -> None:
    for split in splits or ["."]:
        (tmp_path / "set").mkdir(exist_ok=True) if splits else None
        save(tmp_path / "set" / split, table())
    if splits:
        (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(InputError, match=message):
        load(tmp_path, features=["emb"], labels=["y_*"], splits=names)


def test_splits_may_be_made_anew(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation")):
        save(tmp_path / "set" / split, table().slice(number * 30, 30))
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    data = {"hugging_face": {"folder": "set", "features": ["emb"], "labels": ["y_*"]}, "split": "stratified"}
    task_set = load_task_set(load_config({"data": {**data, "root": str(tmp_path)}}).data, seed=0)
    assert [len(task_set.rows(split)) for split in ("train", "val", "test")] == [42, 6, 12]


def test_what_is_refused(tmp_path: Path) -> None:
    columns = {"features": ["emb"], "labels": ["y_*"]}
    save(tmp_path / "set" / "train", table())
    save(tmp_path / "set" / "unsupervised", table().slice(0, 5))
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "unsupervised"]}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "hub" / "data").mkdir(parents=True)
    (tmp_path / "hub" / "data" / "train-00000-of-00001.parquet").touch()
    save(tmp_path / "cut", table())
    file = tmp_path / "cut" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:3000])
    save(tmp_path / "indices", table())
    state = json.loads((tmp_path / "indices" / "state.json").read_text()) | {"_indices_data_files": [{"filename": "i"}]}
    (tmp_path / "indices" / "state.json").write_text(json.dumps(state))
    for folder, message in (
        ("none", "no folder 'none' here nor in the data root"),
        ("set", "has the split 'unsupervised': expected train, training, val.*splits={train: NAME, test: NAME}"),
        ("empty", "is no data set that datasets.save_to_disk wrote"),
        ("hub", "but has Parquet files: use data.parquet with files: "),
        ("cut", "data-00000-of-00001.arrow is no whole Arrow file"),
        ("indices", r"call flatten_indices\(\) before save_to_disk"),
    ):
        with pytest.raises(InputError, match=message):
            load(tmp_path, folder=folder, **columns)
