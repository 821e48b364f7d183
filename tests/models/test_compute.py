"""Precision, memory format and compilation change the speed of a training, and its results by rounding only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stg_ray.config import Config, ProfileConfig
from stg_ray.config_loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.models.compute import Compute, DeviceFacts, settle
from stg_ray.models.training import Optimization, epoch_batches, evaluate, train_epoch
from stg_ray.run_dir import RunDir
from stg_ray.tasks import TaskSet


@pytest.mark.parametrize(
    ("facts", "convolutional", "precision", "memory_format"),
    [
        (DeviceFacts("cuda", True), True, "bf16", "channels_last"),
        (DeviceFacts("cuda", False), True, "float32", "channels_last"),
        (DeviceFacts("cpu", True), False, "bf16", "contiguous"),
        (DeviceFacts("cpu", False), False, "float32", "contiguous"),
    ],
)
def test_what_is_auto_is_settled_by_the_device_and_the_trunk(
    facts: DeviceFacts, convolutional: bool, precision: str, memory_format: str
) -> None:
    settled = settle(ProfileConfig(), facts, convolutional=convolutional)
    assert (settled.precision, settled.memory_format) == (precision, memory_format)
    mine = ProfileConfig(precision="bf16", memory_format="contiguous")
    assert settle(mine, DeviceFacts("cpu", False), convolutional=True) == mine, "what is asked for is not changed"


def test_a_resumed_run_does_not_decide_anew(tmp_path: Path) -> None:
    asked = load_config("digits")
    settled = asked.model_copy(
        update={name: settle(getattr(asked, name), DeviceFacts("cuda", True), convolutional=True) for name in SECTIONS}
    )
    run = RunDir(tmp_path)
    run.write_config(settled)
    again = asked.settled_as(run.read_config())
    assert again == settled
    assert again.fingerprint(["profile"]) == settled.fingerprint(["profile"])
    other = load_config("digits", ["profile.precision=float32"]).settled_as(run.read_config())
    assert [key.split(" ")[0] for key in other.differences(settled)] == ["profile.precision"]


SECTIONS = ("profile", "retrain")


def trained(compute: Compute, trunk: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and task losses after two epochs on images whose mean decides the labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (96, 3, 8, 8), dtype=np.uint8)
    labels = np.stack([images[:, c].mean(axis=(1, 2)) > 127 for c in range(3)], axis=1).astype(np.int8)
    task_set = TaskSet.from_arrays(images, labels)
    index = index_of(task_set)
    config = Config.model_validate({"data": {"npz": "x"}, "model": {"trunk": trunk, "width": 16}})
    network = build_network(config.model, index, index.tasks, 0)
    compute.place(network)
    model = compute.compiled(network)
    batches = epoch_batches(96, 6, [0])
    optimization = Optimization(network, config.profile, 12)
    losses = torch.zeros(())
    for _ in range(2):
        losses = train_epoch(
            model,
            network.layout,
            optimization,
            torch.from_numpy(images),
            torch.from_numpy(labels),
            batches,
            divisors=[48.0] * 6,
            compute=compute,
        )
    return evaluate(network, torch.from_numpy(images), compute=compute), losses


@pytest.mark.parametrize(
    ("compute", "tolerance"), [(Compute(channels_last=True), 1e-3), (Compute(bf16=True, channels_last=True), 0.2)]
)
def test_the_same_training_but_for_rounding(compute: Compute, tolerance: float) -> None:
    outputs, losses = trained(Compute(), "cnn")
    other, other_losses = trained(compute, "cnn")
    assert other.dtype == torch.float32
    torch.testing.assert_close(other_losses, losses, rtol=tolerance, atol=0)
    torch.testing.assert_close(other, outputs, rtol=tolerance, atol=tolerance)
    assert not torch.equal(other, outputs), "the setting is read"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs")
def test_compiled_is_the_same_training() -> None:
    outputs, losses = trained(Compute(), "mlp")
    other, other_losses = trained(Compute(compile=True), "mlp")
    torch.testing.assert_close(other_losses, losses, rtol=1e-3, atol=0)
    torch.testing.assert_close(other, outputs, rtol=1e-2, atol=1e-2)
