"""Whatever becomes of a file of a finished run, nothing that is read from it differs in silence, and it is repaired."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.session import LazySession
from stg_ray.config import Config
from stg_ray.errors import StgRayError
from stg_ray.findings import check_run
from stg_ray.pipeline import _run_stages, run_stage
from stg_ray.progress import Reporter, StageProgress
from stg_ray.retraining.kept import is_finished
from stg_ray.stages import LOOKS, STAGES
from tests.support.damage import EVERY, Damage, as_finished_now, exchange, flip, flip_at, truncate
from tests.test_older_runs import ARCHIVE

PUBLIC: dict[str, Callable[[sr.Run], Any]] = {
    "groups": lambda run: run.groups.to_dict(),
    "results": lambda run: run.results.to_csv(),
    "costs": lambda run: run.costs.to_csv(),
    "affinities": lambda run: {name: own.values.tobytes() for name, own in run.affinities.items()},
    "errors": lambda run: {name: np.asarray(own.errors).tobytes() for name, own in run.affinities.items()},
    "data_map": lambda run: np.asarray(run.data_map).tobytes(),
    "samples": lambda run: run.data_map.samples.tobytes(),
    "verdict": lambda run: run.summary.verdict,
    "predictions": lambda run: run.predictor().predict(np.ones((2, 5), np.float32)).array.tobytes(),
    "report": lambda run: Path(run.report).read_bytes(),
}
"""What Python reads of a run."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of four tasks, finished and marked as this version does it."""
    folder = tmp_path_factory.mktemp("pristine")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = RunDir(folder / "run")
        for name in run.list(".networks"):
            as_finished_now(run, f".networks/{name}")
        config = run.read_config()
        run.write_config(config)
        for stage in config.stages:
            if stage != "report":
                run.mark_done(stage, config, 1.0)
        run_stage("report", run.uri, reporter=Reporter(quiet_console()))
        yield folder / "run"


def quiet_console() -> Any:
    from rich.console import Console

    return Console(quiet=True)


@pytest.fixture
def run(pristine: Path, tmp_path: Path) -> RunDir:
    shutil.copytree(pristine, tmp_path / "run", copy_function=shutil.copyfile)
    return RunDir(tmp_path / "run")


def seen(directory: Path) -> dict[str, Any]:
    """All that is read of a run: values, or in one line why not."""
    found: dict[str, Any] = {}
    for name, read in PUBLIC.items():
        try:
            found[name] = read(sr.Run.from_path(directory))
        except StgRayError as error:
            found[name] = error
    assert not any("\n" in str(value) for value in found.values() if isinstance(value, Exception))
    return found


def files_of(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def undamaged(pristine: Path) -> dict[str, Any]:
    before = seen(pristine)
    assert not any(isinstance(value, Exception) for value in before.values())
    return before


KINDS = (
    *("config.yaml", "groups.json", "results.parquet", "costs.parquet", "failures.json", "report.html", ".lease"),
    *("parts/index.json", "parts/train-00001.arrow", "parts/test-00000.arrow", "plans/ours.json"),
    *("profile/network.pt", "profile/data_map/epoch-0003/train-00001.arrow"),
    *("affinity/landscape.parquet", "affinity/data_map.stderr.parquet"),
    *("models/ours/group-0/seed-0/network.pt", "models/ours/group-1/seed-0/network.json"),
    *(".stages/parts.json", ".stages/retrain.json", ".stages/retrain.begun.json", ".stages/sources.json"),
)
"""A file of every kind: `test_contents` has every file that a stage left."""


@pytest.mark.parametrize("damage", [truncate, flip, exchange, Path.unlink])
def test_nothing_is_read_that_differs(run: RunDir, pristine: Path, undamaged: dict[str, Any], damage: Damage) -> None:
    refused = 0
    for name in KINDS:
        file = Path(run.path(name))
        if not file.exists():
            continue
        damage(file)
        for what, value in seen(Path(run.root)).items():
            if isinstance(value, Exception):
                refused += 1
            else:
                assert value == undamaged[what], f"{what} after {damage.__name__} of {name}"
        shutil.copyfile(pristine / name, file)
    assert refused >= 15


@pytest.mark.usefixtures("ray_session")
def test_the_same_command_makes_again_what_is_damaged(run: RunDir, pristine: Path) -> None:
    """Every file in turn. To make a stage is to copy it from the whole run: this is about which stages are made."""
    config, whole = run.read_config(), RunDir(pristine)
    works = {stage: partial(copy_stage, stage=stage, whole=pristine) for stage in config.stages}
    names = [name for name in files_of(pristine) if not name.startswith((".networks", ".lease", "config.yaml"))]
    assert len(names) > 60
    for name in names:
        flip(Path(run.path(name)))
        if not all(run.is_done(stage, config) for stage in config.stages):
            _run_stages(run, config, config.stages, LazySession("local"), Reporter(quiet_console()), works)
        assert all(run.is_done(stage, config) for stage in config.stages), name
        if not name.startswith(".stages"):
            assert run.read_bytes(name) == whole.read_bytes(name), name


def copy_stage(run_dir: RunDir, config: Config, progress: StageProgress, *, stage: str, whole: Path) -> None:
    for name in STAGES[stage].artifacts:
        source, target = whole / name, Path(run_dir.path(name))
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        elif source.exists():
            shutil.copyfile(source, target)


@pytest.mark.parametrize("damage", EVERY)
def test_no_kept_network_is_used_that_is_damaged(run: RunDir, damage: Damage) -> None:
    for name in run.list(".networks"):
        folder = f".networks/{name}"
        for file in (Path(run.path(f"{folder}/network.pt")), Path(run.path(f"{folder}/network.json"))):
            data = file.read_bytes()
            assert is_finished(run, folder)
            damage(file)
            assert not is_finished(run, folder)
            file.write_bytes(data)


def test_bits_of_markers_and_configuration(run: RunDir) -> None:
    """A flipped bit lets a stage be made again, is of no consequence, or is named in one line."""
    config = run.read_config()
    for name in ("config.yaml", *(f".stages/{stage}.json" for stage in config.stages)):
        file = Path(run.path(name))
        data = file.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 60)):
            flip_at(file, place, bit=place % 8)
            with suppress(sr.InputError):
                read = run.read_config()
                done = [stage for stage in config.stages if run.is_done(stage, read)]
                assert name != "config.yaml" or len(done) < len(config.stages) or not config.differences(read)
            file.write_bytes(data)


