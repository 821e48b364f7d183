"""Digests of the user's files, by which a run notices that they changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stg_ray as sr
from stg_ray.artifacts import digests
from stg_ray.artifacts.digests import source_digests
from stg_ray.artifacts.trust import named_code
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.progress import Reporter
from tests.support.tables import X, Y, written

SETTINGS = {"features": ["x_*"], "labels": ["y_*"]}


def turned(path: Path, place: int) -> None:
    """Change a byte of a file, which keeps its size and its time."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("files", ["mine.parquet", "folder", "folder/*.parquet"])
def test_a_parquet_file_that_changed_is_noticed_whatever_its_size_and_time(
    tmp_path: Path, quiet: Reporter, files: str
) -> None:
    paths = [written(tmp_path, X | Y, name) for name in ("mine.parquet", "folder/a.parquet")]
    settings = {"data": {"parquet": {"files": files, **SETTINGS}, "root": str(tmp_path)}}
    sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)
    for path in paths:
        turned(path, 200)
    with pytest.raises(InputError, match=r"what data.parquet.files: .*\.parquet names has changed since"):
        sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)


def test_a_folder_of_images_that_changed_is_noticed(tmp_path: Path, quiet: Reporter) -> None:
    rng = np.random.default_rng(0)
    for name in (f"{kind}/{i}.png" for kind in ("cat", "dog", "owl") for i in range(20)):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
    settings = {"data": {"images": {"folder": "mine"}, "root": str(tmp_path)}}
    sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)
    path = tmp_path / "mine" / "cat" / "20.png"
    for left in (path.with_name("._20.png"), path.with_name("@eaDir") / "20.png", path.with_suffix(".txt")):
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"of a system")
    (path.parent / "around").symlink_to(path.parent)
    sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)
    refused = pytest.raises(InputError, match=r"what data.images.folder names has changed since")
    shutil.copyfile(path.with_name("0.png"), path)
    with refused:
        sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)
    path.unlink()
    turned(path.with_name("3.png"), -1)
    with refused:
        sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)


def test_images_that_a_table_names_are_looked_at_too(tmp_path: Path, quiet: Reporter) -> None:
    rng = np.random.default_rng(0)
    for i in range(len(Y["y_1"])):
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    written(tmp_path, Y | {"image": [f"{i}.png" for i in range(len(Y["y_1"]))]})
    table = {"files": "mine.parquet", "image": "image", "labels": ["y_*"]}
    settings = {"data": {"parquet": table, "root": str(tmp_path)}}
    for _ in range(2):
        sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)
    turned(tmp_path / "3.png", -1)
    with pytest.raises(InputError, match=r"what the column of images names has changed since"):
        sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)
    (tmp_path / "3.png").unlink()
    sr.run(settings, tmp_path / "run", until="parts", reporter=quiet)


def test_of_a_large_parquet_file_the_ends_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "HASHED_WHOLE", 1000)
    monkeypatch.setattr(digests, "END_BYTES", 100)
    path = tmp_path / "mine.parquet"
    path.write_bytes(np.random.default_rng(0).bytes(2000))
    config = load_config({"data": {"parquet": {"files": str(path), **SETTINGS}}})
    found = [source_digests(config)]
    for place in (1000, 50, 1950):
        turned(path, place)
        found.append(source_digests(config))
    assert found[0] == found[1]
    assert len({tuple(digest.values()) for digest in found}) == 3


def test_all_code_that_a_configuration_names_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric of yours that was changed would pass for the one that the scores are of."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("trunk", "load", "metric", "dice", "linkage"):
        (tmp_path / f"mine_{name}.py").write_text(f"class {name.capitalize()}:\n    pass\n\n\ndef {name}(*_): pass\n")
    config = load_config("digits")
    named = config.model_copy(
        update={
            "model": config.model.model_copy(update={"trunk": "mine_trunk:trunk"}),
            "data": config.data.model_copy(update={"preset": None, "function": "mine_load:load"}),
            "metric": config.metric.model_copy(update={"binary": "mine_metric:metric"}),
            "affinity": config.affinity.model_copy(update={"methods": ["mine_dice:Dice"]}),
            "grouping": config.grouping.model_copy(update={"method": "mine_linkage:Linkage"}),
        }
    )
    assert len(named_code(named)) == 5
    assert len(source_digests(named)) == 5
    before = source_digests(named)
    (tmp_path / "mine_metric.py").write_text("def metric(*_): return 1.0\n")
    assert [key for key, digest in source_digests(named).items() if digest != before[key]] == ["metric.binary"]
