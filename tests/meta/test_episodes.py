"""Episodes hold what they say: rows of one task, none twice, with the labels of the episode."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.errors import InputError
from stg_ray.meta import Episodes, Initialisation, after_steps
from stg_ray.meta.episodes import Sampler, entropy
from stg_ray.meta.learners import MAML
from stg_ray.meta.routing import held_out_losses, route

N = 240


@pytest.fixture(scope="module")
def tasks() -> sr.TaskSet:
    """Three multi-class tasks on rows of their own, whose inputs say row, task and class; a binary; a regression."""
    rng = np.random.default_rng(0)
    labels = np.full((N, 5), np.nan, dtype=np.float32)
    owner = rng.integers(0, 5, N)
    classes = rng.integers(0, 6, N)
    for t in range(3):
        labels[owner == t, t] = classes[owner == t]
    labels[owner == 3, 3] = classes[owner == 3] % 2
    labels[owner == 4, 4] = 5 + 2 * rng.normal(size=(owner == 4).sum())
    inputs = np.stack([np.arange(N), owner, classes], axis=1).astype(np.float32)
    split = np.where(np.arange(N) % 4 == 3, "test", np.where(np.arange(N) % 8 == 0, "val", "train"))
    kinds = ["multiclass"] * 3 + ["binary", "regression"]
    return sr.TaskSet.from_arrays(inputs, labels, kinds=kinds, split=split)


@pytest.mark.parametrize("query_split", [None, "test"])
def test_episodes_of_classes(tasks: sr.TaskSet, query_split: str | None) -> None:
    sampler = Sampler(tasks, [0, 1, 2], "train", ways=3, shots=2, queries=1, query_split=query_split)
    drawn = sampler.draw(60, np.random.default_rng(1))
    rows = torch.cat([drawn.support, drawn.query], dim=1)
    labels = torch.cat([drawn.support_labels, drawn.query_labels], dim=1)
    assert rows.shape == (60, 9, 3)
    assert labels[0].tolist() == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    assert (rows[..., 1] == rows[:, :1, 1]).all(), "one task"
    assert set(rows[:, 0, 1].tolist()) == {0, 1, 2}, "all of them"
    assert all(len(set(row)) == 9 for row in rows[..., 0].tolist()), "no row is support and query, or twice"
    for episode, own in zip(rows, labels, strict=True):
        assert len({(int(row[2]), int(label)) for row, label in zip(episode, own, strict=True)}) == 3
    splits = {name: set(np.asarray(tasks.rows(name)).tolist()) for name in ("train", "test")}
    assert set(drawn.support[..., 0].flatten().int().tolist()) <= splits["train"]
    assert set(drawn.query[..., 0].flatten().int().tolist()) <= splits[query_split or "train"]


def test_episodes_of_binary_tasks_have_both_classes_and_regressions_are_standardised(tasks: sr.TaskSet) -> None:
    rng = np.random.default_rng(1)
    binary = Sampler(tasks, [3], "train", ways=5, shots=2, queries=3).draw(4, rng)
    assert binary.support_labels[0].tolist() == [0, 0, 1, 1]
    values = Sampler(tasks, [4], "train", ways=5, shots=4, queries=6).draw(40, rng)
    assert values.query_labels.shape == (40, 6)
    assert values.support_labels.is_floating_point()
    assert abs(float(values.query_labels.mean())) < 0.3
    assert 0.6 < float(values.query_labels.std()) < 1.4


def test_what_gives_no_episode_is_refused(tasks: sr.TaskSet) -> None:
    with pytest.raises(InputError, match="has 0 of 6 classes with 40 support and 1 query rows: an episode needs 3"):
        Sampler(tasks, [0], "train", ways=3, shots=40, queries=1)
    with pytest.raises(InputError, match="episodes of multiclass, regression tasks together"):
        Sampler(tasks, [0, 4], "train", ways=3, shots=1, queries=1)


def test_a_task_is_routed_to_the_initialisation_that_fits_it() -> None:
    """Two initialisations that know a slope each; what is judged was not adapted to, as in a plain loop."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((6, 8, 1), generator=generator)
    slopes = torch.tensor([1.0, -1.0]).repeat(3)

    data = Episodes(x[:, :6], slopes[:, None] * x[:, :6, 0], x[:, 6:], slopes[:, None] * x[:, 6:, 0])
    starts = []
    for slope in (-1.0, 1.0):
        network = torch.nn.Linear(1, 1, bias=False)
        network.weight.data[:] = slope
        starts.append(Initialisation(network, 0.1))
    learner = MAML(1)
    assert route(starts, learner, data).tolist() == [1, 0, 1, 0, 1, 0]
    losses = held_out_losses(starts[0], learner, data)
    total = 0.0
    for mine, other in (([0, 2, 4], [1, 3, 5]), ([1, 3, 5], [0, 2, 4])):
        weight = torch.tensor(-1.0, requires_grad=True)
        (of_weight,) = torch.autograd.grad(
            data.loss(weight * data.support[0, mine], data.support_labels[0, mine]), weight
        )
        after = (weight - 0.1 * of_weight).detach()
        total += float(data.loss(after * data.support[0, other], data.support_labels[0, other])) / 2
    assert float(losses[0]) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("shuffled", [False, True])
def test_halves_have_rows_of_every_class(shuffled: bool) -> None:
    """Two, three and two rows of three classes, in any order: the losses are those of the halves of each class."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    x = torch.randn((2, 7, 4), generator=generator)
    order = torch.tensor([3, 0, 5, 2, 1, 6, 4]) if shuffled else torch.arange(7)
    rows, of_rows = x[:, order], labels[order].expand(2, -1)
    start, learner = Initialisation(torch.nn.Linear(4, 3), 0.1), MAML(2)
    found = held_out_losses(start, learner, Episodes(rows, of_rows, rows[:, :0], of_rows[:, :0]))
    sorted_rows = torch.argsort(of_rows[0], stable=True)
    halves = sorted_rows[0::2], sorted_rows[1::2]
    assert all(set(of_rows[0][half].tolist()) == {0, 1, 2} for half in halves)
    total = torch.zeros(2)
    for mine, other in (halves, halves[::-1]):
        episodes = Episodes(rows[:, mine], of_rows[:, mine], rows[:, other], of_rows[:, other])
        outputs = after_steps(start, learner, episodes, [2])[2]
        total += torch.stack([entropy(o, y) for o, y in zip(outputs, episodes.query_labels, strict=True)]).detach() / 2
    torch.testing.assert_close(found, total)


def test_one_row_of_a_class_routes_nothing() -> None:
    """Half of the rows would teach the other class only: the initialisation that learns worst would be chosen."""
    x, labels = torch.randn(3, 2, 4), torch.tensor([[0, 1]]).expand(3, -1)
    starts = [Initialisation(torch.nn.Linear(4, 2), 0.1) for _ in range(2)]
    one_shot = Episodes(x, labels, x, labels)
    with pytest.raises(sr.InputError, match=r"one support row of a class.* give 2 shots or more"):
        route(starts, MAML(1), one_shot)
    with pytest.raises(sr.InputError, match="one support row"):
        route(starts, MAML(1), Episodes(x[:, :1], x[:, :1, 0], x, x[:, :, 0]))
    assert route(starts[:1], MAML(1), one_shot).tolist() == [0, 0, 0]
