"""Files of one format that are given to the source of another: each is told what it is and what to use."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError

TABLE = pa.table({"x": [0.5, 1.5], "y": [0, 1]})


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps([1, 2]))


def _npy(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))


def _npz(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, x=np.zeros(3))


FORMATS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "parquet": (lambda path: pq.write_table(TABLE, path), "it holds Parquet: use data.parquet"),
    "csv": (lambda path: path.write_text("x,y\n0.5,1\n"), "it holds text ('x,y'): use data.csv"),
    "arff": (lambda path: path.write_text("% words\n@relation r\n@attribute x numeric\n@data\n1\n"), "use data.arff"),
    "libsvm": (lambda path: path.write_text("1,4 3:0.5 7:1\n"), "it holds text in LIBSVM's format: use data.libsvm"),
    "npy": (_npy, "it holds a NumPy array (.npy): use data.npy"),
    "npz": (_npz, "use data.npz"),
    "feather": (lambda path: pyarrow.feather.write_feather(TABLE, str(path)), "it holds an Arrow (Feather) file"),
    "pickle": (_pickled, "it holds a pickle: use data.npz after"),
    "json": (lambda path: path.write_text('{"x": 1}'), "it holds JSON: use data.csv or data.parquet after"),
    "lfs": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "html": (lambda path: path.write_text("<!doctype html>"), "it holds XML or HTML"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x,y\n")), "it is compressed with gzip: "),
    "bzip2": (lambda path: path.write_bytes(bz2.compress(b"x,y\n")), "it is compressed with bzip2: "),
    "zstd": (lambda path: path.write_bytes(pa.compress(b"x,y\n", "zstd", asbytes=True)), "with Zstandard: "),
    "xz": (lambda path: path.write_bytes(lzma.compress(b"x,y\n")), "it is compressed with xz: unpack it first"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "spaces": (lambda path: path.write_text(" \n\n"), "the file holds spaces only"),
}

SOURCES: dict[str, Callable[[str], dict[str, Any]]] = {
    "parquet": lambda name: {"parquet": {"files": name, "features": ["x"], "labels": ["y"]}},
    "csv": lambda name: {"csv": {"files": name, "features": ["x"], "labels": ["y"]}},
    "arff": lambda name: {"arff": {"files": name, "labels": ["y"]}},
    "libsvm": lambda name: {"libsvm": {"files": name}},
    "npz": lambda name: {"npz": name},
    "npy": lambda name: {"npy": {"inputs": name, "labels": name}},
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("held", FORMATS)
def test_a_file_of_another_format(tmp_path: Path, source: str, held: str) -> None:
    if held == source or (source, held) == ("npy", "npz"):
        pytest.skip("it is read")
    write, message = FORMATS[held]
    path = tmp_path / "mine.data"
    write(path)
    config = load_config({"data": SOURCES[source](str(path))}).data
    with pytest.raises(InputError) as raised:
        load_task_set(config, seed=0)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", SOURCES)
def test_no_file(tmp_path: Path, source: str) -> None:
    for name, message in {
        str(tmp_path / "none"): "no file '.*none': check the path",
        "none": f"no file 'none' here nor in the data root .*; here is {re.escape(str(Path.cwd()))}, wherever the conf",
        "~/none": "no file '~/none': check the path",
        "$HOME/none": "no file '.HOME/none' here .*; variables of the shell stay as they are, and ~ is the home folder",
    }.items():
        with pytest.raises(InputError, match=message):
            load_task_set(load_config({"data": SOURCES[source](name)}).data, seed=0)


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.csv").write_text("x,y_a,y_b\n" + "".join(f"{n},{n % 2},{n // 2 % 2}\n" for n in range(40)))
    csv = {"files": "~/mine.csv", "features": ["x"], "labels": ["y_*"]}
    assert load_task_set(load_config({"data": {"csv": csv}}).data, seed=0).names == ("a", "b")


def test_a_directory_without_files(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "_SUCCESS").touch()
    with pytest.raises(InputError, match=r"the directory .*set holds no data file"):
        load_task_set(load_config({"data": SOURCES["parquet"](str(tmp_path / "set"))}).data, seed=0)
