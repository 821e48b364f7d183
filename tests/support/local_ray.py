"""A local Ray as a run starts it, with as many CPUs in name as a test needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from stg_ray.cluster import forks
from stg_ray.cluster.own_ray import PARAMETERS, with_parameters
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """Start it, and end it at the end of the block."""
    os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
    import ray

    with with_parameters(**PARAMETERS, include_log_monitor=False, **forks.start()):
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    forks.ray_is_up()
    try:
        yield
    finally:
        ray.shutdown()
        forks.end()
