"""Settings that are left to the device are resolved once: by the device and the network, however busy it is."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import ProfileConfig
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.models import TaskNetwork, build_network
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.auto import DeviceFacts, resolve_auto, trunk_flops
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.trainer import Rows, Trainer

IMAGES, DIGITS = (3, 32, 32), (64,)


def network_of(trunk: str, shape: tuple[int, ...], width: int = 128) -> TaskNetwork:
    inputs = np.random.default_rng(0).random((20, *shape), dtype=np.float32)
    index = index_of(TaskSet.from_arrays(inputs, np.arange(40).reshape(20, 2) // 3 % 2))
    config = load_config({"data": {"npz": "x"}, "model": {"trunk": trunk, "width": width, "dropout": 0.0}})
    return build_network(config.model, index, index.tasks, 0)


@pytest.mark.parametrize(
    ("facts", "trunk", "precision", "memory_format"),
    [
        (DeviceFacts("cuda", True), "cnn", "bf16", "channels_last"),
        (DeviceFacts("cuda", True), "mlp", "bf16", "contiguous"),
        (DeviceFacts("cuda", False), "cnn", "float32", "channels_last"),
        (DeviceFacts("cpu", True), "cnn", "bf16", "channels_last"),
        (DeviceFacts("cpu", True), "mlp", "float32", "contiguous"),  # too small for bf16 to pay on a CPU
        (DeviceFacts("cpu", False), "cnn", "float32", "channels_last"),
    ],
)
def test_auto_is_resolved_by_the_device_and_the_trunk(
    facts: DeviceFacts, trunk: str, precision: str, memory_format: str
) -> None:
    shape = IMAGES if trunk == "cnn" else DIGITS
    network = network_of(trunk, shape)
    resolved = resolve_auto(ProfileConfig(), facts, network, shape)
    assert (resolved.precision, resolved.memory_format) == (precision, memory_format)
    asked = ProfileConfig(precision="bf16", memory_format="contiguous")
    assert resolve_auto(asked, DeviceFacts("cpu", False), network, shape) == asked, "what is asked for is not changed"


def test_a_resumed_run_does_not_decide_anew(tmp_path: Path) -> None:
    asked = load_config("digits")
    network = network_of("cnn", IMAGES)
    resolved = asked.model_copy(
        update={
            name: resolve_auto(getattr(asked, name), DeviceFacts("cuda", True), network, IMAGES)
            for name in ("profile", "retrain")
        }
    )
    run = RunDir(tmp_path)
    run.write_config(resolved)
    again = asked.resolved_as(run.read_config())
    assert again == resolved
    assert again.fingerprint(["profile"]) == resolved.fingerprint(["profile"])
    other = load_config("digits", ["profile.precision=float32"]).resolved_as(run.read_config())
    assert [key.split(" ")[0] for key in other.differences(resolved)] == ["profile.precision"]


def test_operations_are_counted_as_multiplications_and_additions() -> None:
    """Of the trunk: the heads are in float32 in any case."""
    network = network_of("mlp", DIGITS, width=10)
    assert trunk_flops(network, DIGITS) == 2 * (64 * 10 + 10 * 10)
    assert network.training, "it is left as it was"
    images = network_of("cnn", IMAGES)
    by_hand = 32 * 32 * 27 * 32 + 16 * 16 * (32 * 9) * 64 + 8 * 8 * (64 * 9) * 128 + 2048 * 128
    assert trunk_flops(images, IMAGES) == 2 * by_hand
    layer = torch.nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    images.trunk, images.normalize = layer, torch.nn.Identity()
    assert trunk_flops(images, (5, 8)) >= 2 * 5 * (8 * 24 + 8 * 8 + 2 * 8 * 16), "fused layers, too"
    for trunk, shape in ((layer, (5, 8)), (network_of("cnn", IMAGES).trunk, IMAGES)):
        images.trunk = trunk.eval()
        with FlopCounterMode(display=False) as counter:
            trunk(torch.zeros(2, *shape))
        assert trunk_flops(images, shape) == counter.get_total_flops() / 2, "as torch's own counter has it"


def test_without_onednn_there_is_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert DeviceFacts.of_cpu() == DeviceFacts("cpu", False)


def test_where_bf16_is_said_to_pay_a_training_step_is_faster() -> None:
    """The network that is trained, not the convolution that was timed to decide it."""
    if not DeviceFacts.of_cpu().bf16:
        pytest.skip("this CPU is not faster in bf16")
    images = torch.randint(0, 256, (64, *IMAGES), dtype=torch.uint8)
    labels = torch.randint(0, 2, (64, 2), dtype=torch.int8)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(6):
        for bf16, times in seconds.items():
            trainer = Trainer(
                network_of("cnn", IMAGES),
                Rows(images, labels, np.arange(64)),
                CommonBatches(64, 64, labels_per_sample=2, draws=Draws(0, Stream.PROFILE_BATCHES)),
                ProfileConfig(
                    lr=5e-3,
                    weight_decay=1e-4,
                    precision="bf16" if bf16 else "float32",
                    memory_format="channels_last",
                    epochs=10,
                ),
            )
            began = time.perf_counter()
            for epoch in (1, 2):
                trainer.epoch(epoch)
            times.append(time.perf_counter() - began)
    assert min(seconds[True]) < min(seconds[False])
