"""Whole numbers reach trunks that look them up as they are; everything else is standardised, unless it is not to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.storage import Storage
from stg_ray.config import ModelConfig
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of, read_index, read_part, write_parts
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork, build_network
from stg_ray.models.network import AsGiven, Normalize
from stg_ray.serving import Predictor
from stg_ray.tasks import TaskSet

N = 80
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2], axis=1)
IDS = np.random.default_rng(0).integers(0, 30, (N, 7))
REAL = np.random.default_rng(1).normal(size=(N, 7))


class Sentences(nn.Module):
    """The mean of the tokens' embeddings."""

    def __init__(self, entries: int = 30, convert: bool = False) -> None:
        super().__init__()
        self.embed, self.convert = nn.Embedding(entries, 5), convert

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x.long() if self.convert else x).mean(dim=1)


class Numbers(nn.Module):
    """A linear layer, and a table that positions are looked up in: that of a transformer, not of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.place = nn.Linear(1, 5), nn.Embedding(7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x[..., None].float()) + self.place(torch.arange(7))).mean(dim=1)


class OneHot(nn.Module):
    """One of 30 columns for each token."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(x, 30).float().mean(dim=1)


def sentences(shape: tuple[int, ...]) -> nn.Module:
    return Sentences()


def converted(shape: tuple[int, ...]) -> nn.Module:
    return Sentences(convert=True)


def few_entries(shape: tuple[int, ...]) -> nn.Module:
    return Sentences(20)


def numbers(shape: tuple[int, ...]) -> nn.Module:
    return Numbers()


def one_hot(shape: tuple[int, ...]) -> nn.Module:
    return OneHot()


def built(trunk: str, inputs: np.ndarray, normalize: Any = "auto") -> TaskNetwork:
    index = index_of(TaskSet.from_arrays(inputs, LABELS), normalize=normalize)
    name = trunk if trunk in ("mlp", "auto") else f"{__name__}:{trunk}"
    return build_network(ModelConfig(trunk=name), index, index.tasks, 0)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("trunk", ["sentences", "converted", "one_hot"])
def test_ids_are_looked_up_as_they_are(trunk: str, dtype: Any) -> None:
    """Whatever type the array has: files of columns know floating point only."""
    network = built(trunk, IDS.astype(dtype))
    direct = network.trunk(torch.from_numpy(IDS))
    for given in (torch.from_numpy(IDS), torch.from_numpy(IDS).float(), torch.from_numpy(IDS).double()):
        assert torch.equal(network(given), network.heads(direct))
    assert torch.equal(network.normalize(torch.from_numpy(IDS).float()), torch.from_numpy(IDS))


@pytest.mark.parametrize(
    ("trunk", "inputs", "normalize", "standardised"),
    [
        ("mlp", IDS, "auto", True),
        ("mlp", REAL, "auto", True),
        ("mlp", REAL, "none", False),
        ("mlp", IDS, "none", False),
        ("numbers", IDS, "auto", True),
        ("numbers", REAL, "standard", True),
        ("numbers", IDS, "none", False),
        ("converted", REAL, "auto", True),
        ("converted", IDS, "standard", True),
        ("auto", IDS.astype(np.uint8), "none", False),
    ],
)
def test_other_inputs_are_standardised(trunk: str, inputs: np.ndarray, normalize: Any, standardised: bool) -> None:
    network = built(trunk, inputs, normalize)
    assert isinstance(network.normalize, Normalize) == standardised
    task_set = TaskSet.from_arrays(inputs, LABELS)
    x, train = torch.from_numpy(task_set.inputs), inputs[task_set.rows("train")]
    expected = (inputs - train.mean(0)) / train.std(0) if standardised else inputs
    assert network.normalize(x).dtype == torch.float32
    np.testing.assert_allclose(network.normalize(x), expected, rtol=1e-5, atol=1e-5)
    assert network.double().normalize(x).dtype == torch.float64


@pytest.mark.parametrize(
    ("trunk", "inputs", "normalize", "message"),
    [
        (
            "few_entries",
            IDS,
            "auto",
            r"does not take 29 \(.*\): inputs are whole numbers from 0 to 29. If they are ids",
        ),
        ("sentences", np.where(IDS == 0, -1, IDS), "auto", "does not take -1 .* from -1 to 29"),
        ("one_hot", IDS + 1, "none", "does not take 30 .* from 1 to 30"),
        ("sentences", REAL, "auto", "looks whole numbers up, but not all inputs are whole"),
        ("sentences", IDS * 2**20, "auto", r"not all inputs are whole \(below 2\^24\)"),
        ("sentences", IDS, "standard", "takes whole numbers only, and data.normalize=standard makes fractions"),
    ],
)
def test_lookups_that_cannot_be_right_are_refused(trunk: str, inputs: np.ndarray, normalize: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(trunk, inputs, normalize)


def test_the_parts_know_ids_from_other_numbers(tmp_path: Any) -> None:
    storage = Storage(tmp_path)
    index = write_parts(TaskSet.from_arrays(IDS, LABELS), storage, normalize="none")
    assert (index.whole, index.normalize) == ((0, 29), "none")
    assert read_index(storage) == index
    assert (read_part(storage, "train", 0).inputs[:] % 1 == 0).all()
    for inputs in (REAL, IDS + 0.5, IDS % 2, np.zeros((N, 3, 8, 8), np.uint8), np.full((N, 3), 2.0**24)):
        other = index_of(TaskSet.from_arrays(inputs, LABELS))
        assert other.whole is None
        assert not {"whole", "normalize"} & set(other.to_dict()), "index.json is that of version 0.1"


@pytest.mark.parametrize("trunk", ["sentences", "one_hot"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_ids_are_predicted_and_nothing_else_is(trunk: str, dtype: Any) -> None:
    task_set = TaskSet.from_arrays(IDS.astype(dtype), LABELS)
    network = built(trunk, IDS.astype(dtype))
    groups = Groups.from_labels(list(task_set.names), np.array([0, 0]), "by hand")
    predictor = Predictor(index_of(task_set), groups, [network], input_dtype=torch.from_numpy(task_set.inputs).dtype)
    found = predictor.predict(IDS).array
    assert np.array_equal(predictor.predict(IDS.astype(np.float64)).array, found)
    with pytest.raises(InputError, match=f"fractions in {N} rows, the first is row 0.*expected ids"):
        predictor.predict(IDS + 0.5)
    for outside in (IDS + 1, IDS - 1, IDS + 300):
        with pytest.raises(InputError, match="a trunk has no entry for one of the ids"):
            predictor.predict(outside)


def test_the_setting_belongs_to_the_whole_set() -> None:
    assert load_config({"data": {"npz": "x", "normalize": "none"}}).data.normalize == "none"
    with pytest.raises(InputError, match="give normalize beside join"):
        load_config({"data": {"join": [{"npz": "a", "normalize": "none"}, {"npz": "b"}]}})


def test_equal_seeds_give_equal_heads_for_trunks_that_draw_numbers() -> None:
    """What is tried out on a trunk does not move the random state of what is built after it."""
    assert torch.equal(built("numbers", REAL).heads.weight, built("numbers", REAL, "none").heads.weight)
    assert isinstance(built("sentences", IDS).normalize, AsGiven)
