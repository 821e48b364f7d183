"""Affinities of a model in a notebook: the same as those of a run, without Ray."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import nn

import stg_ray as sr
from stg_ray.affinities.estimators import estimator_of
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.storage import Storage
from stg_ray.config import AffinityConfig
from stg_ray.config.loading import load_config
from stg_ray.data.parts import write_parts
from stg_ray.in_memory import task_network
from stg_ray.models import build_network


def _trained(task_set: sr.TaskSet) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, len(task_set.tasks))
    )
    rows = task_set.rows("train")
    x, y = torch.tensor(task_set.inputs[rows]), torch.tensor(task_set.labels[rows]).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalize": True, "layers": "all", "sampling": "random"},
        {"layers": ["2.weight"], "precision": "float64"},
        {"statistic": "sign"},
        {"statistic": "pooled", "coordinates": 100},
        {"samples": "auto"},
        {"method": "logit_correlation"},
    ],
    ids=str,
)
def test_planted_blocks_are_found_at_a_model_of_ones_own(
    make_task_set: Callable[..., sr.TaskSet], settings: dict
) -> None:
    task_set = make_task_set(n_samples=600, blocks=(3, 3, 3), noise=0.1)
    matrix = sr.affinity(_trained(task_set), task_set, **settings)
    groups = sr.group(matrix, n_groups=3)
    assert adjusted_rand_score(np.arange(9) // 3, groups.labels) == 1
    assert matrix.errors is not None
    assert (matrix.errors[np.triu_indices(9, 1)] > 0).all()
    assert matrix.samples is not None
    assert matrix.samples <= 420


@pytest.mark.filterwarnings("ignore:the network predicts only")
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_reversed_inputs_are_those_of_their_copy(kind: type) -> None:
    rng = np.random.default_rng(0)
    images: np.ndarray = rng.integers(0, 256, (60, 3, 4, 4)).astype(kind)
    labels = rng.integers(0, 2, (60, 2))
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    flipped = images[..., ::-1]
    sets = [sr.TaskSet.from_arrays(each, labels) for each in (flipped, flipped.copy())]
    matrices = [sr.affinity(model, task_set, preprocess=lambda x: x.float() / 255) for task_set in sets]
    assert np.array_equal(matrices[0].values, matrices[1].values, equal_nan=True)


@pytest.mark.filterwarnings("ignore:the network predicts only")
def test_it_is_what_a_run_computes(make_task_set: Callable[..., sr.TaskSet], tmp_path: Path) -> None:
    task_set = make_task_set(n_samples=300, missing=0.2)
    run = Storage(tmp_path)
    index = write_parts(task_set, run.sub("parts"))
    config = load_config({"data": {"npz": "none"}, "affinity": {"samples": 100}})
    network = build_network(config.model, index, index.tasks, 0).eval()
    estimator = estimator_of("landscape", config.affinity, index)
    instance = estimator(RunSource(run, config, network.state_dict()))
    expected = estimator.combine([instance.partial(n) for n in range(index.n_parts())], index.tasks)
    found = sr.affinity(network, task_set, samples=100)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)
    assert found.errors is not None
    assert expected.errors is not None
    np.testing.assert_allclose(found.errors, expected.errors, rtol=1e-12)
    assert found.parameters == {"method": "landscape", "methods": ["landscape"], "samples": 100}


def test_settings_have_the_types_and_defaults_of_the_affinity_section() -> None:
    parameters = inspect.signature(sr.affinity).parameters
    names = list(parameters)[list(parameters).index("samples") :]
    assert set(names) == set(AffinityConfig.model_fields) - {"methods", "gpus", "max_retries"}
    assert {name: parameters[name].default for name in names} == AffinityConfig().model_dump(include=set(names))
    types, expected = get_type_hints(sr.affinity), get_type_hints(AffinityConfig)
    assert {name: types[name] for name in names} == {name: expected[name] for name in names}


def test_a_model_is_cut_at_its_last_layer() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(5, 4, bias=False), nn.Sequential(nn.Flatten(), nn.Linear(4, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.body(x)))

    tasks = (sr.Task("a"), sr.Task("b", "multiclass", 3))
    model = Model().eval()
    x = torch.randint(0, 255, (3, 1, 2, 2), dtype=torch.uint8)
    network = task_network(model, tasks, x[:1], lambda images: images / 255)
    torch.testing.assert_close(network(x), model(x / 255))
    assert not network.training
    assert isinstance(model.head, nn.Linear), "the user's model is left alone"


@pytest.mark.filterwarnings("ignore:the network predicts only")
@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (
            nn.Sequential(nn.Linear(12, 6), nn.ReLU()),
            {},
            r"gives \(1, 6\) for one sample: expected it to end in an nn.L",
        ),
        (nn.Linear(12, 6), {}, "uses no parameters"),
        (nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 5)), {}, "an nn.Linear with 6 outputs"),
        (nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 6)).train(), {}, r"call network.eval\(\)"),
        (nn.Linear(12, 6), {"method": "data_map"}, "run the profile stage"),
        (nn.Linear(12, 6), {"sampling": "variability"}, "run the profile stage"),
        (nn.Linear(12, 6), {"method": "landscap"}, "landscape"),
        (nn.Linear(12, 6), {"coordinates": 5, "statistic": "sign"}, "takes every coordinate"),
        (nn.Linear(12, 6), {"coordinates": 5, "start": "initial"}, "compared by the sign statistic"),
        (nn.Linear(12, 6), {"start": "mine.pt"}, "load the checkpoint into the model"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    make_task_set: Callable[..., sr.TaskSet], model: nn.Module, settings: dict, message: str
) -> None:
    if "train" not in message and "network.eval" not in message:
        model.eval()
    with pytest.raises(sr.InputError, match=message):
        sr.affinity(model, make_task_set(n_samples=100), **settings)


def test_heads_that_were_never_trained_are_warned_about(make_task_set: Callable[..., sr.TaskSet]) -> None:
    """There the affinity is noise, and looks like an answer."""
    task_set = make_task_set(n_samples=600, blocks=(3, 3, 3, 3), noise=0.1)
    torch.manual_seed(1)
    random = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 12)).eval()
    with pytest.warns(UserWarning, match=r"of 12 tasks better than chance; .* give start=initial"):
        sr.affinity(random, task_set)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sr.affinity(_trained(task_set), task_set)
        sr.affinity(random, task_set, start="initial")
        sr.affinity(random, task_set, method="label_correlation")


class Words(nn.Module):
    """Looks ids up, and gives the outputs of three tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.heads = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.heads(self.embed(x).mean(dim=1))


def test_a_model_of_ids_is_told_how_to_get_them() -> None:
    ids = np.random.default_rng(0).integers(0, 9, (80, 5))
    task_set = sr.TaskSet.from_arrays(ids, (ids[:, :3] > 4).astype(np.int8))
    model = Words().eval()
    with pytest.raises(sr.InputError, match=r"does not take inputs of shape \(5,\) in torch.float32.*lambda x"):
        sr.affinity(model, task_set, start="initial")
    matrix = sr.affinity(model, task_set, start="initial", preprocess=lambda x: x.long(), method="label_correlation")
    assert matrix.values.shape == (3, 3)
