"""Precision, memory format and compilation change the speed of a training, and its results by rounding only."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from stg_ray.config import Config
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.compute import Compute
from stg_ray.training.evaluation import evaluate
from stg_ray.training.trainer import Rows, Trainer


def trained(trunk: str, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and task losses after two epochs on images whose mean decides the labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (96, 3, 8, 8), dtype=np.uint8)
    labels = np.stack([images[:, c].mean(axis=(1, 2)) > 127 for c in range(3)], axis=1).astype(np.int8)
    index = index_of(TaskSet.from_arrays(images, labels))
    config = Config.model_validate({"data": {"npz": "x"}, "model": {"trunk": trunk, "width": 16}})
    trainer = Trainer(
        build_network(config.model, index, index.tasks, 0),
        Rows(torch.from_numpy(images), torch.from_numpy(labels), np.arange(96)),
        CommonBatches(96, 16, labels_per_sample=3, draws=Draws(0, Stream.PROFILE_BATCHES)),
        config.profile.model_copy(update={"epochs": 2, "lr": 5e-3, "weight_decay": 1e-4, **settings}),
    )
    losses = [trainer.epoch(epoch) for epoch in (1, 2)]
    return trainer.evaluate(torch.from_numpy(images)), losses[-1]


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [({"memory_format": "channels_last"}, 1e-3), ({"precision": "bf16", "memory_format": "channels_last"}, 0.2)],
    ids=["channels_last", "bf16"],
)
def test_the_same_training_but_for_rounding(settings: dict[str, str], tolerance: float) -> None:
    outputs, losses = trained("cnn")
    other, other_losses = trained("cnn", **settings)
    assert other.dtype == torch.float32
    torch.testing.assert_close(other_losses, losses, rtol=tolerance, atol=0)
    torch.testing.assert_close(other, outputs, rtol=tolerance, atol=tolerance)
    assert not torch.equal(other, outputs), "the setting is read"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs")
def test_compiled_is_the_same_training() -> None:
    outputs, losses = trained("mlp")
    other, other_losses = trained("mlp", compile=True)
    torch.testing.assert_close(other_losses, losses, rtol=1e-3, atol=0)
    torch.testing.assert_close(other, outputs, rtol=1e-2, atol=1e-2)


def test_outputs_in_bf16_are_not_steps() -> None:
    """Heads are in float32: a thousand random images have as many different outputs."""
    index = index_of(TaskSet.from_arrays(np.zeros((20, 3, 8, 8), np.uint8), np.arange(20)[:, None] // 3 % 2))
    network = build_network(
        Config.model_validate({"data": {"npz": "x"}, "model": {"trunk": "cnn", "width": 16}}).model,
        index,
        index.tasks,
        0,
    )
    images = torch.randint(0, 256, (1000, 3, 8, 8), dtype=torch.uint8)
    outputs = evaluate(network, images, compute=Compute(bf16=True, channels_last=True))
    assert len(outputs[:, 0].unique()) > 990


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc on Linux only"
)
def test_a_training_keeps_its_memory_until_it_ends() -> None:
    """Steps in a thread, as Ray runs them: without that, every one takes thousands of pages from the system again."""
    program = """
import resource, sys, threading
from contextlib import nullcontext
import torch
from torch import nn
from stg_ray.training.compute import training_process

torch.set_num_threads(1)

def work():
    trunk = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.MaxPool2d(2), nn.ReLU())
    with training_process(1) if sys.argv[1] == "training" else nullcontext():
        for step in range(15):
            if step == 5:
                before = faults()
            trunk(torch.rand(128, 3, 32, 32)).square().mean().backward()
        print(faults() - before, anonymous())
    print(0, anonymous())

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

    def measured(how: str) -> list[int]:
        done = subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True, text=True)
        return [int(number) for number in done.stdout.split()]

    plain, training = measured("plain"), measured("training")
    assert training[0] < plain[0] / 4
    assert training[3] < training[1] - 100_000, "KiB: when the training ends its memory is given back"


def test_a_limit_of_openmps_threads_is_kept() -> None:
    """A convolution of more threads than there are waits for the others for ever."""
    program = """
import torch
from stg_ray.training.compute import training_process
for wanted in (3, 1):
    with training_process(wanted):
        print(torch.get_num_threads())
"""
    environment = {**os.environ, "OMP_THREAD_LIMIT": "2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "1"]
