"""Networks that are trained in step: each ends as it would alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.config import ModelConfig, TrainingConfig
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.optimization import OPTIMIZERS
from stg_ray.training.stacked import MOST_PARAMETERS, StackedTrainer, can_stack
from stg_ray.training.trainer import Rows, Trainer

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(50, 4)).astype(np.float32)
DIRECTIONS = RNG.normal(size=(4, 4))
VALUES = INPUTS @ DIRECTIONS
LABELS = np.column_stack([VALUES[:, 0] > 0, np.digitize(VALUES[:, 1], [-1, 0, 1]), VALUES[:, 2], VALUES[:, 3] > 1])
LABELS = np.where(RNG.random(LABELS.shape) < 0.2, np.nan, LABELS).astype(np.float32)
KINDS = ["binary", "multiclass", "regression", "binary"]
INDEX = index_of(TaskSet.from_arrays(INPUTS, LABELS, kinds=KINDS, split=["train"] * 40 + ["val", "test"] * 5))
MODEL = ModelConfig(trunk="mlp", width=6, depth=2, dropout=0.2)
N_OUTPUTS = 7


def trainer(
    columns: Sequence[int], config: TrainingConfig, weights: Sequence[float] | None = None, model: ModelConfig = MODEL
) -> Trainer:
    network = build_network(model, INDEX, [INDEX.tasks[t] for t in columns], 3)
    labels = torch.from_numpy(LABELS[:, list(columns)])
    batches = CommonBatches(50, 16, float(labels.isfinite().sum(1).float().mean()), Draws(3, Stream.NETWORK_BATCHES))
    return Trainer(
        network, Rows(torch.from_numpy(INPUTS), labels, np.arange(50)), batches, config, task_weights=weights
    )


def assert_equal(trained: Sequence[Trainer], others: Sequence[Trainer], **tolerance: float) -> None:
    for one, other in zip(trained, others, strict=True):
        expected = other.network.state_dict()
        for name, value in one.network.state_dict().items():
            torch.testing.assert_close(value, expected[name], **tolerance)
        torch.testing.assert_close(one.evaluate(one.rows.inputs), other.evaluate(other.rows.inputs), **tolerance)


GROUPS = ((0, 1, 2, 3), (2,), (1, 3), (0, 3))


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("clip", [None, 0.05])
def test_each_is_trained_as_alone(optimizer: str, clip: float | None) -> None:
    config = TrainingConfig(
        optimizer=optimizer, lr=0.02, weight_decay=0.05, epochs=3, batch_size=16, clip=clip, label_smoothing=0.1
    )
    weights = [None, None, (1.0, 0.25), None]
    alone, together = ([trainer(own, config, w) for own, w in zip(GROUPS, weights, strict=True)] for _ in range(2))
    stack = StackedTrainer(together, N_OUTPUTS)
    for epoch in (1, 2, 3):
        counts: list[int] = []
        totals = stack.epoch(epoch, counts.append)
        for own, total in zip(alone, totals, strict=True):
            torch.testing.assert_close(own.epoch(epoch), total, rtol=1e-5, atol=1e-5)
        assert sum(counts) == 50 * len(GROUPS)
    assert_equal(together, alone, rtol=1e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    groups=st.lists(st.sets(st.integers(0, 3), min_size=1).map(sorted), min_size=1, max_size=5),
    width=st.integers(1, 9),
    depth=st.integers(1, 3),
    linear=st.booleans(),
)
def test_the_others_in_the_stack_change_nothing(groups: list[list[int]], width: int, depth: int, linear: bool) -> None:
    """But for rounding: a run that was killed goes on with other stacks than it would have had."""
    model = ModelConfig(trunk="linear" if linear else "mlp", width=width, depth=depth, dropout=0.1)
    config = TrainingConfig(optimizer="adamw", lr=0.02, weight_decay=0.01, epochs=2)
    together = [trainer(own, config, model=model) for own in groups]
    apart = [trainer(own, config, model=model) for own in groups]
    stack, stacks = StackedTrainer(together, N_OUTPUTS), [StackedTrainer([one], N_OUTPUTS) for one in apart]
    for epoch in (1, 2):
        totals = stack.epoch(epoch)
        for own, total in zip(stacks, totals, strict=True):
            torch.testing.assert_close(own.epoch(epoch)[0], total, rtol=1e-5, atol=1e-5)
    assert_equal(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_stack_goes_on_with_those_that_are_left(optimizer: str) -> None:
    """With the state of the optimizer and the schedule; where the learning rate of one was lowered, its own."""
    config = TrainingConfig(optimizer=optimizer, lr=0.02, weight_decay=0.05, epochs="auto", warmup=0.1, min_steps=60)
    alone, together = ([trainer(own, config) for own in GROUPS] for _ in range(2))
    stack = StackedTrainer(together, N_OUTPUTS)
    for epoch in (1, 2):
        for own in alone:
            own.epoch(epoch)
        stack.epoch(epoch)
        if epoch == 1:
            for own in (alone[1], together[1]):
                own.optimization.lower(0.2)
    stack.hand_over()
    stack.release(together[3].network)
    states = [own.state_dict() for own in together[:3]]
    kept = {name: value.clone() for name, value in together[3].network.state_dict().items()}
    fresh = [trainer(own, config) for own in GROUPS[:3]]
    for own, state in zip(fresh, states, strict=True):
        own.load_state_dict(state)
    stack = StackedTrainer(fresh, N_OUTPUTS)
    left = StackedTrainer(together[:3], N_OUTPUTS)
    for epoch in (3, 4):
        for own in alone[:3]:
            own.epoch(epoch)
        stack.epoch(epoch)
        left.epoch(epoch)
    assert_equal(fresh, alone[:3], rtol=1e-4, atol=1e-5)
    assert_equal(together[:3], fresh, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(value, kept[name]) for name, value in together[3].network.state_dict().items())
    left.hand_over()
    rates = [own.optimization.learning_rate for own in together[:3]]
    assert rates == pytest.approx([own.optimization.learning_rate for own in alone[:3]])
    assert rates[1] == pytest.approx(0.2 * rates[0])


def test_a_loss_that_is_no_number_stays_in_its_network() -> None:
    config = TrainingConfig(optimizer="adamw", lr=0.02, weight_decay=0.01, epochs=2, clip=1.0)
    together, sound = [trainer(own, config) for own in GROUPS], [trainer(own, config) for own in GROUPS]
    with torch.no_grad():
        together[1].network.heads.bias.fill_(torch.nan)
    stacks = [StackedTrainer(own, N_OUTPUTS) for own in (together, sound)]
    totals = [stack.epoch(1) for stack in stacks]
    assert totals[0][1].isnan().all()
    for m in (0, 2, 3):
        torch.testing.assert_close(totals[0][m], totals[1][m])


def test_only_small_networks_of_plain_layers_are_stacked() -> None:
    tasks = INDEX.tasks
    assert can_stack(build_network(MODEL, INDEX, tasks, 0), N_OUTPUTS)
    assert can_stack(build_network(ModelConfig(trunk="linear", width=5), INDEX, tasks, 0), N_OUTPUTS)
    assert not can_stack(build_network(ModelConfig(trunk="mlp", width=512, depth=2, dropout=0.0), INDEX, tasks, 0), 7)
    assert not can_stack(build_network(MODEL, INDEX, tasks, 0), MOST_PARAMETERS // 6)
    other = build_network(MODEL, INDEX, tasks, 0)
    other.trunk.append(torch.nn.LayerNorm(6))  # type: ignore[operator]  # the trunk is a Sequential
    assert not can_stack(other, N_OUTPUTS)
