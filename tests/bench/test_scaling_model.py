"""The model of a cluster: what more workers do to each stage."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from jobs.bench.scaling_model import Costs, Job, all_reduce, fastest_epoch, stages

COSTS = Costs(start=3.0, part=0.001, adding=(0.001, 1e-8), trial=0.05, grouping=(0.1, 0.5), proposals=(0.1, 0.5))
JOB = Job(tasks=100, rows=131_072, parts=128, parameters=400_000, row=1e-3, part=1.0)


def test_one_worker_does_all_the_work() -> None:
    of_one = stages(JOB, COSTS, 1)
    work = JOB.rows * JOB.row
    assert of_one["profile"].seconds == pytest.approx(3 + 20 * work)
    assert of_one["networks"].seconds == pytest.approx(3 + 60 * 20 * work)
    assert of_one["search"].seconds == pytest.approx(15 + 120 * 3 * work + 1)
    assert of_one["affinity"].seconds == pytest.approx(3 + 128 + 128 * 0.0011)


def test_more_workers_are_never_slower_and_end_at_what_is_said() -> None:
    numbers = (1, 8, 64, 512, 4096)
    for name in stages(JOB, COSTS, 1):
        each = [stages(JOB, COSTS, n)[name] for n in numbers]
        assert all(b.seconds <= a.seconds for a, b in itertools.pairwise(each)), name
        assert each[-1].limit != "the workers"
    assert stages(JOB, COSTS, 4096)["search"].limit == "the networks of a round"
    many = replace(JOB, tasks=20_000)
    assert stages(many, COSTS, 4096)["affinity"].limit == "the driver, which adds"


def test_workers_share_each_batch_so_that_steps_do_not_become_fewer() -> None:
    steps = math.ceil(JOB.rows / JOB.batch)
    seconds, n, _ = fastest_epoch(JOB, 8)
    assert n == 8
    assert seconds == pytest.approx(JOB.rows * JOB.row / 8 + steps * all_reduce(JOB.parameters, 8))
    slow_exchange = replace(JOB, row=1e-6)
    assert fastest_epoch(slow_exchange, 4096)[1] == 1, "a step is over before its gradients could be exchanged"
