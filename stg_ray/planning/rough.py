"""Rough times of the stages that are not timed by training steps, from what was measured of them on two cores."""

from __future__ import annotations

from stg_ray.affinities.estimators import estimators_of
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.samples import parts_looked_at, rows_per_part
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex
from stg_ray.planning.timing import START_SECONDS, Pace
from stg_ray.training.looks import look_steps

LAYOUT_SECONDS = 1e-7
"""Of a number in inputs or labels: CIFAR-100 takes 19 s, a million rows with 64 features and 1,000 tasks 101 s
(jobs/bench/data_layout.py)."""
GROUPING_SECONDS = 5.5e-6
"""Of a pair of tasks: 1,000 tasks take 5 s, 3,000 take 45 (jobs/bench/grouping.py)."""
REPORT_SECONDS = 0.5
"""Of the page, and as much for every 50 tasks."""
BACKWARD = 2 / 3
"""Share of a training step's time that is spent backwards."""
TRAINS = ("tag", "transfer_gain", "etap")
"""Affinities of looks at what every task's step does to all others."""


def layout_seconds(index: PartIndex) -> float:
    """Return the seconds of laying a task set out."""
    numbers = 1
    for size in index.input_shape:
        numbers *= size
    return LAYOUT_SECONDS * sum(map(sum, index.rows.values())) * (numbers + len(index.names))


def rows_looked_at(config: Config, index: PartIndex) -> int:
    """Return the number of training rows whose gradients are compared, at most."""
    parts, per_part = parts_looked_at(config.affinity, index), rows_per_part(config.affinity, index)
    return sum(min(per_part, rows) for rows in index.rows["train"][:parts])


def affinity_seconds(config: Config, index: PartIndex, pace: Pace, profile: float, cpus: int) -> float:
    """Return the seconds of all affinities.

    Args:
        profile: seconds of the profile, which trains as long as those of `TRAINS` do.
    """
    n_tasks = len(index.names)
    seconds = START_SECONDS
    for name, estimator in estimators_of(config.affinity, index).items():
        if issubclass(estimator, GradientEstimator):  # a pass backwards for each task
            seconds += rows_looked_at(config, index) * n_tasks * BACKWARD * pace.step[1] / cpus
        elif name in TRAINS and name not in config.profile.looks:
            seconds += profile * (1 + look_steps(name, n_tasks) / config.affinity.tag_every)
    return seconds


def grouping_seconds(n_tasks: int) -> float:
    """Return the seconds of grouping."""
    return GROUPING_SECONDS * n_tasks**2


def report_seconds(n_tasks: int) -> float:
    """Return the seconds of the page."""
    return REPORT_SECONDS * (1 + n_tasks / 50)
