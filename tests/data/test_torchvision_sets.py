"""torchvision's sets, from files in their own format; and what is said where there is neither file nor network."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from stg_ray.config_loading import load_config
from stg_ray.data import load_task_set
from stg_ray.errors import InputError


def write_idx(path: Path, array: np.ndarray) -> None:
    """An array of bytes in the format of MNIST's files (http://yann.lecun.com/exdb/mnist)."""
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.mark.parametrize(("preset", "name"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist_from_its_own_files(preset: str, name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = tmp_path / "torchvision" / name / "raw"
    raw.mkdir(parents=True)
    images, labels = {}, {}
    for half, n in (("train", 100), ("t10k", 40)):
        images[half] = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        labels[half] = (np.arange(n) % 10).astype(np.uint8)
        write_idx(raw / f"{half}-images-idx3-ubyte", images[half])
        write_idx(raw / f"{half}-labels-idx1-ubyte", labels[half])
    task_set = load_task_set(load_config(preset, [f"data.root={tmp_path}"]).data, seed=0)
    assert task_set.inputs.shape == (140, 1, 28, 28)
    assert len(task_set.names) == 10
    assert len(task_set.rows("test")) == 40
    assert np.array_equal(task_set.inputs[100:, 0], images["t10k"])
    assert np.array_equal(task_set.labels, np.eye(10)[np.concatenate([labels["train"], labels["t10k"]])])


@pytest.mark.parametrize("preset", ["mnist", "cifar10", "cifar100", "svhn"])
def test_without_files_and_network_one_line_says_so(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that nobody runs stands for a network that is not there."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(InputError, match=r"is not whole in .* and cannot be downloaded .*set data.root") as raised:
        load_task_set(load_config(preset, [f"data.root={tmp_path}"]).data, seed=0)
    assert "\n" not in str(raised.value)
