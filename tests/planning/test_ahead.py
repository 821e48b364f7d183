"""The time until a run is over: known from the profile's pace on, of all stages that are to come, and at no cost."""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray import progress
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.planning.ahead import Ahead, thread_seconds
from stg_ray.progress import Reporter, Standing
from tests.support.run_maker import EPOCHS, make_run

pytestmark = pytest.mark.usefixtures("ray_session")

STAGES = ("profile", "affinity", "group", "retrain", "report")


def finished(folder: Path, n_tasks: int = 12) -> RunDir:
    lengths = {"profile": {"epochs": EPOCHS}, "retrain": {"epochs": 20}}
    return make_run(str(folder / "run"), n_tasks, settings=lengths)


def profiling(work: float, left: float) -> Standing:
    return Standing("profile", spent=5.0, left=left, work=work)


def without_epochs(folder: Path) -> RunDir:
    """A run whose profile is in its first epoch."""
    run = finished(folder)
    run.delete("profile/metrics.parquet")
    return run


def test_it_adds_the_stages_that_are_to_come(tmp_path: Path) -> None:
    run = without_epochs(tmp_path)
    ahead = Ahead(run, STAGES)
    short, long = ahead(profiling(30, left=10)), ahead(profiling(300, left=10))
    assert short is not None
    assert long is not None
    assert long.seconds > short.seconds > 10
    trainings = 10 * (20 / EPOCHS) / 2  # at least ten networks, on two CPUs
    assert 300 * trainings < long.seconds < 10 * 300 * trainings
    assert long.is_bound, "the number of groups is still to be chosen"
    alone = Ahead(run, ["profile"])(profiling(300, left=10))
    assert alone is not None
    assert alone.seconds == 10


def test_nothing_is_said_before_there_is_a_pace(tmp_path: Path) -> None:
    ahead = Ahead(finished(tmp_path), ("parts", "tune", *STAGES))
    assert ahead(Standing("parts", 1.0, None, None)) is None
    assert ahead(Standing("tune", 9.0, 5.0, 9.0)) is None
    assert ahead(Standing("profile", 1.0, None, None)) is None


def test_a_run_that_goes_on_knows_the_pace_of_the_profile_that_is_there(tmp_path: Path) -> None:
    run = finished(tmp_path)
    ahead = Ahead(run, STAGES[1:])
    begun = ahead(Standing("affinity", 0.0, None, None))
    during = Ahead(run, STAGES)(profiling(EPOCHS, left=0))  # a second for each epoch, as in the run
    assert begun is not None
    assert during is not None
    assert begun.seconds == pytest.approx(during.seconds, rel=0.1)
    later = ahead(Standing("affinity", 2.0, None, None))
    assert later is not None
    assert later.seconds == pytest.approx(begun.seconds - 2.0)
    retrain = ahead(Standing("retrain", 30.0, 40.0, 60.0))
    assert retrain is not None
    assert 40 < retrain.seconds < 42, "the stage's pace, and the page"
    assert not retrain.is_bound, "the groups are known"
    forecast = ahead(Standing("retrain", 3.0, 1.0, 2.0, has_more=True))
    assert forecast is not None
    assert ahead(Standing("retrain", begun.seconds, None, None)) is None, (
        "networks that start slowly are not all but over"
    )
    assert begun.seconds - 15 < forecast.seconds < begun.seconds, "networks are still to be trained after the forecast"


def test_what_happens_between_the_epochs_of_the_profile_is_no_part_of_other_trainings(tmp_path: Path) -> None:
    """Ray Train keeps a checkpoint of each; on a busy machine that takes several times as long as a short epoch."""
    run, busy = finished(tmp_path), profiling(5 * EPOCHS, left=0)  # five seconds from epoch to epoch, one in each
    epochs_are_over, first_epoch = Ahead(run, STAGES)(busy), Ahead(without_epochs(tmp_path / "first"), STAGES)(busy)
    trained = Ahead(run, STAGES[1:])(Standing("affinity", 0.0, None, None))
    assert epochs_are_over is not None
    assert first_epoch is not None
    assert trained is not None
    assert epochs_are_over.seconds == pytest.approx(trained.seconds, rel=0.1), "as when the profile is done"
    assert first_epoch.seconds > 3 * epochs_are_over.seconds


def test_threads_that_wait_for_each_other_are_not_taken_for_work() -> None:
    assert thread_seconds(10.0, 20.0, 2) == 20.0, "both at work all the time"
    assert thread_seconds(13.0, 3.1, 2) == 6.5, "on a busy machine: more than the work, less than both threads' time"
    assert thread_seconds(3.0, 0.7, 1) == 3.0, "one thread waits for others' work as any other will"
    assert thread_seconds(10.0, math.nan, 2) == 20.0, "a run of before: the most that it may be"


def test_a_cluster_without_cpus_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its nodes are about to come back."""
    run = finished(tmp_path)
    monkeypatch.setattr("stg_ray.planning.ahead.cluster_nodes", lambda: [{"memory": 1.0}])
    assert Ahead(run, STAGES)(profiling(30, left=10)) is None


def test_a_thousand_tasks_cost_no_time(tmp_path: Path) -> None:
    ahead = Ahead(finished(tmp_path, 1000), STAGES)
    began = time.thread_time()  # of this thread alone, so that other work on the machine does not count
    ahead(profiling(30, left=10))
    assert time.thread_time() - began < 4.0, "once"
    looks = []
    for left in (9, 8, 7):
        began = time.thread_time()
        ahead(profiling(30, left=left))
        looks.append(time.thread_time() - began)
    assert min(looks) < 0.2, "at each look"


@pytest.mark.slow
def test_a_run_shows_times_that_fall_from_stage_to_stage(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PACE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "WORTH_SAYING", (1.0, 0.0))
    monkeypatch.setattr("stg_ray.profiling.stage.PROGRESS_SECONDS", 0.0)
    console = Console(file=io.StringIO(), soft_wrap=True, width=200)
    settings = {"profile": {"epochs": 60, "batch_size": 8}, "retrain": {"epochs": 5, "plans": ["ours"]}}
    settings["grouping"] = {"groups": 2}
    sr.run(make_task_set(), tmp_path / "run", settings=settings, reporter=Reporter(console))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    whole = [line for line in lines if "to the end" in line]
    assert {line.split()[0] for line in whole} >= {"profile", "retrain"}, lines
    seconds = [int(found[1]) for line in whole if (found := re.search(r"(\d+) s to the end", line))]
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(lines)) == len(lines), "no line twice"
