"""Interrupted at any stage, the same command finishes the run, and with the same result; see test_fault_matrix.py for
programs that are killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stg_ray.artifacts.storage import Storage
from stg_ray.data_maps.state import DataMapState
from tests.support.processes import Program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ARGUMENTS = (
    *("run", "digits", "--set", "data.limit=600", "--set", "profile.epochs=24", "--set", "profile.snapshots=4"),
    *("--set", "retrain.epochs=6", "--set", "retrain.seeds=1", "--set", "retrain.plans=[ours, all_in_one]"),
    *("--set", "retrain.stacked=never"),  # one network ends after the other: so there is a moment between them
    *("--set", "affinity.samples=512", "--set", "profile.precision=float32", "--set", "retrain.precision=float32"),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    program = Program(*ARGUMENTS, "--out", str(folder / "run"), log=folder / "log")
    assert program.wait() == 0, program.output
    return folder / "run"


def moments(run: Path) -> list[tuple[str, Callable[[], bool]]]:
    """A moment within each stage that uses Ray, by what the run directory shows."""

    def found(pattern: str, at_least: int = 1) -> Callable[[], bool]:
        return lambda: len(list(run.glob(pattern))) >= at_least

    return [
        ("profile", found("profile/data_map/*")),
        ("affinity", found(".stages/affinity.begun.json")),
        ("retrain", found(".networks/*/network.json", 2)),
    ]


def assert_same_results(run: Path, reference: Path) -> None:
    assert (run / "groups.json").read_bytes() == (reference / "groups.json").read_bytes()
    for snapshot in sorted(path.name for path in (reference / "profile" / "data_map").iterdir()):
        for file in sorted((reference / "profile" / "data_map" / snapshot).iterdir()):
            name = f"profile/data_map/{snapshot}/{file.name}"
            states = [DataMapState.from_batch(Storage(folder).read_arrow(name)) for folder in (run, reference)]
            for key in ("count", "mean", "m2"):
                a, b = (getattr(state, key) for state in states)
                assert np.array_equal(a, b, equal_nan=True), f"{key} of {name}"
    results = [Storage(folder).read_parquet("results.parquet").to_pandas() for folder in (run, reference)]
    assert results[0].equals(results[1])


def test_interrupted_in_every_stage(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for stage, moment in moments(run):
        program = Program(*ARGUMENTS, "--out", str(run), log=tmp_path / stage)
        program.wait_until(moment)
        assert not (run / ".stages" / f"{stage}.json").exists(), f"too late to interrupt {stage}"
        code, seconds = program.interrupt()
        assert code == 130, program.output
        assert seconds < 10
        assert program.left_behind() == []
        assert "the same command goes on from there" in program.output
        assert "Traceback" not in program.output
    last = Program(*ARGUMENTS, "--out", str(run), log=tmp_path / "last")
    assert last.wait() == 0, last.output
    assert last.output.count("done before") == 4
    assert "of them from before" in last.output
    assert_same_results(run, undisturbed)
