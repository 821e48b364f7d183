"""Task sets from Parquet files, like the files that users have, and what is said of files that are damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from tests.support.tables import load, png

RNG = np.random.default_rng(0)
N = 60
HALF = np.arange(N) % 2


@pytest.fixture
def images() -> np.ndarray:
    return RNG.integers(0, 256, (N, 5, 6, 3), dtype=np.uint8)


@pytest.fixture
def columns(images: np.ndarray) -> dict[str, Any]:
    """One table with every kind of column."""
    bits = RNG.integers(0, 2, (N, 16), dtype=np.uint8)
    return {
        "x_a": RNG.normal(size=N),
        "x_b": np.arange(N),
        "y_one": pa.array(HALF, pa.uint8(), mask=np.arange(N) == 7),
        "y_two": pa.array(np.arange(N) // 2 % 2, pa.uint8()),
        "image": [png(image) for image in images],
        "bits": pa.array([np.packbits(row, bitorder="little").tobytes() for row in bits], pa.binary(2)),
        "fine": pa.array(np.arange(N) % 4, pa.int32()),
        "coarse": np.array(["left", "right"])[np.arange(N) % 4 // 2],
        "split": np.array(["train", "valid", "test"])[np.repeat([0, 1, 2], [40, 8, 12])],
        "text": ["words"] * N,
    }


@pytest.fixture
def folder(columns: dict[str, Any], tmp_path: Path) -> Path:
    table = pa.table(columns).replace_schema_metadata({"class_names": json.dumps(["cat", "dog", "car", "bus"])})
    pq.write_table(table.slice(0, 25), tmp_path / "part-0.parquet")
    pq.write_table(table.slice(25), tmp_path / "part-1.parquet", row_group_size=10)
    return tmp_path


def test_number_columns_and_a_column_per_task(folder: Path, columns: dict[str, Any]) -> None:
    task_set = load(folder, files="part-*.parquet", features=["x_*"], labels=["y_*"], split="split")
    assert task_set.names == ("one", "two")
    assert np.allclose(task_set.inputs, np.stack([columns["x_a"], columns["x_b"]], axis=1))
    assert task_set.labels[7, 0] == -1
    assert np.array_equal(task_set.labels[:, 1], np.arange(N) // 2 % 2)
    assert [len(task_set.rows(split)) for split in ("train", "val", "test")] == [40, 8, 12]


def test_images_and_classes_against_the_rest(folder: Path, images: np.ndarray) -> None:
    task_set = load(folder, files="part-*.parquet", image="image", classes="fine", groups="coarse")
    assert np.array_equal(task_set.inputs, images.transpose(0, 3, 1, 2))
    assert task_set.inputs.dtype == np.uint8
    assert [(task.name, task.group) for task in task_set.tasks] == [
        ("cat", "left"),
        ("dog", "left"),
        ("car", "right"),
        ("bus", "right"),
    ]
    assert np.array_equal(task_set.labels, np.eye(4)[np.arange(N) % 4])


@pytest.mark.parametrize("place", [0, 5, 24, 40])
def test_grey_images_beside_coloured_ones_are_in_colour(
    columns: dict[str, Any], images: np.ndarray, tmp_path: Path, place: int
) -> None:
    grey = images[:, :, :, 0]
    mixed = [png(image) for image in grey]
    mixed[place] = png(images[place])
    rows = pa.table({"image": mixed, "y_one": columns["y_one"], "y_two": columns["y_two"]})
    for number, start in enumerate((0, 20)):
        pq.write_table(rows.slice(start, None if start else 20), tmp_path / f"part-{number}.parquet")
    inputs = load(tmp_path, files="part-*.parquet", image="image", labels=["y_*"]).inputs
    in_colour = np.repeat(grey[:, None], 3, axis=1)
    in_colour[place] = images[place].transpose(2, 0, 1)
    assert np.array_equal(inputs, in_colour)


def test_packed_bits_and_one_task_per_super_class(folder: Path, columns: dict[str, Any]) -> None:
    task_set = load(
        folder, files="part-*.parquet", bits="bits", classes="fine", groups="coarse", class_tasks="by_group"
    )
    assert task_set.inputs.shape == (N, 16)
    assert set(np.unique(task_set.inputs)) == {0, 1}
    assert task_set.names == ("left", "right")
    assert task_set.labels[:4].tolist() == [[0, -1], [1, -1], [-1, 0], [-1, 1]]


def test_real_labels_are_regressions(folder: Path) -> None:
    task_set = load(folder, files=["part-0.parquet", "part-1.parquet"], features=["x_b"], labels=["y_one", "x_a"])
    assert [task.kind for task in task_set.tasks] == ["binary", "regression"]
    assert np.isnan(task_set.labels[7, 0])


def test_labels_are_widened_when_a_later_one_needs_it(tmp_path: Path) -> None:
    classes = np.where(np.arange(9000) == 8999, 40_000, np.arange(9000) % 2)
    columns = {"x_a": np.zeros(9000), "y_a": classes, "y_b": np.arange(9000) // 2 % 2}
    pq.write_table(pa.table(columns), tmp_path / "wide.parquet")
    task_set = load(tmp_path, files="wide.parquet", features=["x_*"], labels=["y_*"], split=None)
    assert task_set.tasks[0].classes == (0, 1, 40_000), "what occurs is numbered"
    assert np.array_equal(np.array([0, 1, 40_000])[task_set.labels[:, 0]], classes)
    assert np.array_equal(task_set.labels[:, 1], columns["y_b"])


def test_files_that_are_not_as_they_must_be(folder: Path, columns: dict[str, Any]) -> None:
    whole = (folder / "part-1.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    body = bytearray(whole)
    body[200:1200] = os.urandom(1000)
    (folder / "garbled.parquet").write_bytes(bytes(body))
    broken = columns | {"image": [*columns["image"][:31], columns["image"][31][:40], *columns["image"][32:]]}
    pq.write_table(pa.table(broken), folder / "broken.parquet")
    small = columns | {"image": [*columns["image"][:9], png(np.zeros((4, 4, 3), np.uint8)), *columns["image"][10:]]}
    pq.write_table(pa.table(small), folder / "small.parquet")
    pq.write_table(pa.table({"x_a": columns["x_a"]}), folder / "other.parquet")
    renamed = pa.table(columns).replace_schema_metadata({"class_names": json.dumps(["cat", "dog", "car", "bike"])})
    pq.write_table(renamed, folder / "renamed.parquet")
    two_groups = columns | {"coarse": np.array(["left", "right"])[HALF[::-1] * 0 + (np.arange(N) > 30)]}
    pq.write_table(pa.table(two_groups), folder / "two_groups.parquet")
    plain = {"features": ["x_*"], "labels": ["y_*"]}
    for options, message in (
        ({"files": "none.parquet", **plain}, "no file 'none.parquet' here nor in the data root"),
        ({"files": "cut.parquet", **plain}, "cut.parquet is no whole Parquet file"),
        ({"files": "garbled.parquet", "image": "image", "labels": ["y_*"]}, "garbled.parquet"),
        ({"files": "broken.parquet", "image": "image", "labels": ["y_*"]}, "the image in row 31 cannot be decoded"),
        ({"files": "small.parquet", "image": "image", "labels": ["y_*"]}, r"row 9 has the shape \(3, 4, 4\)"),
        ({"files": ["part-0.parquet", "other.parquet"], **plain}, "different columns"),
        (
            {"files": ["part-0.parquet", "renamed.parquet"], "bits": "bits", "classes": "fine"},
            "part-0.parquet have different class names",
        ),
        ({"files": "part-0.parquet", "features": ["z_*"], "labels": ["y_*"]}, "no column matches 'z_"),
        ({"files": "part-0.parquet", "features": ["text"], "labels": ["y_*"]}, "'text' holds text .expected numbers"),
        (
            {"files": "part-0.parquet", "features": ["x_*"], "labels": ["text", "y_one"]},
            "'text' has only the label words",
        ),
        ({"files": "part-0.parquet", "features": ["x_*"], "classes": "none"}, "no column 'none'"),
        ({"files": "two_groups.parquet", "bits": "bits", "classes": "fine", "groups": "coarse"}, "2 super-classes"),
        ({"files": "part-0.parquet", "features": ["x_*"]}, "exactly one of labels, classes; found none"),
        ({"files": "part-0.parquet", "image": "i", **plain}, "exactly one of features, image, bits"),
        ({"files": "part-0.parquet", "feature": ["x_*"], "labels": ["y"]}, "did you mean data.parquet.features"),
    ):
        with pytest.raises(InputError, match=message):
            load(folder, **options)


REAL = Path(os.environ.get("STG_RAY_DATA", "nowhere"))


@pytest.mark.skipif(not (REAL / "mulan").is_dir(), reason="no mulan/ in $STG_RAY_DATA")
def test_delicious_has_one_label_without_test_positives() -> None:
    parquet = {"files": "mulan/delicious.parquet", "features": ["x_*"], "labels": ["y_*"], "split": "split"}
    config = {"data": {"parquet": parquet}}
    with pytest.raises(InputError, match=r"has only the label 0 in the test rows.*constant_tasks=drop"):
        load_task_set(load_config(config).data, seed=0)
    task_set = load_task_set(load_config(config, ["data.constant_tasks=drop"]).data, seed=0)
    assert (len(task_set.tasks), len(task_set.dropped)) == (982, 1)


@pytest.mark.skipif(not (REAL / "molecules").is_dir(), reason="no molecules/ in $STG_RAY_DATA")
def test_toxcast_has_most_labels_missing() -> None:
    parquet = {"files": "molecules/toxcast.parquet", "bits": "fp_morgan2_2048", "labels": ["y_*"], "split": "split"}
    config = {"data": {"parquet": parquet, "constant_tasks": "drop"}}
    task_set = load_task_set(load_config(config).data, seed=0)
    assert task_set.inputs.shape == (8597, 2048)
    assert 0.25 < (task_set.labels >= 0).mean() < 0.35


@pytest.mark.skipif(not (REAL / "cifar10").is_dir(), reason="no cifar10/ in $STG_RAY_DATA")
def test_the_fifteen_tasks_of_cifar10() -> None:
    task_set = load_task_set(load_config("cifar10-15").data, seed=0)
    assert task_set.inputs.shape == (60_000, 3, 32, 32)
    assert len(task_set.tasks) == 15
    columns = dict(zip(task_set.names, task_set.labels.T, strict=True))
    assert np.array_equal(columns["living"], 1 - columns["not living"])
    assert columns["upside down"].mean() == 0.5
    ten = load_task_set(load_config("cifar10").data, seed=0)
    flipped = columns["upside down"] == 1
    assert np.array_equal(task_set.inputs[~flipped], ten.inputs[~flipped])
    assert np.array_equal(task_set.inputs[flipped], ten.inputs[flipped, :, ::-1])
