"""The path on GPUs: nccl, pinned transfers, bf16, several workers on one GPU. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.data.parts import read_index
from stg_ray.progress import Reporter
from stg_ray.training.auto import DeviceFacts
from stg_ray.training.compute import Compute

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture(scope="module")
def gpu_session() -> Iterator[None]:
    import ray

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_bf16_is_settled_by_the_capability_of_the_gpu() -> None:
    facts = DeviceFacts.here()
    assert facts.kind == "cuda"
    assert facts.bf16 == (torch.cuda.get_device_capability()[0] >= 8)


def test_a_batch_comes_through_pinned_memory_in_the_memory_format() -> None:
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    batch = Compute(torch.device("cuda"), channels_last=True).batch(images)
    assert batch.device.type == "cuda"
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.cpu(), images)


@pytest.mark.parametrize("workers", [1, 2])
def test_digits_to_groups(workers: int, gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    """One worker has a GPU of its own (nccl with several GPUs); two on one GPU have half of it each (gloo)."""
    overrides = [f"profile.workers={workers}", "profile.epochs=5", "model.trunk=cnn", "model.width=32"]
    run = sr.run(sr.load_config("digits", overrides), str(tmp_path / "run"), until="group", reporter=quiet).run_dir
    config = run.read_config()
    assert config.profile.memory_format == "channels_last"
    assert config.profile.precision == ("bf16" if DeviceFacts.here().bf16 else "float32")
    data_map = sr.DataMap(str(tmp_path / "run"))
    batches = data_map.dataset().to_table(columns=["count"]).column("count").to_pylist()
    assert set(batches) == {5}
    values = np.asarray(data_map)
    assert np.isfinite(values).all()
    assert values[..., 0].mean() > 0.6, "it learns"
    assert len(read_index(run.sub("parts")).tasks) == len(run.read_json("groups.json")["tasks"])


def test_networks_are_trained_on_fractions_of_a_gpu(gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    overrides = ["profile.epochs=2", "retrain.epochs=2", "retrain.seeds=1", "retrain.gpus=0.25"]
    results = sr.run(sr.load_config("digits", overrides), str(tmp_path / "run"), reporter=quiet).results
    assert np.isfinite(results[results["metric"] == "average_precision"]["value"]).all()
