"""Data sets that Hugging Face's `datasets` loads by name: the same task set as from the folder that it saves."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from stg_ray.artifacts.digests import source_digests
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from tests.data.test_hugging_face import N, load, save, table

CHOICES: dict[str, dict[str, Any]] = {
    "images, named classes": {"image": "image", "classes": "label"},
    "vectors, lists of named labels, numbers, booleans": {"features": "emb", "labels": ["tags", "y_*"]},
    "classes as one task": {"features": "emb", "labels": ["label", "y_a"]},
}
PARTS = {"train": (0, 40), "validation": (40, 8), "test": (48, 12)}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library with a cache of its own, and without a network."""
    datasets = pytest.importorskip("datasets", reason="needs pip install 'stg_ray[hf]'")
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return datasets


def write(folder: Path, parts: dict[str, tuple[int, int]]) -> Path:
    folder.mkdir()
    for split, (start, length) in parts.items():
        pq.write_table(table().slice(start, length), folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("parts", [PARTS, {"train": (0, N)}], ids=["three splits", "one"])
def test_a_folder_of_files_is_as_the_saved_set(
    library: Any, tmp_path: Path, choice: str, parts: dict[str, tuple[int, int]]
) -> None:
    write(tmp_path / "mine", parts)
    for split, (start, length) in parts.items():
        save(tmp_path / "set" / split, table().slice(start, length))
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": list(parts)}))
    by_name, saved = load(tmp_path, name="mine", **CHOICES[choice]), load(tmp_path, **CHOICES[choice])
    assert by_name.digest == saved.digest
    assert by_name.names == saved.names


def test_what_the_library_saves_and_loads_is_the_same(library: Any, tmp_path: Path) -> None:
    dataset = library.Dataset(table())
    dataset.save_to_disk(tmp_path / "set")
    (tmp_path / "mine").mkdir()
    dataset.to_parquet(tmp_path / "mine" / "data.parquet")
    columns = CHOICES["vectors, lists of named labels, numbers, booleans"]
    assert load(tmp_path, name=str(tmp_path / "mine"), **columns).digest == load(tmp_path, **columns).digest


def test_csv_files_and_some_of_the_splits(library: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    rows = [f"{i},{i % 2},{i // 2 % 2},{'red' if i % 3 else 'blue'}" for i in range(N)]
    for split in ("train", "extra"):
        (tmp_path / "mine" / f"{split}.csv").write_text("\n".join(["x,y_a,y_b,y_c", *rows]))
    (tmp_path / "mine" / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files:\n  - {split: train, path: train.csv}\n"
        "  - {split: extra, path: extra.csv}\n- config_name: two\n  data_files: train.csv\n---\n"
    )
    names = {"train": "train", "test": "extra"}
    task_set = load(tmp_path, name="mine", config="one", splits=names, features=["x"], labels=["y_*"])
    assert len(task_set.rows("test")) == N
    assert [task.kind for task in task_set.tasks] == ["binary"] * 3
    assert np.array_equal(task_set.labels[:N, 0], np.arange(N) % 2)
    for config, message in ((None, "Config name is missing.*one.*two"), ("three", "'three' not found.*one.*two")):
        with pytest.raises(InputError, match=f"'.*mine' cannot be loaded: .*{message}") as raised:
            load(tmp_path, name="mine", config=config, features=["x"], labels=["y_*"])
        assert "\n" not in str(raised.value)


def test_a_name_that_is_in_the_cache(library: Any, tmp_path: Path) -> None:
    columns = CHOICES["images, named classes"]
    of_files = load(tmp_path, name=str(write(tmp_path / "mine", PARTS)), **columns)
    shutil.rmtree(tmp_path / "mine")
    (tmp_path / "cache" / "mine").rename(tmp_path / "cache" / "somebody___mine")
    assert load(tmp_path, name="somebody/mine", **columns).digest == of_files.digest


def test_code_that_comes_with_a_set_is_not_run(library: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="cannot be loaded: Dataset scripts are no longer supported"):
        load(tmp_path, name="mine", features=["x"], labels=["y_*"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("somebody/mine", "'somebody/mine' is not in the cache, and the Hub cannot be reached .*save_to_disk"),
        ("csv", "'csv' is no folder and no name on the Hub: expected owner/set"),
        ("hf://datasets/a/b", "is no folder and no name on the Hub: expected owner/set"),
        ("empty", "cannot be loaded: The directory at .*empty doesn't contain any data files"),
        ("saved", "was written by save_to_disk: give it as folder, not as name"),
        ("damaged", "cannot be loaded: "),
    ],
)
def test_what_is_refused(library: Any, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "train.parquet").write_bytes(b"PAR1 is not enough")
    save(tmp_path / "saved", table())
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path, name=name, features=["x"], labels=["y_*"])
    assert "\n" not in str(raised.value)


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package datasets: pip install 'stg_ray\[hf\]'"):
        load(tmp_path, name="somebody/mine", features=["x"], labels=["y_*"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "expected exactly one of folder .*, name"),
        ({"folder": "a", "name": "b/c"}, "expected exactly one of folder .*, name"),
        ({"folder": "a", "config": "c"}, "config belongs to a data set by name"),
        ({"folder": "a", "revision": "c"}, "revision belongs to a data set by name"),
        ({"name": "b/c", "splits": {"test": "a"}}, "splits name no train"),
        ({"name": "b/c", "splits": {"train": "a"}, "split": "s"}, "the splits are given twice"),
    ],
)
def test_settings_that_do_not_fit(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config({"data": {"hugging_face": {"features": ["x"], "labels": ["y"], **keys}}})


def test_a_folder_of_files_is_known_by_its_contents(tmp_path: Path) -> None:
    write(tmp_path / "mine", {"train": (0, N)})
    hugging_face = {"name": "mine", "features": ["emb"], "labels": ["y_*"]}
    config = load_config({"data": {"hugging_face": hugging_face, "root": str(tmp_path)}})
    assert list(source_digests(config)) == ["data.hugging_face.name: train-00000-of-00001.parquet"]
    assert config.data.set_name == "mine"
