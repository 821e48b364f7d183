"""A file of a finished stage that is damaged, lost or exchanged is noticed, whichever it is."""

from __future__ import annotations

import re
import tarfile
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.contents import contents_of, damaged_file
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.progress import Reporter
from stg_ray.retraining.kept import is_finished
from tests.support.damage import EVERY, Damage, as_finished_now, empty, flip, truncate
from tests.test_older_runs import ARCHIVE, current

DONE = [name for name in load_config("digits").stages if name != "report"]


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run of four tasks, marked as this version marks its stages."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    run = RunDir(tmp_path / "run")
    for stage in DONE:
        run.mark_done(stage, run.read_config(), 0.0)
    return run


def files_of(run: RunDir) -> dict[str, str]:
    """The stage that left each file."""
    return {name: s for s in DONE for name in run.read_json(f".stages/{s}.json")["contents"]}


@pytest.mark.parametrize("damage", EVERY)
def test_every_file_of_a_run_is_watched(finished: RunDir, damage: Damage) -> None:
    config, files = finished.read_config(), files_of(finished)
    assert all(finished.is_done(stage, config) for stage in DONE)
    assert {Path(name).parts[0] for name in files} == {
        *("parts", "profile", "affinity", "groups.json", "plans", "models"),
        *("results.parquet", "costs.parquet", "failures.json"),
    }
    for name, stage in files.items():
        file = Path(finished.path(name))
        before = file.read_bytes()
        damage(file)
        assert finished.damaged_file(stage, config) == name
        assert not finished.is_done(stage, config)
        with pytest.raises(InputError, match=f"{name} in .* is not as {stage} left it: make it again with stg-ray run"):
            finished.require(stage, config)
        file.write_bytes(before)
        assert finished.is_done(stage, config), "as it was"


@pytest.mark.parametrize("damage", EVERY)
def test_a_damaged_marker_marks_nothing(finished: RunDir, damage: Damage) -> None:
    for stage in DONE:
        damage(Path(finished.path(f".stages/{stage}.json")))
        finished.is_done(stage, finished.read_config())  # a flipped bit may lie in its seconds
    if damage is not flip:
        assert not any(finished.is_done(stage, finished.read_config()) for stage in DONE)


def test_damaged_networks_are_not_loaded(finished: RunDir) -> None:
    sr.load(finished.uri)
    empty(Path(finished.path("models/ours/group-1/seed-0/network.pt")))
    with pytest.raises(InputError, match=r"models/ours/group-1/seed-0/network\.pt in"):
        sr.load(finished.uri)


def test_a_missing_plan_is_not_replaced_by_another(finished: RunDir) -> None:
    finished.delete("plans/ours.json")
    with pytest.raises(InputError, match=r"plans/ours\.json in .* is not as retrain left it"):
        sr.load(finished.uri)


def test_files_that_come_later_are_not_damage(finished: RunDir) -> None:
    finished.write_json("groups.added.json", {})
    finished.write_bytes("profile/notes.txt", b"mine")
    assert all(finished.is_done(stage, finished.read_config()) for stage in DONE)


def test_contents_leave_out_scratch_and_temporary_files(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    for name in ("a/b/c", "a/partials/d", "a/.tmp-e", "f"):
        storage.write_bytes(name, name.encode())
    contents = contents_of(storage, ["a", "f", "none"], without=["a/partials"])
    assert list(contents) == ["a/b/c", "f"]
    assert contents["f"]["size"] == 1
    assert damaged_file(storage, contents) is None


def in_place(file: Path, damage: Damage) -> None:
    """Damage a file without replacing it: whatever else is a link to it is damaged with it."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    with file.open("r+b") as opened:
        opened.truncate(len(data) // 2)
        if damage is flip:
            opened.write(data)


@pytest.mark.parametrize("damage", [truncate, flip])
@pytest.mark.parametrize("side", ["published", "kept"])
def test_damage_to_a_published_network_leaves_the_kept_one_whole(finished: RunDir, damage: Damage, side: str) -> None:
    config = finished.read_config()
    folders = [f".networks/{name}" for name in finished.list(".networks")]
    published = "models/ours/group-0/seed-0/network.pt"
    data = finished.read_bytes(published)
    kept = next(own for own in folders if finished.read_bytes(f"{own}/network.pt") == data)
    finished.copy(f"{kept}/network.pt", published)
    as_finished_now(finished, kept)
    assert is_finished(finished, kept)
    assert finished.is_done("retrain", config)
    in_place(Path(finished.path(published if side == "published" else f"{kept}/network.pt")), damage)
    assert is_finished(finished, kept) == (side == "published")
    assert finished.is_done("retrain", config) == (side == "kept")
    if side == "published":
        finished.copy(f"{kept}/network.pt", published)
        assert finished.is_done("retrain", config), "it is published again, and not trained"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_same_command_repairs_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was damaged, the run ends with the bytes that it had; only what was damaged is trained again."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    current(tmp_path / "tiny.yaml")
    monkeypatch.chdir(tmp_path)

    def again() -> str:
        said = StringIO()
        sr.run("tiny.yaml", "new", until="retrain", reporter=Reporter(Console(file=said, width=200)))
        return said.getvalue()

    again()
    finished = RunDir("new")
    watched = ("groups.json", "results.parquet", "affinity/landscape.parquet", "models/ours/group-0/seed-0/network.pt")
    before = {name: finished.read_bytes(name) for name in watched}
    for number, name in enumerate([watched[3], "parts/train-00001.arrow", "plans/random_0.json"]):
        damage = truncate if name == watched[3] else flip
        damage(Path(finished.path(name)))
        said = again()
        assert f"{name} is not as it was left: done again" in said
        all_kept = re.search(r"(\d+) networks of \d+ plans, \1 of them from before", said)
        assert name != watched[3] or all_kept, "a published network is damaged alone"
        assert {name: finished.read_bytes(name) for name in watched} == before, number
    for file in Path(finished.path("models")).rglob("network.pt"):
        assert file.stat().st_nlink == 1, "a link would be damaged with the network that is kept for later trainings"