def test_the_doctor_names_every_damage_and_its_repair(run: RunDir, pristine: Path) -> None:
    assert [finding.state for finding in check_run(run)] == ["ok"] * len(run.read_config().stages), list(check_run(run))
    truncate(Path(run.path("parts/val-00000.arrow")))
    exchange(Path(run.path("affinity/landscape.parquet")))
    run.delete("models/ours/group-0/seed-0/network.pt")
    flip(Path(run.path("report.html")))
    run.delete(".stages/group.json")
    flip(Path(run.path(f".networks/{run.list('.networks')[0]}/network.pt")))
    found = list(check_run(run))
    texts = [finding.text for finding in found if finding.state == "problem"]
    assert texts[0].startswith("parts: parts/val-00000.arrow has ")
    assert texts[1].startswith("affinity: affinity/landscape.parquet ")
    assert texts[2:] == [
        "retrain: models/ours/group-0/seed-0/network.pt is missing",
        "report: report.html holds other bytes",
    ]
    again = f"stg-ray run {run.uri}/config.yaml --out {run.uri}"
    assert all(finding.advice.startswith(again) for finding in found if finding.text.startswith(("parts", "retrain")))
    assert [finding.text for finding in found if finding.state == "warning"] == [
        "group: not done (it runs, or was interrupted)",
        f"the kept network .networks/{run.list('.networks')[0]} is damaged",
    ]
    Path(run.path("config.yaml")).write_text("seed: 1\nseed: 2\n")
    (finding,) = check_run(run)
    assert finding.state == "problem"
    assert "found the key 'seed' twice" in finding.text


@pytest.mark.usefixtures("ray_session")
def test_a_folder_in_the_place_of_a_file(run: RunDir, pristine: Path) -> None:
    """It counts as damage, and what it holds is never deleted unless it lies among what a stage makes."""
    config = run.read_config()
    works = {stage: partial(copy_stage, stage=stage, whole=pristine) for stage in config.stages}
    run.check_sources(config)
    for name in (*KINDS, ".stages/report.json", ".stages/group.begun.json", LOOKS):
        file = Path(run.path(name))
        if name in ("config.yaml", ".lease") or not file.exists():
            continue
        data = file.read_bytes()
        replace_by_folder(file)
        list(check_run(run))
        refusal = ""
        try:
            _run_stages(run, config, config.stages, LazySession("local"), Reporter(quiet_console()), works)
        except sr.InputError as error:
            refusal = str(error)
        if refusal:
            assert refusal.startswith(f"{file} is a folder, and a file belongs there")
        else:
            assert all(run.is_done(stage, config) for stage in config.stages), name
        if file.is_dir():
            assert (file / "mine").exists(), name
            shutil.rmtree(file)
            file.write_bytes(data)
    for name in run.list(".networks"):
        replace_by_folder(Path(run.path(f".networks/{name}/network.json")))
        assert not is_finished(run, f".networks/{name}")
    replace_by_folder(Path(run.path("config.yaml")))
    with pytest.raises(sr.InputError, match="is no run directory"):
        run.read_config()
    with pytest.raises(sr.InputError, match=r"config\.yaml is a folder, and a file belongs there: move it away"):
        run.write_config(config)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "mine").touch()
