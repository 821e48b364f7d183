"""Omniglot's fifty alphabets, from the converted file, and from the folders that torchvision leaves."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.imports import torchvision

REAL = Path(os.environ.get("STG_RAY_DATA", "nowhere"))


@pytest.mark.skipif(not (REAL / "omniglot").is_dir(), reason="no omniglot/ in $STG_RAY_DATA")
def test_fifty_alphabets_that_share_no_images() -> None:
    task_set = load_task_set(load_config("omniglot").data, seed=0)
    assert task_set.inputs.shape == (32_460, 1, 28, 28)
    assert len(task_set.tasks) == 50
    assert ((task_set.labels >= 0).sum(axis=1) == 1).all()
    assert sum(task.n_classes for task in task_set.tasks) == 1623
    assert len(task_set.rows("test")) == 8115


def test_from_torchvisions_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders as they are after the download; the archives, whose hashes torchvision looks at, are not at hand."""
    monkeypatch.setattr(torchvision().datasets.Omniglot, "_check_integrity", lambda self: True)
    for half, alphabet in (("images_background", "Greek"), ("images_evaluation", "Old_Church")):
        for character in (1, 2):
            folder = tmp_path / "torchvision" / "omniglot-py" / half / alphabet / f"character{character:02}"
            folder.mkdir(parents=True)
            for drawer in range(1, 21):
                pixels = np.full((105, 105), 10 * drawer + character, np.uint8)
                Image.fromarray(pixels).save(folder / f"{character:04}_{drawer:02}.png")
    task_set = load_task_set(load_config("omniglot", [f"data.root={tmp_path}"]).data, seed=0)
    assert task_set.names == ("Greek", "Old Church")
    assert task_set.inputs.shape == (80, 1, 28, 28)
    drawers, characters = np.divmod(task_set.inputs[:, 0, 5, 5].astype(int), 10)
    assert np.array_equal(task_set.labels.max(axis=1), characters - 1)
    assert np.array_equal(task_set.split == 2, drawers > 15)


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "omniglot").mkdir()
    (tmp_path / "omniglot" / "omniglot28.npz").write_bytes(b"PK cut")
    with pytest.raises(InputError, match="cannot be read as the converted Omniglot"):
        load_task_set(load_config("omniglot", [f"data.root={tmp_path}"]).data, seed=0)
