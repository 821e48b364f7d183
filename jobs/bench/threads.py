"""How many threads pay in a training step on CPUs: one against all, alone and beside a process that computes.

    python -m jobs.bench.threads [--quick]

Steps of the all-task network, by the default recipe, on noise in the shapes of known sets: forward, backward and the
optimiser. The median of rounds in which one thread and as many as there are CPUs take turns. The last column is the
number that `training.auto.threads_that_pay` gives a single worker of the profile here.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from jobs.bench.measure import alternate, show
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.tasks import TaskSet
from stg_ray.training.auto import resolve_recipe, threads_that_pay
from stg_ray.training.optimization import OPTIMIZERS

SHAPES: dict[str, tuple[tuple[int, ...], int, int]] = {
    "images 8 x 8": ((1, 8, 8), 10, 64),
    "yeast": ((103,), 14, 64),
    "150 features": ((150,), 40, 256),
    "bibtex": ((1836,), 159, 64),
    "2,048 bits": ((2048,), 12, 256),
    "images 32 x 32": ((3, 32, 32), 15, 64),
}
"""Shape of an input, tasks, and rows of a step."""
SECONDS = 1.0
"""Of steps for each side in each round."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter, to see that it works")
    seconds, rounds = (0.1, 1) if parser.parse_args().quick else (SECONDS, 3)
    cpus = len(os.sched_getaffinity(0))
    table, result = [], {}
    for name, (shape, n_tasks, rows) in SHAPES.items():
        step, pay = training_step(shape, n_tasks, rows, cpus)
        found = {}
        for state in ("alone", "beside another"):
            other = multiprocessing.Process(target=compute, daemon=True)
            if state != "alone":
                other.start()
            sides = {f"{n} threads": partial(step_seconds, step, n, seconds) for n in (1, cpus)}
            one, several = alternate(sides, rounds).values()
            found[state] = {"one_ms": round(1e3 * one, 2), "all_ms": round(1e3 * several, 2)}
            if state != "alone":
                other.kill()
        text = ", ".join(
            f"{state} {value['one_ms']:.1f} against {value['all_ms']:.1f} ms" for state, value in found.items()
        )
        table.append((f"{name}, {rows} rows", text, f"{pay} of {cpus} threads"))
        result[name] = found | {"threads": pay}
    show(f"one thread against {cpus}", table, result)


def training_step(shape: tuple[int, ...], n_tasks: int, rows: int, cpus: int) -> tuple[Callable[[], None], int]:
    """A step of training, and the threads that it gets."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (400, *shape), np.uint8) if len(shape) > 1 else rng.normal(size=(400, *shape))
    task_set = TaskSet.from_arrays(inputs, rng.integers(0, 2, (400, n_tasks)))
    index = index_of(task_set)
    config = resolve_recipe(load_config({"data": {"npz": "noise"}}), index.input_shape)
    network = build_network(config.model, index, index.tasks, 0)
    optimizer = OPTIMIZERS[config.profile.optimizer](network.parameters(), lr=1e-3)
    batch = torch.from_numpy(np.asarray(task_set.inputs[:rows], np.float32))

    def step() -> None:
        optimizer.zero_grad()
        network(batch).square().mean().backward()
        optimizer.step()

    return step, threads_that_pay(network, index.input_shape, rows, cpus)


def step_seconds(step: Callable[[], None], threads: int, seconds: float) -> float:
    """Seconds of a step, from steps of so many seconds."""
    torch.set_num_threads(threads)
    for _ in range(3):
        step()
    began, n_steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        n_steps += 1
    return (time.perf_counter() - began) / n_steps


def compute() -> None:
    """Keep a CPU busy."""
    while True:
        sum(range(10_000))


if __name__ == "__main__":
    main()
