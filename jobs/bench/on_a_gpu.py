"""Profiling, the landscape affinity and small networks on one GPU, against a bare loop, a CPU, and what the GPU can do.

    python -m jobs.bench.on_a_gpu [--quick] [--only profile|landscape|networks]

    profile    images a second on random 32x32 images, K = 100 binary tasks, the small CNN and ResNet-18: a bare loop
               (forward, loss, backward, step) that takes its batches as we do, our training loop with and without the
               recorder, and the profile stage with one worker by the seconds it measures itself
    landscape  ms a sample of the distances in all layers, K = 15 and 100, and the roofline: the time that the
               operations (2 for each multiplication with its addition, 4 for each difference and its sum, which the
               GPU does at half that rate) take at the rate of a large product in float32, measured in the same run
    networks   40 networks of an MLP on random rows of yeast's size (103 features, 14 tasks), trained in step and one by
               one in one process on the GPU, widths 16 and 256, and what a CPU thread takes for them in step

The sides take turns; what is printed are medians. Every time is taken when the GPU is done.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs.bench import profile_throughput, small_networks
from jobs.bench.landscape_affinity import Rows, network_of, random_set
from jobs.bench.measure import alternate, show, timed
from stg_ray.affinities.aligned import aligned_l1, pairwise_l1
from stg_ray.affinities.gradients.per_sample import MEMORY_ON_GPU, SampleGradients
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.loading import load_config, set_values
from stg_ray.data.parts import write_parts
from stg_ray.models.outputs import as_labels
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_networks
from stg_ray.tasks import TaskSet
from stg_ray.training.auto import resolve_recipe
from stg_ray.training.compute import exact_float32

N_TASKS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", choices=list(PARTS), help="one part of it")
    arguments = parser.parse_args()
    name = torch.cuda.get_device_name()
    rows: Rows = []
    result: dict[str, Any] = {"benchmark": "on_a_gpu", "quick": arguments.quick, "gpu": name}
    for part in [arguments.only] if arguments.only else PARTS:
        more, own = PARTS[part](arguments.quick)
        print(part, own, flush=True)
        rows += more
        result[part] = own
    show(f"On one {name}", rows, result)


def profile(quick: bool) -> tuple[Rows, dict]:
    rows: Rows = []
    found: dict[str, Any] = {}
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as run:
        profile_throughput.lay_out(run, 2048 if quick else 16384, N_TASKS)
        for trunk in ("cnn", "resnet18"):
            sides = profile_throughput.Sides(run, "cuda", trunk)
            sides.bare(), sides.recorded()  # the first call of a kernel loads it
            speed = alternate({"bare": sides.bare, "no record": sides.unrecorded, "loop": sides.recorded}, rounds)
            speed["worker"] = profile_throughput.profiled(run, 1, trunk)
            rows += [(f"{trunk}: {side}", f"{value:,.0f} images/s", "") for side, value in speed.items()]
            rows += [(f"{trunk}: {s} / bare", f"{speed[s] / speed['bare']:.2f}", "0.90") for s in ("loop", "worker")]
            found[trunk] = speed
    return rows, found


def landscape(quick: bool) -> tuple[Rows, dict]:
    with exact_float32():
        peak = product_rate()
    rows: Rows = [("float32 products of 8192 x 8192", f"{peak / 1e12:.1f} TFLOP/s", "")]
    found: dict[str, Any] = {"peak": peak}
    for n_tasks in (15, N_TASKS):
        task_set = random_set((3, 32, 32), n_tasks, 256)
        network = network_of(task_set, {"trunk": "cnn", "width": 180})
        inputs, labels = torch.tensor(task_set.inputs), as_labels(torch.tensor(task_set.labels))
        on_gpu = SampleGradients(network.to("cuda"), "all", inputs[:2].cuda(), memory=MEMORY_ON_GPU)
        on_cpu = SampleGradients(network.to("cpu"), "all", inputs[:2])
        n = min(on_gpu.rows, 16 if quick else 256)
        x, y = inputs[:n].cuda(), labels[:n].cuda()
        speed = alternate(
            {
                "cpu": lambda e=on_cpu, i=inputs, t=labels: timed(lambda: distances(e, i[:2], t[:2])) / 2,
                "gpu": lambda e=on_gpu, x=x, y=y: once(lambda: distances(e, x, y)) / len(x),
            },
            2 if quick else 5,
        )
        pairs = n_tasks * (n_tasks - 1) // 2
        compared = sum(layer.n_rows if layer.closed_form else layer.n_coordinates for layer in on_gpu.layers)
        speed["floor"] = (products(on_cpu, inputs, labels) + 4 * pairs * compared) / peak
        values = torch.randn(8, n_tasks, 2**18, device="cuda")
        seconds = min(once(lambda v=values: pairwise_l1(v)) for _ in range(5))
        speed["of distances alone"] = 4 * pairs * 8 * 2**18 / peak / seconds
        text = f"{1000 * speed['gpu']:.2f} ms a sample in batches of {n} (one CPU thread: {1000 * speed['cpu']:.0f} ms)"
        rows += [
            (f"landscape, K = {n_tasks}, {compared:,} coordinates", text, ""),
            (f"landscape, K = {n_tasks}: share of the roofline", f"{speed['floor'] / speed['gpu']:.2f}", "0.70"),
            (f"distances alone, K = {n_tasks}: share of it", f"{speed['of distances alone']:.2f}", ""),
        ]
        found[str(n_tasks)] = speed
    return rows, found


@torch.no_grad()
def distances(engine: SampleGradients, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return aligned_l1(engine, inputs, labels)


def products(engine: SampleGradients, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Floating-point operations of a sample in matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        distances(engine, inputs[:2], labels[:2])
    return float(counter.get_total_flops()) / 2


def networks(quick: bool) -> tuple[Rows, dict]:
    rows: Rows = []
    found: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(2400, 103)).astype(np.float32)
    labels = (inputs @ rng.normal(size=(103, 14)) + 5 * rng.normal(size=(2400, 14)) > 0).astype(np.int8)
    tasks = TaskSet.from_arrays(inputs, labels)
    for width in (16, 256):
        given = {"data": {"npz": "random"}, "model": {"width": width}, "retrain": {"epochs": 2 if quick else 8}}
        config = resolve_recipe(load_config(given), inputs.shape[1:])
        single = set_values(config, ["retrain.stacked=never"])
        chosen = small_networks.specs_of(list(tasks.names), 4 if quick else 40, config.retrain.epochs)
        specs = [replace(spec, probe=True) for spec in chosen]
        with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder:
            run = RunDir(folder)
            write_parts(tasks, run.sub("parts"))
            trained(run, config, specs, "cuda")  # the first call of a kernel loads it
            speed = alternate(
                {
                    "in step": partial(trained, run, config, specs, "cuda"),
                    "one by one": partial(trained, run, single, specs, "cuda"),
                    "in step, one CPU thread": partial(trained, run, config, specs, "cpu"),
                },
                2 if quick else 3,
            )
        what = f"{len(specs)} networks, width {width}"
        rows += [(f"{what}: {side}", f"{value:.2f} s", "") for side, value in speed.items()]
        rows.append((f"width {width}: one by one / in step", f"{speed['one by one'] / speed['in step']:.1f}", "6"))
        found[f"width {width}"] = speed
    return rows, found


def trained(run: RunDir, config: Config, specs: list[NetworkSpec], device: str) -> float:
    """Seconds that the networks take."""
    run.delete(".networks")
    return timed(lambda: train_networks(run, config, specs, device=device, report=lambda *_: None))


def product_rate() -> float:
    """Floating-point operations a second of a large product of random matrices."""
    a, b = (torch.randn(8192, 8192, device="cuda") for _ in range(2))
    return 2 * 8192**3 / min(once(lambda: a @ b) for _ in range(5))


def once(work: Callable[[], object]) -> float:
    """Seconds that it takes, by the GPU's clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000


PARTS: dict[str, Callable[[bool], tuple[Rows, dict]]] = {
    "profile": profile,
    "landscape": landscape,
    "networks": networks,
}

if __name__ == "__main__":
    main()
