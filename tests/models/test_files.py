"""A trunk starts where a checkpoint ended."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stg_ray.config import ModelConfig
from stg_ray.errors import InputError
from stg_ray.models.files import load_trunk, read_checkpoint
from stg_ray.models.trunks import build_trunk


@pytest.mark.parametrize("prefix", ["", "trunk.", "module."])
@pytest.mark.parametrize("key", [None, "state_dict"])
def test_a_checkpoint_of_the_trunk_or_of_a_network(prefix: str, key: str | None, tmp_path: Path) -> None:
    torch.manual_seed(1)
    trunk, *_ = build_trunk(ModelConfig(trunk="mlp", width=4), (3,))
    saved = {prefix + name: value for name, value in trunk.state_dict().items()} | {"heads.weight": torch.zeros(2)}
    torch.save(saved if key is None else {key: saved, "epoch": 3}, tmp_path / "start.pt")
    torch.manual_seed(2)
    started, *_ = build_trunk(ModelConfig(trunk="mlp", width=4, weights=str(tmp_path / "start.pt")), (3,))
    for name, value in trunk.state_dict().items():
        assert torch.equal(started.state_dict()[name], value)


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    trunk, *_ = build_trunk(ModelConfig(trunk="mlp", width=4), (3,))
    (tmp_path / "text.pt").write_text("no tensors")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    for name, message in (
        ("none.pt", "none.pt cannot be read .*No such file"),
        ("text.pt", "is no checkpoint of tensors"),
        ("module.pt", "is no checkpoint of tensors"),
        ("empty.pt", "holds no tensors"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            read_checkpoint(str(tmp_path / name))
        assert "\n" not in str(raised.value)
    weights = trunk.state_dict()
    with pytest.raises(
        InputError, match=r"start has no '1.weight', which the trunk needs \(and 3 more\): it has other"
    ):
        load_trunk(trunk, {"other": torch.zeros(1)}, "start")
    with pytest.raises(InputError, match=r"has the shape \(2, 2\) in start, the trunk's has \(4, 3\)"):
        load_trunk(trunk, {**weights, "1.weight": torch.zeros(2, 2)}, "start")


def test_pretrained_weights_are_for_what_torchvision_has() -> None:
    for trunk, shape in (("mlp", (3,)), ("resnet18", (3, 32, 32)), ("resnet18", (1, 64, 64))):
        with pytest.raises(InputError, match=f"not for {trunk} on"):
            build_trunk(ModelConfig(trunk=trunk, weights="pretrained"), shape)


def test_pretrained_weights_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A proxy that nobody runs stands for a network that is not there."""
    monkeypatch.setattr("urllib.request._opener", None)  # it would keep the proxy for the tests after this one
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(InputError, match="the weights of resnet18 are not in torch's cache and cannot be downloaded"):
        build_trunk(ModelConfig(trunk="resnet18", weights="pretrained"), (3, 64, 64))
