"""Progress: few lines without a terminal, each of which says something new; times left that fall."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stg_ray import progress
from stg_ray.cluster.placement import Placement
from stg_ray.progress import Left, Reporter, StageProgress, Standing, TimeLeft, WholeRun, in_words
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


def test_the_time_to_the_end_never_rises_and_is_shown_where_it_says_more(clock: Clock) -> None:
    whole = WholeRun()
    assert whole.words(Standing("profile", 1, None, None)) == "", "nobody knows what is to come"
    seconds = iter((300, 400, 250, 250, 250, 20, 0.5))
    whole.ahead = lambda now: Left(next(seconds), is_bound=now.stage == "profile")
    assert whole.words(Standing("profile", 9, 60, 90)) == "at most 5 min to the end"
    assert whole.words(Standing("profile", 9, 60, 90)) == "at most 5 min to the end", "400 s would be a rise"
    assert whole.words(Standing("affinity", 1, None, None)) == "about 4 min to the end"
    assert whole.words(Standing("affinity", 5, 60, 90)) == "4 min to the end", "the stage's time says about"
    assert whole.words(Standing("retrain", 5, 249, 300)) == "", "it is the stage's"
    assert whole.words(Standing("retrain", 5, 90, 300)) == "", "the stage takes longer than was thought"
    assert whole.words(Standing("retrain", 5, None, 300)) == "", "it should be over"


def test_both_times_fit_a_terminal_of_80_columns(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    reporter = Reporter(console)
    reporter.whole.ahead = lambda _: Left(12345.0, is_bound=False)
    with reporter.stage("profile") as stage:
        for done in range(1, 6):
            clock.now += 1
            stage.update(1000 * done, 10000, "steps on 2 workers")
        stage.progress.refresh()  # type: ignore[attr-defined]
        shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "5000/10000 steps on 2 workers about 5 s left, 3.4 h to the end" in re.sub(r"\x1b\[[0-9;?]*\w", "", shown)


def test_work_after_other_work_of_a_stage_has_a_pace_of_its_own(clock: Clock) -> None:
    stage = StageProgress(Console(file=io.StringIO()), "retrain")
    for done in range(1, 11):
        clock.now += 1
        stage.left_in_words(done, 10)
    stage.begins_to_wait()
    texts = []
    for done in range(6):
        texts.append(stage.left_in_words(done, 100))
        clock.now += 10
    assert texts[1] == "", "the first work was done in no time, which says nothing of this"
    assert texts[-1] == "about 16 min left"


def test_what_an_interrupted_run_had_done_tells_no_pace(clock: Clock) -> None:
    """Two networks go on from epoch 40, one after the other, at ten seconds an epoch."""
    console = Console(file=io.StringIO(), soft_wrap=True)
    with Reporter(console).stage("retrain") as stage:
        for seconds, done, before in ((1, 40, 40), (2, 80, 80), (11, 81, 80), (21, 82, 80), (31, 83, 80)):
            clock.now = seconds
            stage.update(done, 100, "epochs", before)
    assert lines(console)[:-1] == [
        "retrain   81 of 100 epochs",
        "retrain   82 of 100 epochs, about 3 min left",
        "retrain   83 of 100 epochs, about 3 min left",
    ]
