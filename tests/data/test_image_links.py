"""Folders of images whose splits share images, or whose links lead around."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet


def read(folder: Path) -> TaskSet:
    return load_task_set(load_config({"data": {"images": {"folder": str(folder)}}}).data, seed=0)


def folder_of_splits(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, n in (("train", 20), ("val", 6), ("test", 8)):
        for name in ("cat", "dog", "owl"):
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(
                    folder / split / name / f"{split}{i}.png"
                )


def test_a_split_that_is_a_copy_of_another_is_refused(tmp_path: Path) -> None:
    folder_of_splits(tmp_path)
    shutil.rmtree(tmp_path / "val")
    shutil.copytree(tmp_path / "test", tmp_path / "val")
    with pytest.raises(InputError, match=r"all images of test are in val too, such as .*: splits must share no rows"):
        read(tmp_path)


def test_images_that_two_splits_share_are_counted(tmp_path: Path) -> None:
    folder_of_splits(tmp_path)
    for i in range(2):
        shutil.copyfile(tmp_path / "train" / "cat" / f"train{i}.png", tmp_path / "test" / "cat" / f"more-{i}.png")
    with pytest.warns(
        UserWarning, match=r"2 images of test are in train too, such as .*more-0.png and .*train0.png: scores"
    ):
        task_set = read(tmp_path)
    assert len(task_set.inputs) == 3 * 34 + 2


def test_copies_that_a_split_by_seed_may_part_are_counted(tmp_path: Path) -> None:
    folder_of_splits(tmp_path)
    folder = tmp_path / "train"
    shutil.copyfile(folder / "cat" / "train0.png", folder / "cat" / "train0 (copy).png")
    with pytest.warns(UserWarning, match=r"1 images are copies of others, such as .*train0.png of .*: one may be"):
        assert len(read(folder).inputs) == 61


def test_links_that_lead_around(tmp_path: Path) -> None:
    folder_of_splits(tmp_path)
    folder = tmp_path / "train"
    (tmp_path / "more").mkdir()
    (tmp_path / "test" / "cat").rename(tmp_path / "more" / "below")
    (folder / "cat" / "linked").symlink_to(tmp_path / "more")
    assert len(read(folder).inputs) == 68, "images that a link leads to are read"
    for link, target in ((folder / "dog" / "linked", folder / "dog"), (folder / "owl" / "all", tmp_path)):
        link.symlink_to(target)
        with pytest.raises(
            InputError, match=re.escape(f"{link} is a link to {target}, in which it is itself: remove it")
        ):
            read(folder)
        link.unlink()
    (tmp_path / "more" / "back").symlink_to(folder / "cat")
    with pytest.raises(InputError, match=r"back is a link to .*cat, in which it is itself"):
        read(folder)
    (tmp_path / "more" / "back").unlink()
    (folder / "zoo").symlink_to(folder)
    with pytest.raises(InputError, match="zoo is a link to"):
        read(folder)
