"""Weights that follow gradients: what helps the main task keeps its weight, what hurts it loses it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from stg_ray.config import ModelConfig, TrainingConfig
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.models.outputs import as_labels
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.adaptive import RATE, AdaptiveWeights, cosine, moved
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.trainer import Rows, Trainer

N, N_VAL = 240, 80


def arrays(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and labels of a main task, one of the same function, and one of another function."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(N + N_VAL, 6)).astype(np.float32)
    main = inputs[:, 0] + 0.3 * rng.normal(size=len(inputs)) > 0
    labels = np.stack([main, main, inputs[:, 1] > 0], axis=1).astype(np.int8)
    labels[:N][rng.random((N, 3)) < [0.7, 0.1, 0.1]] = -1
    return inputs, labels


def trainer(inputs: np.ndarray, labels: np.ndarray, weights: Sequence[float], width: int = 8) -> Trainer:
    tasks = TaskSet.from_arrays(inputs, labels, missing=[-1])
    network = build_network(ModelConfig(trunk="linear", width=width), index_of(tasks), tasks.tasks, 0)
    return Trainer(
        network,
        Rows(torch.from_numpy(inputs[:N]), torch.from_numpy(labels[:N]), np.arange(N)),
        CommonBatches(N, 32, 1.0, Draws(3, Stream.NETWORK_BATCHES)),
        TrainingConfig(lr=0.02, weight_decay=1e-4, epochs=12),
        task_weights=AdaptiveWeights(weights, 0, torch.from_numpy(inputs[N:]), labels[N:]),
    )


def test_weights_move_by_the_cosines_of_full_gradients() -> None:
    inputs, labels = arrays(0)
    trained = trainer(inputs, labels, (1.0, 0.5, 0.8))
    trained.epoch(1)
    assert trained.task_weights is not None
    assert trained.task_weights.tolist() == pytest.approx([1.0, 0.5, 0.8])
    network = trained.network

    def gradient(rows: slice, task: int) -> torch.Tensor:
        outputs = network.eval()(torch.from_numpy(inputs[rows]))
        losses = network.layout.losses(outputs, as_labels(torch.from_numpy(labels[rows])))
        found = torch.autograd.grad(losses[:, task].sum(), list(network.trunk.parameters()))
        return torch.cat([each.flatten() for each in found])

    wanted = gradient(slice(N, None), 0)
    cosines = [torch.nn.functional.cosine_similarity(gradient(slice(N), t), wanted, dim=0).item() for t in range(3)]
    assert cosines[2] < 0, "the test would not see a weight that shrinks"
    assert trained.adaptive is not None
    weights = trained.adaptive.of_epoch(trained, 2).tolist()
    expected = [1.0, *(w * min(1, max(0, 1 + RATE * c)) for w, c in zip((0.5, 0.8), cosines[1:], strict=True))]
    assert weights == pytest.approx(expected, abs=1e-5)


def test_what_hurts_the_main_task_loses_its_weight_and_what_helps_keeps_it() -> None:
    """There is one feature for all: the other function pulls it away from what the main task needs."""
    inputs, labels = arrays(1)
    trained = trainer(inputs, labels, (1.0, 1.0, 1.0), width=1)
    for epoch in range(1, 13):
        trained.epoch(epoch)
    assert trained.task_weights is not None
    main, same, other = trained.task_weights.tolist()
    assert main == 1
    assert same > 0.9
    assert other < 0.1


def test_weights_stay_between_nothing_and_the_largest() -> None:
    shares = torch.tensor([1.0, 0.2, 0.9, 0.5], dtype=torch.float64)
    after = moved(shares, torch.tensor([-0.9, -0.7, 0.8, 0.1], dtype=torch.float64), main=0)
    assert after.tolist() == pytest.approx([1.0, 0.0, 1.0, 0.5 + 0.1 * RATE])
    assert cosine(torch.ones(3), torch.zeros(3)) == 0


def test_a_training_goes_on_with_the_weights_it_had() -> None:
    inputs, labels = arrays(2)
    whole, begun, later = (trainer(inputs, labels, (1.0, 1.0, 1.0), width=1) for _ in range(3))
    for epoch in range(1, 7):
        whole.epoch(epoch)
    for epoch in range(1, 4):
        begun.epoch(epoch)
    later.load_state_dict(begun.state_dict())
    for epoch in range(4, 7):
        later.epoch(epoch)
    assert whole.task_weights is not None
    assert later.task_weights is not None
    assert torch.equal(whole.task_weights, later.task_weights)
    assert all(torch.equal(a, b) for a, b in zip(whole.network.parameters(), later.network.parameters(), strict=True))
