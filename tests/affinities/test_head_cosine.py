"""Cosines of head weights against their definition, with heads of one output and of several."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import stg_ray as sr
from stg_ray.affinities.estimators import check_methods
from stg_ray.affinities.head_cosine import head_cosine
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork
from stg_ray.tasks import Task, TaskSet


def _network(widths: list[int], n_features: int, seed: int) -> TaskNetwork:
    torch.manual_seed(seed)
    tasks = [Task(f"t{t}") if w == 1 else Task(f"t{t}", "multiclass", w) for t, w in enumerate(widths)]
    return TaskNetwork(nn.Identity(), nn.Identity(), n_features, tasks)


@given(
    widths=st.lists(st.sampled_from([1, 1, 3, 4]), min_size=1, max_size=6),
    n_features=st.integers(2, 9),
    seed=st.integers(0, 1000),
)
def test_cosines_are_those_of_the_heads(widths: list[int], n_features: int, seed: int) -> None:
    network = _network(widths, n_features, seed)
    heads = [network.heads.weight.detach().double().numpy()[columns] for columns in network.layout.columns]
    heads = [head - head.mean(axis=0) if len(head) > 1 else head for head in heads]
    found = head_cosine(network)
    for (a, one), (b, other) in itertools.product(enumerate(heads), repeat=2):
        norms = [np.linalg.norm(head @ head.T) ** 0.5 for head in (one, other)]
        expected = np.linalg.norm(one @ other.T) / np.prod(norms)
        if len(one) == len(other) == 1:
            expected = (one[0] @ other[0]) / np.prod(norms)
        assert found[a, b] == pytest.approx(expected, abs=1e-9)


def test_neither_the_order_of_classes_nor_a_shift_of_all_counts() -> None:
    network = _network([1, 3, 4], 6, 0)
    before = head_cosine(network)
    with torch.no_grad():
        columns = network.layout.columns[1]
        network.heads.weight[columns] = network.heads.weight[columns].flip(0) + 5 * torch.randn(6)
    np.testing.assert_allclose(head_cosine(network), before, atol=1e-6)


def test_where_all_tasks_have_one_head_it_is_refused(make_task_set: Callable[..., TaskSet]) -> None:
    task_set = make_task_set(n_samples=100, blocks=(2, 1))
    model = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    with pytest.raises(InputError, match=r"affinity.start=initial gives all tasks the same head"):
        sr.affinity(model, task_set, method="head_cosine", start="initial")
    nn.init.constant_(model[2].weight, 0.5)
    with pytest.raises(InputError, match="all tasks have the same one"):
        sr.affinity(model, task_set, method="head_cosine")
    config = load_config({"data": {"npz": "none"}, "affinity": {"methods": ["head_cosine"]}})
    check_methods(config.affinity, index_of(task_set))
