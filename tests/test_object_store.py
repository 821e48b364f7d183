"""A run on an object store (the S3 server of moto) is that of a folder, also after a kill, and is repaired like it."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.contents import contents_of, damages
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.findings import check_run
from stg_ray.progress import Reporter
from tests.support.object_store import ObjectStore
from tests.support.processes import Program
from tests.support.tables import assert_same_but_for_rounding
from tests.test_older_runs import ARCHIVE, current


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiny.yaml as this version asks for it, its data, and the run of version 0.1.0."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    current(tmp_path / "tiny.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bucket(object_store: ObjectStore, request: pytest.FixtureRequest) -> Iterator[Storage]:
    storage = Storage(object_store.uri(request.node.name))
    yield storage
    storage.delete("")


def test_files_on_an_object_store(bucket: Storage, tmp_path: Path) -> None:
    bucket.write_json("a/b.json", {"c": 1})
    bucket.copy("a/b.json", "a/d.json")
    assert bucket.list("a") == ["b.json", "d.json"]
    assert bucket.sub("a").read_json("d.json") == {"c": 1}
    bucket.write_arrays("e.arrow", {"x": np.arange(6.0).reshape(2, 3)})
    np.testing.assert_array_equal(bucket.read_arrays("e.arrow")["x"], [[0, 1, 2], [3, 4, 5]])
    bucket.delete("a")
    assert not bucket.exists("a/b.json")
    with pytest.raises(FileNotFoundError):
        bucket.read_bytes("a/b.json")


def test_objects_are_known_by_their_contents(bucket: Storage, object_store: ObjectStore) -> None:
    for name in ("a", "b", "c", "d"):
        bucket.write_bytes(name, b"as it was")
    noted = contents_of(bucket, ["a", "b", "c", "d"])
    assert {frozenset(entry) for entry in noted.values()} == {frozenset({"size", "sha256", "etag"})}
    assert list(damages(bucket, noted)) == []
    bucket.write_bytes("a", b"as it is!")
    bucket.write_bytes("b", b"shorter")
    bucket.delete("c")
    assert dict(damages(bucket, noted)) == {
        "a": "holds other bytes",
        "b": "has 7 bytes, not 9",
        "c": "is missing",
    }
    copied = {"d": noted["d"] | {"etag": "of another bucket"}}
    assert list(damages(bucket, copied)) == [], "the bytes are what they were"
    forged = {"d": noted["d"] | {"sha256": "0" * 64}}
    assert list(damages(bucket, forged)) == []
    assert list(damages(bucket, forged, thorough=True)) == [("d", "holds other bytes")]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_run_is_killed_goes_on_and_is_repaired(bucket: Storage, folder: Path) -> None:
    uri = bucket.uri
    program = Program("run", "tiny.yaml", "--out", uri, log=folder / "log", cwd=folder)
    try:
        program.wait_until(lambda: f"{'group':<9} done in" in program.output)
        with pytest.raises(sr.InputError, match=f"in use by process {program.process.pid} on "):
            sr.run("tiny.yaml", uri)
        program.wait_until(lambda: finished_networks(bucket) > 0)
    finally:
        program.kill()
    said = again(uri)
    assert said.count("done before") == 4
    assert " of them from before" in said
    run, before = RunDir(uri), RunDir(folder / "run")
    assert run.read_bytes("groups.json") == before.read_bytes("groups.json")
    for name in ("affinity/landscape.parquet", "affinity/data_map.parquet"):
        assert_same_but_for_rounding(run.read_parquet(name), before.read_parquet(name))
    on_test = pc.field("split") == "test"  # those on validation rows were made otherwise then
    now, then = (each.read_parquet("results.parquet").filter(on_test) for each in (run, before))
    assert now.drop(["value"]).equals(then.drop(["value"]))
    np.testing.assert_allclose(now["value"], then["value"], rtol=1e-3, err_msg="another processor may have made them")
    name = "models/ours/group-0/seed-0/network.pt"
    run.write_bytes(name, bytes(len(run.read_bytes(name))))
    with pytest.raises(sr.InputError, match=r"network\.pt in s3://.* is not as retrain left it"):
        sr.load(uri)
    (problem,) = [finding for finding in check_run(run) if finding.state == "problem"]
    assert problem.text == f"retrain: {name} holds other bytes"
    said = again(uri)
    assert f"{name} is not as it was left: done again" in said
    assert {finding.state for finding in check_run(run)} == {"ok"}
    expected = np.load("expected.npz")["ours"]
    np.testing.assert_allclose(sr.load(uri, "ours").predict(np.load("tiny.npz")["inputs"]).array, expected, rtol=1e-5)


def finished_networks(run: Storage) -> int:
    time.sleep(0.5)  # the server has other things to do than to be asked
    return sum(run.exists(f".networks/{name}/network.json") for name in run.list(".networks"))


def again(uri: str) -> str:
    """What the same command says."""
    said = StringIO()
    sr.run("tiny.yaml", uri, reporter=Reporter(Console(file=said, width=200)))
    return said.getvalue()
