"""The trainer: the loss that it minimises, its continuation, and what it records."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from stg_ray.config import ModelConfig, TrainingConfig
from stg_ray.data.parts import index_of
from stg_ray.errors import InputError, StgRayError
from stg_ray.models import TaskNetwork, build_network
from stg_ray.models.outputs import as_labels
from stg_ray.seeds import Stream, torch_seed
from stg_ray.tasks import TaskSet
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.optimization import lr_factor
from stg_ray.training.trainer import Rows, Trainer, check_finite

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(30, 4)).astype(np.float32)
LABELS = np.where(RNG.random((30, 2)) < 0.2, -1, INPUTS[:, :2] > 0).astype(np.int8)
ROWS = Rows(torch.from_numpy(INPUTS), torch.from_numpy(LABELS), np.arange(30))
SETTINGS = TrainingConfig(optimizer="sgd", lr=0.1, weight_decay=1e-4, epochs=3)
DRAWS = Draws(7, Stream.NETWORK_BATCHES)


def network() -> TaskNetwork:
    index = index_of(TaskSet.from_arrays(INPUTS, LABELS, missing=[-1]))
    made = build_network(ModelConfig(trunk="mlp", width=8, dropout=0.0), index, index.tasks, 0)
    made.trunk.append(torch.nn.Dropout(0.2))  # type: ignore[operator]  # the trunk is a Sequential
    return made


def trainer(task_weights: tuple[float, ...] | None = None, smoothing: float = 0.0) -> Trainer:
    settings = SETTINGS.model_copy(update={"label_smoothing": smoothing})
    return Trainer(network(), ROWS, CommonBatches(30, 8, 1.6, DRAWS), settings, task_weights=task_weights)


@pytest.mark.parametrize(("task_weights", "smoothing"), [(None, 0.0), ((1.0, 0.3), 0.2)])
def test_an_epoch_is_steps_on_the_weighted_loss_of_each_batch(
    task_weights: tuple[float, ...] | None, smoothing: float
) -> None:
    trained, by_hand = trainer(task_weights, smoothing), network()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    recorded: list[np.ndarray] = []
    totals = trained.epoch(1, record=lambda rows, *_: recorded.append(rows))
    expected = torch.zeros(2, dtype=torch.float64)
    torch.manual_seed(torch_seed(7, 1))
    for step, (rows, divisor) in enumerate(CommonBatches(30, 8, 1.6, DRAWS).of_epoch(1)):
        optimizer.param_groups[0]["lr"] = 0.1 * lr_factor(step, n_steps=3 * 4, warmup=0.1, schedule="cosine")
        losses = by_hand.layout.losses(by_hand(ROWS.inputs[rows]), as_labels(ROWS.labels[rows]), smoothing)
        expected += losses.detach().sum(dim=0)
        optimizer.zero_grad()
        ((losses * torch.tensor(task_weights or (1.0, 1.0))).sum() / divisor).backward()
        optimizer.step()
    torch.testing.assert_close(totals, expected)
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(trained.network.state_dict()[name], value)
    assert sorted(np.concatenate(recorded)) == list(range(30))


def test_a_training_that_goes_on_ends_like_an_undisturbed_one() -> None:
    whole, first, second = trainer(), trainer(), trainer()
    for epoch in (1, 2, 3):
        whole.epoch(epoch)
    first.epoch(1)
    second.load_state_dict(copy.deepcopy({**first.state_dict(), "something else": 3}))
    for epoch in (2, 3):
        second.epoch(epoch)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value), name
    assert torch.equal(second.evaluate(ROWS.inputs), whole.evaluate(ROWS.inputs))


def test_inputs_are_augmented_only_where_there_is_a_stream_for_it() -> None:
    settings = SETTINGS.model_copy(update={"flip": True})
    for stream in (None, Stream.NETWORK_AUGMENTATION):
        batches = CommonBatches(30, 8, 1.6, Draws(7, Stream.NETWORK_BATCHES, stream))
        if stream is None:
            assert Trainer(network(), ROWS, batches, settings).augment is None
        else:
            with pytest.raises(InputError, match="flip and crop are for images"):
                Trainer(network(), ROWS, batches, settings)


def test_a_loss_that_is_no_number_is_refused_with_the_tasks_name() -> None:
    check_finite(torch.ones(3), ["a", "b", "c"], 1)
    with pytest.raises(StgRayError, match=r"task 'b' became non-finite in epoch 4 \(and that of 1 more tasks\)"):
        check_finite(torch.tensor([1.0, torch.nan, torch.inf]), ["a", "b", "c"], 4)
