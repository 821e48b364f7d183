"""Encoded images: folders of classes, one size for all, large arrays, and what is said of damaged files."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data import images as images_module
from stg_ray.data import load_task_set
from stg_ray.data.image_folder import SPLIT_NAMES
from stg_ray.data.images import decode, decode_all, large_array
from stg_ray.errors import InputError
from stg_ray.tasks import SPLITS, TaskSet

RNG = np.random.default_rng(0)
CLASSES = ("<b>cat</b>", "chien café", "鳥")


def load(root: Path, **data: Any) -> TaskSet:
    return load_task_set(load_config({"data": {"root": str(root), **data}}).data, seed=0)


def write_images(folder: Path, n: int, shape: tuple[int, ...] = (6, 8, 3)) -> dict[str, np.ndarray]:
    """`n` PNG images of each class, by path."""
    written = {}
    for name in CLASSES:
        # A slash ends a folder's name: the markup's is written as the sign that looks like it.
        own = folder / name.replace("/", "\N{FRACTION SLASH}")
        own.mkdir(parents=True)
        for i in range(n):
            pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(own / f"{i:03}.png")
            written[str(own / f"{i:03}.png")] = pixels
    return written


def test_a_folder_of_classes(tmp_path: Path) -> None:
    written = write_images(tmp_path / "mine", 10)
    task_set = load(tmp_path, images={"folder": "mine"})
    assert len(task_set.names) == 3
    assert task_set.inputs.shape == (30, 3, 6, 8)
    in_order = np.stack([written[path] for path in sorted(written)])
    assert np.array_equal(task_set.inputs, in_order.transpose(0, 3, 1, 2))
    assert np.array_equal(task_set.labels, np.eye(3)[np.repeat([0, 1, 2], 10)])
    assert set(task_set.split) == {0, 1, 2}


def test_folders_of_splits(tmp_path: Path) -> None:
    for split, n in (("train", 20), ("valid", 4), ("test", 6)):
        write_images(tmp_path / split, n, (5, 5))
    task_set = load(tmp_path, images={"folder": str(tmp_path)})
    assert task_set.inputs.shape == (90, 1, 5, 5)
    assert [len(task_set.rows(split)) for split in ("train", "val", "test")] == [60, 12, 18]


def test_images_of_different_sizes_and_modes_need_a_size(tmp_path: Path) -> None:
    write_images(tmp_path / "mine", 10)
    grey = next((tmp_path / "mine").rglob("004.png"))
    Image.fromarray(RNG.integers(0, 256, (9, 7), dtype=np.uint8)).save(grey)
    with pytest.raises(InputError, match=r"004.png has the shape \(3, 9, 7\).*\(3, 6, 8\).*set data.image_size"):
        load(tmp_path, images={"folder": "mine"})
    task_set = load(tmp_path, images={"folder": "mine"}, image_size=4)
    assert task_set.inputs.shape == (30, 3, 4, 4)


def test_the_centre_is_kept() -> None:
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255
    encoded = io.BytesIO()
    Image.fromarray(stripes).save(encoded, "PNG")
    assert (decode(encoded.getvalue(), size=4) > 200).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "train" / "cat" / "1.png").write_bytes(b"\x89PNG cut"), r"cat/1.png cannot be decoded"),
        (lambda f: (f / "test" / "cat").rename(f / "test" / "cow"), "train and test have different classes.*'cat'"),
        (lambda f: [p.unlink() for p in (f / "train" / "cat").iterdir()], "no folder of classes.*cat"),
    ],
)
def test_folders_that_are_not_as_they_must_be(tmp_path: Path, change: Any, message: str) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(15):
                Image.fromarray(RNG.integers(0, 256, (4, 4), dtype=np.uint8)).save(tmp_path / split / name / f"{i}.png")
    change(tmp_path)
    with pytest.raises(InputError, match=message):
        load(tmp_path, images={"folder": str(tmp_path)})


def test_no_folder_and_a_size_without_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder 'nowhere' here nor in the data root"):
        load(tmp_path, images={"folder": "nowhere"})
    with pytest.raises(InputError, match="image_size is for encoded images, and there are none in this preset"):
        load(tmp_path, preset="digits", image_size=8)


def test_a_large_array_is_a_mapped_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images_module, "MAPPED_BYTES", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    paths = []
    for i in range(40):
        Image.fromarray(np.full((6, 6), i, np.uint8)).save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    before = set(tmp_path.iterdir())
    images = decode_all(paths, str)
    assert isinstance(images, np.memmap)
    assert np.array_equal(images[:, 0, 3, 3], np.arange(40))
    assert set(tmp_path.iterdir()) == before, "its file has no name any more"
    assert not isinstance(large_array((10, 10), np.uint8), np.memmap)
    with pytest.raises(InputError, match=r"GiB for an array .* do not fit into"):
        large_array((2**30, 2**30), np.uint8)


def test_names_of_folders_lead_to_every_split() -> None:
    assert set(SPLIT_NAMES.values()) == set(SPLITS) <= set(SPLIT_NAMES)
