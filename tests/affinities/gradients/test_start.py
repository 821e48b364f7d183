"""The network at which the landscape is looked at: one head for all tasks, and heads that were never trained."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

import stg_ray as sr
from stg_ray.affinities.gradients.start import copy_one_head, untrained_heads
from stg_ray.config import ModelConfig
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.models.outputs import as_labels
from tests.support.oracle import example


def test_one_head_for_all_tasks() -> None:
    network, *_ = example("mlp", 1, 0)
    copy_one_head(network)
    rows = [network.heads.weight[own] for own in network.layout.columns]
    assert all(torch.equal(own, rows[2][: len(own)]) for own in rows)


def test_random_heads_are_told_from_trained_ones_for_every_kind_of_task() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, 6)).astype(np.float32)
    hidden = inputs @ rng.normal(size=(6, 12))
    labels = np.where(rng.random((500, 12)) < 0.2, np.nan, hidden)
    labels[:, :4] = np.where(np.isnan(labels[:, :4]), np.nan, labels[:, :4] > 0)
    labels[:, 4:8] = np.where(np.isnan(labels[:, 4:8]), np.nan, np.digitize(hidden[:, 4:8], (-1, 1)))
    task_set = sr.TaskSet.from_arrays(
        inputs, labels, kinds=["binary"] * 4 + ["multiclass"] * 4 + ["regression"] * 4, seed=0
    )
    untrained = []
    for seed in range(20):
        torch.manual_seed(seed)
        network = build_network(ModelConfig(width=16), index_of(task_set), task_set.tasks, seed).eval()
        untrained.append(untrained_heads(network, inputs, labels) is not None)
    assert sum(untrained) >= 15
    copied = copy.deepcopy(network)
    copy_one_head(copied)
    assert untrained_heads(copied, inputs, labels) is None
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        network.layout.losses(network(torch.tensor(inputs)), as_labels(torch.tensor(labels))).mean().backward()
        optimizer.step()
    assert untrained_heads(network, inputs, labels) is None


def test_tasks_whose_labels_are_all_alike_do_not_count() -> None:
    """Of rare labels few rows have any."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 6)).astype(np.float32)
    labels = (inputs[:, :4] > 0).astype(np.int8)
    task_set = sr.TaskSet.from_arrays(inputs, np.concatenate([labels, np.eye(400, 36, dtype=np.int8)], axis=1))
    network = build_network(ModelConfig(trunk="linear"), index_of(task_set), task_set.tasks, 0).eval()
    with torch.no_grad():
        network.trunk = nn.Identity()
        network.heads = nn.Linear(6, 40)
        network.heads.weight[:4] = 10 * torch.eye(4, 6)
    seen = task_set.labels[40:]
    assert (seen[:, 4:] == 0).all()
    assert untrained_heads(network, inputs[40:], seen) is None
