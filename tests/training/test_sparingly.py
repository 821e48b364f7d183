"""Checkpoints and reports take a small share of a training, and are never put off for long."""

from __future__ import annotations

import itertools
import time

import pytest

from stg_ray.training import sparingly
from stg_ray.training.sparingly import Sparingly
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made


def costs_of(clock: Clock, epochs: int, epoch: float, cost: float) -> tuple[float, float]:
    """The share of the time that checkpoints take, and the longest time between two, in seconds."""
    checkpoints, began, spent, ends = Sparingly(), clock.now, 0.0, []
    for _ in range(epochs):
        clock.now += epoch
        if checkpoints.is_due:
            checkpoints.do(lambda: setattr(clock, "now", clock.now + cost))
            spent += cost
            ends.append(clock.now)
    return spent / (clock.now - began), max(b - a for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize(("epoch", "cost"), [(0.001, 0.01), (0.03, 0.01), (1.0, 0.01), (60.0, 3.0)])
def test_they_cost_a_small_share_and_a_kill_costs_so_much_time(clock: Clock, epoch: float, cost: float) -> None:
    share, longest = costs_of(clock, 3000, epoch, cost)
    assert share < sparingly.SHARE * 1.1
    assert longest <= max(epoch, cost / sparingly.SHARE) + epoch + cost + 1e-9


def test_the_first_epoch_is_kept_and_what_costs_nothing_is_done_every_time(clock: Clock) -> None:
    checkpoints = Sparingly()
    assert checkpoints.is_due
    assert checkpoints.do(lambda: 7) == 7
    assert checkpoints.is_due
    checkpoints.do(lambda: setattr(clock, "now", clock.now + 1.0))
    assert not checkpoints.is_due
    clock.now += 1.0 / sparingly.SHARE
    assert checkpoints.is_due
