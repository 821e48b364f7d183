"""Outputs on validation rows: each half from the epoch that the other half finds best."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from stg_ray.artifacts.storage import Storage
from stg_ray.retraining.held_out import Choices, HeldOut, halves, together
from stg_ray.tasks import Task

SCORES = st.lists(st.tuples(*[st.sampled_from([-math.inf, 0.1, 0.2, 0.3, 0.4])] * 2), min_size=1, max_size=8)


@given(scores=SCORES, rows=st.sets(st.integers(0, 30), min_size=1, max_size=12), stop=st.integers(0, 8))
def test_each_half_has_the_outputs_of_the_epoch_that_the_other_finds_best(
    scores: list[tuple[float, float]], rows: set[int], stop: int
) -> None:
    """By a look at all epochs at once; also where the training was interrupted."""
    positions = np.array(sorted(rows))
    outputs = [torch.full((len(rows), 2), float(epoch)) for epoch in range(len(scores))]
    choices = Choices(positions)
    for epoch, of_halves in enumerate(scores):
        if epoch == stop:
            state, choices = choices.state_dict(), Choices(positions)
            choices.load_state_dict(state)
        choices.keep_if_best(outputs[epoch], of_halves)
    found = choices.held_out.outputs

    for mine, by in ((positions % 2 == 0, 1), (positions % 2 == 1, 0)):
        of_half = [values[by] for values in scores]
        if -math.inf not in of_half:
            assert (found[mine] == of_half.index(max(of_half))).all()
        elif max(of_half) == -math.inf:
            assert (found[mine] == len(scores) - 1).all(), "without a score the last epoch is taken"


def test_the_best_of_many_epochs_of_noise_is_no_better_than_noise() -> None:
    rng, gains = np.random.default_rng(0), []
    for _ in range(30):
        labels, choices, best = rng.random(200) < 0.3, Choices(np.arange(200)), -math.inf
        for _ in range(30):
            outputs = torch.from_numpy(rng.normal(size=(200, 1)))
            score = [average_precision_score(labels[mine], outputs[mine, 0]) for mine in halves(np.arange(200))]
            best = max(best, average_precision_score(labels, outputs[:, 0]))
            choices.keep_if_best(outputs, score)
        gains.append((best - labels.mean(), average_precision_score(labels, choices.held_out.outputs) - labels.mean()))
    of_best, held_out = np.mean(gains, axis=0)
    assert of_best > 0.06
    assert abs(held_out) < 0.03


def test_halves_are_of_the_split_and_not_of_the_networks_rows() -> None:
    even, odd = halves(np.array([1, 2, 4, 7]))
    assert even.tolist() == [False, True, True, False]
    assert (even != odd).all()


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    run, rng = Storage(tmp_path), np.random.default_rng(0)
    written = HeldOut(np.array([0, 3, 4]), rng.normal(size=(3, 2)).astype(np.float32))
    written.write(run, "network")
    read = HeldOut.read(run, "network")
    np.testing.assert_array_equal(read.rows, written.rows)
    np.testing.assert_array_equal(read.outputs, written.outputs)
    assert read.of_all_rows(6)[[1, 2, 5]].sum() == 0


def test_an_ensemble_is_the_weighted_sum_of_its_networks_on_the_rows_that_all_have() -> None:
    tasks = [Task("a"), Task("b", kind="multiclass", n_classes=3), Task("c")]
    rng = np.random.default_rng(1)
    first = HeldOut(np.arange(5), rng.normal(size=(5, 4)).astype(np.float32))  # b, a
    second = HeldOut(np.array([0, 2, 4]), rng.normal(size=(3, 2)).astype(np.float32))  # c, a
    weights = np.array([[0.25, 0.75], [1, 0], [0, 1]])
    networks = [([tasks[1], tasks[0]], first), ([tasks[2], tasks[0]], second)]
    found = together(tasks, weights, networks, 5).numpy()
    a, which, c = found[:, 0], found[:, 1:4], found[:, 4]
    np.testing.assert_allclose(
        a[[0, 2, 4]], 0.25 * first.outputs[[0, 2, 4], 3] + 0.75 * second.outputs[:, 1], rtol=1e-6
    )
    np.testing.assert_allclose(which, first.outputs[:, :3])
    np.testing.assert_allclose(c[[0, 2, 4]], second.outputs[:, 0])
    assert found.shape == (5, 5)
