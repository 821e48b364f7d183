"""Progress: few lines without a terminal, each of which says something new; times left that fall."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stg_ray import progress
from stg_ray.cluster.placement import Placement
from stg_ray.progress import Reporter, TimeLeft, in_words
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_stage_that_waits_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), soft_wrap=True)
    with Reporter(console).stage("retrain") as stage:
        stage.waits_for("a CPU")
        monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
        stage.waits_for("a CPU")
        stage.waits_for("a CPU")
    first, last = lines(console)
    assert first == "retrain   waiting for a CPU (starting, or in use; see ray status)"
    assert last.startswith("retrain   done in")


def test_no_line_says_what_the_one_before_said(clock: Clock) -> None:
    console = Console(file=io.StringIO(), soft_wrap=True)
    with Reporter(console).stage("retrain") as stage:
        for seconds, done in ((11, 0), (22, 0), (33, 0), (44, 5), (45, 6), (55, 10), (66, 10), (77, 19)):
            clock.now = seconds
            stage.update(done, 20, "epochs")
    assert lines(console)[:-1] == [
        "retrain   0 of 20 epochs",
        "retrain   5 of 20 epochs",
        "retrain   10 of 20 epochs, about 22 s left",
        "retrain   19 of 20 epochs, about 2 s left",
    ]


@given(st.lists(st.tuples(st.floats(0.1, 60), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_time_left_never_rises_and_is_right_for_an_even_pace(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "time", clock)
        left, done, seen = TimeLeft(), 0, []
        for seconds, more in steps:
            clock.now += seconds
            done += more
            seen.append(left.after(done, 200))
        known = [seconds for seconds in seen if seconds is not None]
        assert all(later <= earlier for earlier, later in itertools.pairwise(known))
        even = TimeLeft()
        for done in range(1, 11):
            clock.now += 3
            estimate = even.after(done, 20)
        assert estimate == pytest.approx(30)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (4.4, "about 4 s left"), (600, "about 10 min left"), (9000, "about 2.5 h left")],
)
def test_times_in_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words


def test_a_terminal_moves_at_once_and_shows_the_time_left(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Reporter(console).stage("profile") as stage:
        assert "starting" in console.file.getvalue()  # type: ignore[attr-defined]
        for done in range(1, 6):
            clock.now += 1
            stage.update(done, 10, "steps on 2 workers")
        stage.progress.refresh()  # type: ignore[attr-defined]
        assert "about 5 s left" in console.file.getvalue()  # type: ignore[attr-defined]


def test_resources_are_counted_as_one_says_them() -> None:
    placement = Placement({"CPU": 1.0, "GPU": 0.5}, [4])
    assert placement.times(1) == "1 CPU and 0.5 GPU"
    assert placement.times(4) == "4 CPUs and 2 GPUs"
