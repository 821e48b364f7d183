"""Omniglot by one initialisation for all alphabets, 5-way within an alphabet: how well does it adapt?

    python -m jobs.bench.meta_omniglot DATA_ROOT [--minutes 5 10 20 40]

It is trained on 40 alphabets without a quarter of their characters, by ANIL, on drawings that are turned, scaled
and moved a little at random: the accuracy on drawings of five people that no training has seen, of the characters of
the training, of the others, and of the ten other alphabets, after minutes of one thread's work (whatever else the
machine does; the learning rate falls until the last), and at the end by the numbers of steps and of shots.
Whether groups of alphabets help is what `meta_sets` says.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jobs.bench.measure import show
from stg_ray.data.omniglot import omniglot
from stg_ray.meta import LEARNERS, Episodes, Initialisation, Sampler, after_steps, train
from stg_ray.tasks import TaskSet

STEPS, TESTED, WAYS, RATE = 3, 600, 5, 2e-3
OTHER_ALPHABETS, EVERY = 10, 4
"""Alphabets that no training has; which of the characters of the others it does not have: every fourth."""
SEEN, NEW, OTHERS = "characters of the training", "other characters", "other alphabets"


def trunk(input_shape: tuple[int, ...], width: int = 32, *, norm: bool = True) -> nn.Module:
    """Three convolutions with strides instead of pooling, as Finn et al. 2017 (section 5.2) have them for Omniglot."""
    layers: list[nn.Module] = []
    for channels in (input_shape[0], width, width):
        layers.append(nn.Conv2d(channels, width, 3, stride=2, padding=1))
        layers += [nn.GroupNorm(1, width), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


def small_cnn(width: int = 32, *, norm: bool = True) -> nn.Module:
    made = nn.Sequential()
    made.add_module("trunk", trunk((1, 28, 28), width, norm=norm))
    made.add_module("heads", nn.Linear(width * 4 * 4, WAYS))
    return made


def pooled_cnn(width: int = 32) -> nn.Module:
    """Four convolutions, of which the first has a stride and two are pooled: slower a step, and better."""
    layers: list[nn.Module] = []
    for channels, stride, pool in ((1, 2, False), (width, 1, True), (width, 1, True), (width, 1, False)):
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.GroupNorm(1, width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
    made = nn.Sequential()
    made.add_module("trunk", nn.Sequential(*layers, nn.Flatten()))
    made.add_module("heads", nn.Linear(width * 3 * 3, WAYS))
    return made


def accuracy(start: Initialisation, data: Episodes, steps: int) -> str:
    """Share of right query rows after so many steps, with the margin of 95 % over episodes."""
    outputs = after_steps(start, LEARNERS["anil"](STEPS), data, [steps])[steps]
    right = (outputs.argmax(dim=2) == data.query_labels).float().mean(dim=1)
    return f"{right.mean():.3f} +- {1.96 * right.std() / len(right) ** 0.5:.3f}"


def parts_of(tasks: TaskSet) -> dict[str, tuple[TaskSet, list[int]]]:
    """Cut the set: the same rows, with the labels of some characters, and the alphabets that have enough of these."""
    labels = np.asarray(tasks.labels)
    others = np.random.default_rng(0).choice(labels.shape[1], OTHER_ALPHABETS, replace=False)
    is_other = np.isin(np.arange(labels.shape[1]), others)
    is_new = ~is_other & (labels % EVERY == EVERY - 1)
    found = {}
    for name, own in ((SEEN, ~is_other & ~is_new), (NEW, is_new), (OTHERS, np.broadcast_to(is_other, labels.shape))):
        kept = np.where(own, labels, -1).astype(labels.dtype)
        enough = [t for t in range(labels.shape[1]) if len(np.unique(kept[kept[:, t] >= 0, t])) >= WAYS]
        found[name] = replace(tasks, labels=kept), enough
    return found


def moved(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Turn, scale, shear and shift images (..., 1, 28, 28), each by its own draw."""
    flat = images.reshape(-1, *images.shape[-3:])
    angle, shear, scale = (rng.uniform(-w, w, len(flat)) for w in (0.15, 0.1, 0.1))
    shift = rng.uniform(-0.1, 0.1, (2, len(flat)))
    rows = [
        [(1 + scale) * np.cos(angle), (1 + scale) * (shear - np.sin(angle)), shift[0]],
        [(1 + scale) * np.sin(angle), (1 + scale) * np.cos(angle), shift[1]],
    ]
    maps = torch.from_numpy(np.array(rows, dtype=np.float32)).permute(2, 0, 1)
    grid = functional.affine_grid(maps, list(flat.shape), align_corners=False)
    return functional.grid_sample(flat, grid, align_corners=False).reshape(images.shape)


def one_for_all(root: str, minutes: list[float], rows: list[tuple[str, str, str]], result: dict[str, Any]) -> None:
    tasks = omniglot(Path(root), 0)
    parts = parts_of(replace(tasks, inputs=np.asarray(tasks.inputs, dtype=np.float32) / 255))
    sizes = {"ways": WAYS, "queries": 5}
    sampler = Sampler(*parts[SEEN], "train", shots=5, **sizes)
    tests = {
        (name, shots): Sampler(*parts[name], "train", shots=shots, query_split="test", **sizes).draw(
            TESTED, np.random.default_rng(13)
        )
        for name in parts
        for shots in (1, 5, 10)
    }
    torch.manual_seed(0)
    start, learner = Initialisation(pooled_cnn(), 0.1), LEARNERS["anil"](STEPS, learn_rates=True)
    rng, spent, steps = np.random.default_rng(12), 0.0, 0
    steppers: list[torch.optim.Optimizer] = []

    def optimizer(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
        steppers[:] = steppers or [torch.optim.Adam(tensors, lr=RATE)]
        return steppers[0]

    def batches(until: float) -> Iterator[Episodes]:
        nonlocal spent, steps
        began, before = time.process_time(), spent
        while spent < 60 * until:
            for group in steppers[0].param_groups:
                group["lr"] = RATE * max(0.01, (1 + math.cos(math.pi * spent / 60 / max(minutes))) / 2)
            drawn = sampler.draw(16, rng)
            yield replace(drawn, support=moved(drawn.support, rng), query=moved(drawn.query, rng))
            spent, steps = before + time.process_time() - began, steps + 1

    for minute in minutes:
        train(start, learner, batches(minute), optimizer)
        for name in parts:
            text = f"{minute:g} minutes, {steps} steps of 16 episodes: {name}"
            rows.append((text, accuracy(start, tests[name, 5], STEPS), "0.95 in 40" if name == SEEN else ""))
            print(*rows[-1], flush=True)
    for (name, shots), test in tests.items():
        rows += [(f"{name}: {shots} shots, {n} steps", accuracy(start, test, n), "") for n in (1, STEPS, 10)]
    result["accuracy"] = {what: text for what, text, _ in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder of omniglot/omniglot28.npz")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 10, 20, 40], help="of one thread's work")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {"benchmark": "meta_omniglot"}
    one_for_all(arguments.root, arguments.minutes, rows, result)
    show("Omniglot by initialisations", rows, result)


if __name__ == "__main__":
    main()
