"""A run directory of version 0.1.0 is read as its own version read it, and goes on where it was.

support/data/run_of_0.1.0.tar.gz is such a directory, made by `stg-ray run tiny.yaml --out run --until retrain` on four
planted tasks, with what `sr.load` predicted then.
"""

from __future__ import annotations

import tarfile
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.stages import STAGES
from tests.support.processes import Program
from tests.support.tables import assert_same_but_for_rounding

ARCHIVE = Path(__file__).parent / "support" / "data" / "run_of_0.1.0.tar.gz"
DONE = [name for name in load_config("digits").stages if name != "report"]


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds tiny.npz, tiny.yaml, expected.npz and run/."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # the configuration names tiny.npz
    return tmp_path


def current(config: Path) -> None:
    """Tell in tiny.yaml what this version asks about."""
    told = 'data: {npz: tiny.npz, tasks: {"*": {missing: [-1]}},'
    config.write_text(config.read_text().replace("data: {npz: tiny.npz,", told))


def stg_ray(folder: Path, *arguments: str) -> str:
    """Return what the program prints; it must succeed."""
    program = Program(*arguments, log=folder / "log", cwd=folder)
    assert program.wait() == 0, program.output
    return program.output


def test_its_stages_are_done(older: Path) -> None:
    run_dir = RunDir(older / "run")
    assert [name for name in STAGES if run_dir.is_done(name, run_dir.read_config())] == DONE


def test_its_networks_predict_as_they_did(older: Path) -> None:
    inputs = np.load(older / "tiny.npz")["inputs"]
    expected = np.load(older / "expected.npz")
    np.testing.assert_allclose(sr.load("run").predict(inputs).array, expected["ours"], rtol=1e-5)
    soft = sr.load("run", "ours_soft_profiled").predict(inputs, serving="ensemble")
    np.testing.assert_allclose(soft.array, expected["soft"], rtol=1e-5)


def test_its_groups_and_matrices_are_read(older: Path) -> None:
    run_dir = RunDir(older / "run")
    text = run_dir.read_json("groups.json")
    assert sr.Groups.from_dict(text).to_dict() == text
    matrix = sr.TaskMatrix.from_table(run_dir.read_parquet("affinity/landscape.parquet"))
    assert matrix.tasks == ("a1", "a2", "b1", "b2")
    assert np.isfinite(matrix.values).all()
    assert np.asarray(sr.DataMap("run", epoch=3)).shape == (112, 4, 2)


def test_the_same_command_writes_its_report(older: Path) -> None:
    output = stg_ray(older, "run", "tiny.yaml", "--out", "run")
    assert all(f"{name:<9} done before" in output for name in DONE)
    assert "random groups" in output
    assert "from profile" in (older / "run" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_stage_done_again_gives_the_same(older: Path) -> None:
    """The same tables, whose Parquet files have had checksums since; scores on validation rows are made otherwise now.

    For these the networks are trained again, and come out as they were.
    """
    run_dir = RunDir(older / "run")
    groups, before = run_dir.read_bytes("groups.json"), run_dir.read_parquet("affinity/landscape.parquet")
    results = run_dir.read_parquet("results.parquet").to_pandas()
    said = StringIO()
    for stage in ("affinity", "group", "retrain"):
        run_stage(stage, "run", reporter=Reporter(Console(file=said, width=200)))
    output = said.getvalue()
    assert f"{'retrain':<9} done in" in output
    assert "The test rows were looked at" not in output
    assert " of them from before" not in output
    assert run_dir.read_bytes("groups.json") == groups
    matrix = run_dir.read_parquet("affinity/landscape.parquet")
    assert matrix.schema.metadata == before.schema.metadata
    assert_same_but_for_rounding(matrix, before)
    again = run_dir.read_parquet("results.parquet").to_pandas()
    on_test, on_test_before = (own[own["split"] == "test"].reset_index(drop=True) for own in (again, results))
    pd.testing.assert_frame_equal(on_test, on_test_before, rtol=1e-3)
    assert len(again) == len(results)
