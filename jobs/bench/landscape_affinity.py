"""Speed and memory of the landscape engine: against loops of per-sample gradients, and against TAG.

    STG_RAY_DATA=... python -m jobs.bench.landscape_affinity [--quick] [--only PART]...

Two threads of one process, the sides in turn, medians of seconds per sample:

    cnn       small CNN (462,000 parameters, 32x32 images), all its layers, K = 15 and 100, against torch.func's
              per-sample gradients and pairwise L1 distances of them, materialised a task against all others at a time
    mlp       an MLP on 500 features with 983 tasks (the size of delicious), against the same loop
    sign      sums of signs on a linear layer, against the loop over samples and tasks
    memory    peak of anonymous memory beyond the model, ResNet-18 (CIFAR form), K = 100, all its layers
    tag       15 classes of CIFAR-100 in three super-classes: the seconds that TAG and the landscape take, each with
              the fewest steps or samples whose groups agree (ARI 0.9) with those of four times as many
    actors    two actors of the affinity stage against two independent processes, units per second between the first
              and the last
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.func import functional_call, grad, vmap

from jobs.bench.measure import alternate, run_measured, show, timed
from jobs.bench.tag_yardstick import tag
from stg_ray.affinities.actor import AffinityActor, partial_name
from stg_ray.affinities.aligned import aligned_l1, squared_form
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.pool import ActorPool
from stg_ray.affinities.sign import SignAffinity
from stg_ray.affinities.summed import Block
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.session import session
from stg_ray.config import ModelConfig
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of, read_index, write_parts
from stg_ray.models import TaskNetwork, build_network, load_weights, save_network
from stg_ray.models.outputs import as_labels
from stg_ray.progress import Reporter
from stg_ray.tasks import TaskSet

Rows = list[tuple[str, str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="some parts of it")
    parser.add_argument(
        "--resnet", metavar="N", type=int, help=argparse.SUPPRESS
    )  # the process whose memory is measured
    parser.add_argument("--process", nargs=3, metavar=("RUN", "FIRST", "STEP"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resnet is not None:
        resnet(arguments.resnet)
        return
    if arguments.process:
        process_of_units(*arguments.process)
        return
    torch.set_num_threads(2)
    rows: Rows = []
    result: dict[str, Any] = {"benchmark": "landscape_affinity", "quick": arguments.quick, "cpus": os.cpu_count()}
    for name in arguments.only or PARTS:
        more, own = PARTS[name](arguments.quick)
        rows += more
        result[name] = own
    show("Landscape affinity", rows, result)


def cnn(quick: bool) -> tuple[Rows, dict]:
    rows: Rows = []
    found: dict[str, Any] = {}
    for n_tasks, expected in ((15, 12), (100, 20)):
        task_set = random_set((3, 32, 32), n_tasks, 64)
        network = network_of(task_set, {"trunk": "cnn", "width": 180})
        n, n_loop = (4, 2) if quick else ((32, 4) if n_tasks == 15 else (16, 1))
        speed = sides(network, task_set, n, n_loop, rounds=1 if quick else 5)
        ratio = speed["loop"] / speed["ours"]
        parameters = sum(p.numel() for p in network.trunk.parameters())
        rows.append(
            (
                f"cnn, {parameters:,} shared parameters, K = {n_tasks}: loop / ours",
                f"{ratio:.1f} ({1000 * speed['loop']:.0f} and {1000 * speed['ours']:.1f} ms a sample)",
                f"{expected}",
            )
        )
        share = speed["distances"] / speed["ours"]
        rows.append((f"cnn, K = {n_tasks}: share of the distances alone", f"{share:.0%}", ""))
        found[str(n_tasks)] = {**speed, "ratio": ratio}
    return rows, found


def mlp(quick: bool) -> tuple[Rows, dict]:
    n_tasks = 100 if quick else 983
    task_set = random_set((500,), n_tasks, 64)
    network = network_of(task_set, {"trunk": "mlp", "width": 128})
    speed = sides(network, task_set, 16, 1, rounds=1 if quick else 3)
    ratio = speed["loop"] / speed["ours"]
    text = f"{ratio:.0f} ({speed['loop']:.1f} s and {1000 * speed['ours']:.1f} ms a sample)"
    return [(f"mlp, K = {n_tasks}: loop / ours", text, "200")], {**speed, "ratio": ratio}


def sides(network: TaskNetwork, task_set: TaskSet, n: int, n_loop: int, rounds: int) -> dict[str, float]:
    """Seconds a sample of the loop, of the engine, and of the engine's distances alone."""
    inputs, labels = torch.tensor(task_set.inputs), as_labels(torch.tensor(task_set.labels))
    engine = SampleGradients(network, "all", inputs[:2])
    n_tasks = len(task_set.tasks)
    expected = loop(network, inputs[:1], labels[:1])
    with torch.no_grad():
        found = squared_form(aligned_l1(engine, inputs[:1], labels[:1]), n_tasks)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    widths = [layer.n_rows if layer.closed_form else layer.n_coordinates for layer in engine.layers]
    block = torch.randn(n_tasks, max(64, 2**20 // (4 * n_tasks)))

    def ours() -> float:
        with torch.no_grad():
            return timed(lambda: aligned_l1(engine, inputs[:n], labels[:n])) / n

    def distances() -> float:
        """The same number of differences, from values that are in the cache."""
        return timed(lambda: [torch.pdist(block, 1) for _ in range(max(1, n * sum(widths) // block.shape[1]))]) / n

    ours(), distances()
    return alternate(
        {
            "loop": lambda: timed(lambda: loop(network, inputs[:n_loop], labels[:n_loop])) / n_loop,
            "ours": ours,
            "distances": distances,
        },
        rounds,
    )


@torch.no_grad()  # nothing is kept for a backward pass through the heads
def loop(network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(n, K, K): per-sample gradients of one task after the other by torch.func, then distances pair by pair."""
    parameters = {name: p.detach() for name, p in network.trunk.named_parameters()}

    def loss_of(own: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, task: int) -> torch.Tensor:
        features = functional_call(network.trunk, own, (network.normalize(x[None]),))
        outputs = network.heads(features)[:, task]
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs, y[None, task])

    by_task = []
    for task in range(labels.shape[1]):
        found = vmap(grad(loss_of), (None, 0, 0, None))(parameters, inputs, labels, task)
        by_task.append(torch.cat([g.flatten(1) for g in found.values()], dim=1))
    gradients = torch.stack(by_task, dim=1)
    result = gradients.new_zeros(len(inputs), labels.shape[1], labels.shape[1])
    for task in range(labels.shape[1] - 1):
        distances = (gradients[:, task + 1 :] - gradients[:, task, None]).abs().sum(dim=2)
        result[:, task, task + 1 :] = distances
        result[:, task + 1 :, task] = distances
    return result


def sign(quick: bool) -> tuple[Rows, dict]:
    """At the width of the mlp's layers by default, and at a wide one, where arithmetic is all that counts."""
    rows: Rows = []
    found = {}
    for width, expected in ((128, "100"), (512, "")):
        speed = sign_of(width, quick)
        text = f"{speed['ratio']:.0f} ({1000 * speed['loop']:.1f} and {1000 * speed['ours']:.2f} ms a sample)"
        rows.append((f"sign, linear layer of {width} x {width}, K = 100: loop / ours", text, expected))
        found[str(width)] = speed
    return rows, found


def sign_of(width: int, quick: bool) -> dict[str, float]:
    n = 32 if quick else 256
    task_set = random_set((width,), 100, n)
    network = network_of(task_set, {"trunk": "mlp", "width": width})
    inputs, labels = torch.tensor(task_set.inputs), as_labels(torch.tensor(task_set.labels))
    engine = SampleGradients(network, "last", inputs[:2])
    weights = torch.rand(labels.shape)
    layer = engine.layers[0]
    block = Block(layer.name, 0, layer.n_rows)

    def looped(samples: int) -> torch.Tensor:
        """One backward pass and one gradient after the other."""
        module = network.trunk.get_submodule(layer.name)
        parameters = list(module.parameters(recurse=False))
        sums = torch.zeros(labels.shape[1], layer.n_rows, layer.row_size)
        for i in range(samples):
            losses = network.layout.losses(network(inputs[i : i + 1]), labels[i : i + 1])[0]
            for t in range(labels.shape[1]):
                weight, bias = torch.autograd.grad(losses[t], parameters, retain_graph=True)
                sums[t] += weights[i, t] * torch.cat([weight, bias[:, None]], dim=1).sign()
        return sums.flatten(1)

    def ours(samples: int) -> torch.Tensor:
        with torch.no_grad():
            return SignAffinity.sums_of(engine, block, inputs[:samples], labels[:samples], weights[:samples])

    torch.testing.assert_close(ours(2), looped(2), rtol=1e-3, atol=1e-3)
    n_loop = max(1, n // 16)
    speed = alternate(
        {"loop": lambda: timed(lambda: looped(n_loop)) / n_loop, "ours": lambda: timed(lambda: ours(n)) / n},
        1 if quick else 5,
    )
    return {**speed, "ratio": speed["loop"] / speed["ours"]}


def memory(quick: bool) -> tuple[Rows, dict]:
    n = 1 if quick else 2
    _, base = run_measured(["-m", "jobs.bench.landscape_affinity", "--resnet", "0"])
    seconds, peak = run_measured(["-m", "jobs.bench.landscape_affinity", "--resnet", str(n)])
    text = f"{peak - base:.0f} MiB ({peak:.0f} with the model and its copy; {seconds / n:.0f} s a sample, one thread)"
    return [("ResNet-18, K = 100, all layers: memory beyond the model", text, "1024 MiB")], {"MiB": peak - base}


def resnet(n: int) -> None:
    """The process whose memory is measured: without samples, what there is before the first one."""
    torch.set_num_threads(1)
    task_set = random_set((3, 32, 32), 100, 20)
    network = network_of(task_set, {"trunk": "resnet18"})
    inputs, labels = torch.tensor(task_set.inputs), as_labels(torch.tensor(task_set.labels))
    if n == 0:
        return
    engine = SampleGradients(network, "all", inputs[:2])
    with torch.no_grad():
        for rows in range(0, n, engine.rows):
            own = slice(rows, min(rows + engine.rows, n))
            aligned_l1(engine, inputs[own], labels[own])


def actors(quick: bool) -> tuple[Rows, dict]:
    n_units = 8 if quick else 48
    rounds = 1 if quick else 5
    task_set = random_set((3, 32, 32), 15, round(8 * n_units / 0.7))
    settings = {"methods": ["landscape"], "layers": "all", "samples": 8 * n_units}
    config = load_config({"data": {"npz": "none"}, "model": {"width": 180}, "affinity": settings})
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder, session(None):
        run = RunDir(folder)
        index = write_parts(task_set, run.sub("parts"), part_rows=8)
        network = build_network(config.model, index, index.tasks, 0)
        save_network(run, "profile/network.pt", network)
        run.write_bytes("bench.yaml", config.to_yaml().encode())
        quiet = Reporter(Console(quiet=True))
        jobs = [("landscape", number) for number in range(read_index(run.sub("parts")).n_parts())]

        def two_actors() -> float:
            run.delete("affinity/partials")
            with quiet.stage("affinity") as progress, ActorPool(run, config, network.state_dict(), progress) as pool:
                pool.compute(jobs, 0, len(jobs))
            return rate(run, jobs)

        def two_processes() -> float:
            run.delete("affinity/partials")
            command = [sys.executable, "-m", "jobs.bench.landscape_affinity", "--process", folder]
            both = [subprocess.Popen([*command, str(first), "2"]) for first in range(2)]
            if any(process.wait() for process in both):
                raise SystemExit("a process failed")
            return rate(run, jobs)

        speed = alternate({"actors": two_actors, "processes": two_processes}, rounds)
    ratio = speed["actors"] / speed["processes"]
    text = f"{ratio:.2f} ({speed['actors']:.2f} and {speed['processes']:.2f} units a second)"
    return [("two actors / two processes: units a second", text, "0.95")], {**speed, "ratio": ratio}


def process_of_units(folder: str, first: str, step: str) -> None:
    config = load_config(f"{folder}/bench.yaml")
    worker = AffinityActor(folder, config.model_dump())
    worker.load(load_weights(worker.run, "profile/network.pt"))
    for number in range(int(first), read_index(Storage(folder).sub("parts")).n_parts(), int(step)):
        worker.partial("landscape", number, [])


def rate(run: Storage, jobs: list[tuple[str, int]]) -> float:
    """Units a second after the first two, by the times at which their files were written."""
    times = sorted(os.stat(run.path(partial_name(*job))).st_mtime for job in jobs)
    return (len(times) - 2) / (times[-1] - times[1])


def random_set(shape: tuple[int, ...], n_tasks: int, n: int) -> TaskSet:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(n, *shape)).astype(np.float32)
    labels = rng.integers(0, 2, (n, n_tasks)).astype(np.int8)
    labels[0], labels[1] = 0, 1
    return TaskSet.from_arrays(inputs, labels, kinds=["binary"] * n_tasks)


def network_of(task_set: TaskSet, model: dict[str, Any]) -> TaskNetwork:
    index = index_of(task_set)
    return build_network(ModelConfig(**model), index, index.tasks, 0).eval()


PARTS: dict[str, Callable[[bool], tuple[Rows, dict]]] = {
    "cnn": cnn,
    "mlp": mlp,
    "sign": sign,
    "memory": memory,
    "tag": tag,
    "actors": actors,
}

if __name__ == "__main__":
    main()
