"""torchvision's sets, from files in their own format; and what is said where there is neither file nor network."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.imports import torchvision


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


def test_emnist_is_the_right_way_up(tmp_path: Path) -> None:
    raw = tmp_path / "torchvision" / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (188, 28, 28)).astype(np.uint8)
    for half in ("train", "test"):
        write_idx(raw / f"emnist-balanced-{half}-images-idx3-ubyte", images)
        write_idx(raw / f"emnist-balanced-{half}-labels-idx1-ubyte", (np.arange(188) % 47).astype(np.uint8))
    task_set = load_task_set(load_config("emnist", [f"data.root={tmp_path}"]).data, seed=0)
    assert len(task_set.names) == 47
    assert task_set.names[10] == "A"
    assert np.array_equal(task_set.inputs[:188, 0], images.transpose(0, 2, 1))


def test_celeba_from_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few faces in the files of the real set, whose hashes torchvision would look at."""
    monkeypatch.setattr(torchvision().datasets.CelebA, "_check_integrity", lambda self: True)
    folder = tmp_path / "torchvision" / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(0)
    attributes = rng.choice([-1, 1], (60, 40))
    names = [f"Attribute_{a}" for a in range(40)]
    files = [f"{i + 1:06}.jpg" for i in range(60)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)).save(folder / "img_align_celeba" / file)

    def table(name: str, rows: np.ndarray, header: str | None = None) -> None:
        lines = [f"{file} {' '.join(map(str, row))}" for file, row in zip(files, rows.tolist(), strict=True)]
        top = [] if header is None else ["60", header]
        (folder / name).write_text("\n".join(top + lines) + "\n")

    table("list_attr_celeba.txt", attributes, " ".join(names))
    table("list_eval_partition.txt", np.repeat([0, 1, 2], 20)[:, None])
    table("identity_CelebA.txt", np.arange(60)[:, None])
    table("list_bbox_celeba.txt", np.zeros((60, 4), int), "x y w h")
    table("list_landmarks_align_celeba.txt", np.zeros((60, 10), int), " ".join("abcdefghij"))
    config = load_config("celeba", [f"data.root={tmp_path}", "data.image_size=16", "data.constant_tasks=drop"])
    task_set = load_task_set(config.data, seed=0)
    assert task_set.inputs.shape == (60, 3, 16, 16)
    assert task_set.names[0] == "Attribute 0"
    assert np.array_equal(task_set.split, np.repeat([0, 1, 2], 20))
    kept = [names.index(name.replace(" ", "_")) for name in task_set.names]
    assert len(kept) > 30
    assert np.array_equal(task_set.labels, attributes[:, kept] == 1)


@pytest.mark.parametrize("preset", ["mnist", "cifar10", "cifar100", "svhn", "emnist", "omniglot"])
def test_without_files_and_network_one_line_says_so(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that nobody runs stands for a network that is not there."""
    monkeypatch.setattr("urllib.request._opener", None)  # it would keep the proxy for the tests after this one
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(InputError, match=r"is not whole in .* and cannot be downloaded .*set data.root") as raised:
        load_task_set(load_config(preset, [f"data.root={tmp_path}"]).data, seed=0)
    assert "\n" not in str(raised.value)
