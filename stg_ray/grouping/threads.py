"""Threads of the driver: large matrices side by side, and each of them by one thread.

BLAS and LAPACK by several threads are no faster for matrices of up to a thousand tasks, and the many small
factorisations are several times slower (34 s instead of 11 s for a thousand tasks on two cores). Side by side, the
parts that release Python's lock overlap, which saves a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

from stg_ray.cluster.placement import cpus_here

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")
Result = TypeVar("Result")

FEW_TASKS = 300
"""Below this many, threads wait for Python's lock most of the time: one is faster."""


def one_thread_each(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function to run with BLAS and OpenMP at one thread, whatever the environment says."""

    @wraps(function)
    def limited(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with threadpool_limits(limits=1):
            return function(*args, **kwargs)

    return limited


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], *, n_tasks: int) -> list[Result]:
    """Apply `work` to each item and return the results in their order.

    Args:
        work: on matrices of `n_tasks` tasks; it runs in threads where there are `FEW_TASKS` or more.
        items: arguments of `work`.
        n_tasks: K.
    """
    if n_tasks < FEW_TASKS:
        return [work(item) for item in items]
    with ThreadPoolExecutor(cpus_here()) as pool:
        return list(pool.map(work, items))
