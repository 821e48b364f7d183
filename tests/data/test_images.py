"""Encoded images: folders of classes, one size for all, large arrays, and what is said of damaged files."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data import images as images_module
from stg_ray.data.images import decode, decode_all, large_array
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import SPLITS, TaskSet
from stg_ray.tasks.notes import DataWarning
from stg_ray.tasks.splitting import SPLIT_NAMES

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
        (
            lambda f: (f / "train" / "cat" / "1.png").write_bytes(b"text"),
            r"1.png cannot be decoded \(no image, or",
        ),
        (
            lambda f: (f / "train" / "cat" / "1.png").write_bytes(b""),
            r"1.png cannot be decoded \(no image, or",
        ),
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


def test_a_flat_folder_of_images_is_told_of_tables(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"it holds images\. Expected a folder .*data\.csv .* with image: COLUMN"):
        load(tmp_path, images={"folder": str(tmp_path)})


def grey_images(folder: Path, n: int = 15) -> None:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(RNG.integers(0, 256, (4, 4), dtype=np.uint8)).save(folder / name / f"{i}.png")


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("training", "testing"),
        ("training", "validation", "testing"),
        ("train", "Valid", "test"),
        ("train", ".ipynb_checkpoints", "test"),
        ("__MACOSX", "test", "train"),
    ],
)
def test_folders_of_splits_are_never_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        grey_images(tmp_path / name)
    task_set = load(tmp_path, images={"folder": str(tmp_path)})
    assert task_set.names == ("cat", "dog")
    visible = [name for name in names if name.lower() in SPLIT_NAMES]
    assert len(task_set.inputs) == 30 * len(visible)
    assert len(task_set.rows("test")) == 30


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "val"), "the splits train and val, but no test: add a folder test, or give one of these that name"),
        (("val", "test"), "the splits test and val, but no train"),
        (("train", "test", "bus"), "are test and train splits or classes.*'bus' beside them: move it away"),
        (("train", "training", "test"), "'train' and 'training' are both train: keep one of them"),
        (("train", "val", "valid", "test"), "'val' and 'valid' are both val"),
    ],
)
def test_folders_that_may_be_splits_or_classes_are_asked_about(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in names:
        grey_images(tmp_path / name, 1)
    with pytest.raises(InputError, match=message):
        load(tmp_path, images={"folder": str(tmp_path)})


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    grey_images(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "train")
    assert load(tmp_path, images={"folder": str(tmp_path)}).names == ("dog", "train")


def test_a_single_folder_of_a_split_is_split_by_seed(tmp_path: Path) -> None:
    grey_images(tmp_path / "train")
    task_set = load(tmp_path, images={"folder": str(tmp_path)})
    assert task_set.names == ("cat", "dog")
    assert set(task_set.split) == {0, 1, 2}


def test_hidden_files_are_no_images_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    grey_images(tmp_path)
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / "cat" / "._1.png").write_bytes(b"a fork of macOS")
    (tmp_path / "cat" / ".hidden").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "cat" / ".hidden" / "1.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load(tmp_path, images={"folder": str(tmp_path)}).inputs) == 30
    for name in ("a.gif", "b.GIF", "c.heic", "notes"):
        (tmp_path / "dog" / name).write_bytes(b"left out")
    with pytest.warns(DataWarning, match=r"4 files are left out \(2 .gif, 1 .heic, 1 notes\): expected .jpg"):
        assert len(load(tmp_path, images={"folder": str(tmp_path)}).inputs) == 30


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("mode", "channels"), [(None, 1), ("L", 1), ("RGB", 3)])
def test_16_bits_are_scaled_to_8(kind: str, mode: str | None, channels: int) -> None:
    values = np.array([[0, 257, 1000, 30000], [32768, 40000, 65000, 65535]], np.uint16)
    pixels = decode(encoded(Image.fromarray(values), kind), mode=mode)
    assert pixels.shape == (channels, 2, 4)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[-1], np.round(values / 257))


@pytest.mark.parametrize(("dtype", "named"), [(np.int32, "32-bit integers"), (np.float32, "floating-point numbers")])
def test_pixels_of_unknown_range_are_refused(dtype: type, named: str) -> None:
    data = encoded(Image.fromarray(np.full((4, 4), 300, dtype)), "TIFF")
    with pytest.raises(InputError, match=rf"row 0 cannot be used: its pixels are {named} of unknown range"):
        decode_all([data], lambda i: f"row {i}")


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a),
}
"""Effects of the EXIF standard's orientations on the stored rows and columns."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(("kind", "dtype"), [("PNG", np.uint8), ("PNG", np.uint16), ("WEBP", np.uint8)])
def test_images_are_upright(orientation: int, kind: str, dtype: Any) -> None:
    values = (RNG.integers(0, 256, (4, 6)) * (257 if dtype is np.uint16 else 1)).astype(dtype)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(values)
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = decode(encoded(image, kind, exif=exif, **options), mode="L")
    expected = TURNS[orientation](np.round(values / (257 if dtype is np.uint16 else 1)))
    assert pixels[0].shape == expected.shape
    np.testing.assert_allclose(pixels[0], expected, atol=1 if kind == "WEBP" else 0)


def test_a_tiff_file_is_turned_once(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "turned.tif", tiffinfo={0x0112: 6})
    assert np.array_equal(decode(tmp_path / "turned.tif")[0], np.rot90(values, -1))


def test_very_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("L", (40, 50)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # Pillow warns from here on, and refuses twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_all([data], str, size=8).shape == (1, 1, 8, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(InputError, match="row 0 cannot be used: more than 0 megapixels, which Pillow refuses: scale"):
        decode_all([data], lambda i: f"row {i}")


def test_a_large_array_without_posix_fallocate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images_module, "MAPPED_BYTES", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delattr(os, "posix_fallocate")
    array = large_array((100, 100), np.uint8)
    assert isinstance(array, np.memmap)
    array[:] = 7
    assert int(array.sum()) == 70_000
    with pytest.raises(InputError, match=r"GiB for an array .* do not fit into .*No space left"):
        large_array((2**30, 2**30), np.uint8)


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
