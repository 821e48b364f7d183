"""grad_tag against its definition: gradients by a loop, explicit directions, one regression for each subset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.affinities.estimators import check_methods
from stg_ray.affinities.grad_tag import GradTag, Subsets, gains_of, mean_gains
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.projection import Projection
from stg_ray.config import AffinityConfig
from stg_ray.data.parts import index_of
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork
from stg_ray.models.outputs import OutputLayout
from stg_ray.tasks import Task, TaskSet
from tests.support.oracle import TASKS, compute, engine_of, example

WEIGHTED = [Task("b0", class_weights=(0.5, 2.0)), *TASKS[1:]]


class _Bare(GradTag):
    """The estimator without a source."""

    def __init__(self, gradients: SampleGradients, dimension: int) -> None:
        self.gradients = gradients
        self.projection = Projection(gradients.layers, dimension, 3, gradients.dtype)


def _margins(network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The margin of each task (K,) at one sample: log p / (1 - p) of its label, the output of a regression."""
    outputs = network(inputs)[0]
    margins = []
    for task, columns, label in zip(network.layout.tasks, network.layout.columns, labels, strict=True):
        own = outputs[columns]
        if task.kind == "binary":
            margins.append((2 * label - 1) * own[0])
        elif task.kind == "regression":
            margins.append(own[0])
        else:
            others = torch.arange(len(own)) != int(label)
            margins.append(own[int(label)] - own[others].logsumexp(dim=0))
    return torch.stack(margins)


def _loop(
    own: _Bare, network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes (K, d), curvatures (K, d, d) and losses (K,) by one backward pass for each sample and task."""
    directions = [
        torch.cat([block for _, _, block in own.projection.blocks(layer)]).reshape(layer.n_rows, layer.row_size, -1)
        for layer in own.gradients.layers
    ]
    (layer,) = own.gradients.layers
    parameters = [dict(network.trunk.named_parameters())[name] for name in layer.parameters]
    n_tasks, d = labels.shape[1], own.projection.dimension
    slope, curvature, loss = np.zeros((n_tasks, d)), np.zeros((n_tasks, d, d)), np.zeros(n_tasks)
    for i, t in (~torch.isnan(labels)).nonzero().tolist():
        margin = _margins(network, inputs[i : i + 1], torch.nan_to_num(labels[i]))[t]
        gradients = torch.autograd.grad(margin, parameters)
        rows = torch.cat([g.reshape(layer.n_rows, -1) for g in gradients], dim=1)
        x = torch.einsum("oi,oid->d", rows, directions[0]).numpy()
        task, m = network.layout.tasks[t], float(margin.detach())
        if task.kind == "regression":
            y = (float(labels[i, t]) - task.center) / task.scale
            r, h, own_loss = y - m, 1.0, 0.5 * (m - y) ** 2
        else:
            weight = 1.0 if task.class_weights is None else task.class_weights[int(labels[i, t])]
            p = 1 / (1 + np.exp(-m))
            r, h, own_loss = weight * (1 - p), weight * p * (1 - p), -weight * np.log(p)
        slope[t] += r * x
        curvature[t] += h * np.outer(x, x)
        loss[t] += own_loss
    return slope, curvature, loss


@pytest.mark.parametrize("tasks", [TASKS, WEIGHTED], ids=["plain", "class weights"])
@pytest.mark.parametrize("trunk", ["linear", "mlp", "conv", "strided conv"])
@settings(max_examples=4)
@given(n=st.integers(1, 5), seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.4]), d=st.integers(1, 6))
def test_sums_are_those_of_the_loop(trunk: str, tasks: list[Task], n: int, seed: int, missing: float, d: int) -> None:
    network, inputs, labels = example(trunk, n, seed, missing)
    network.layout = OutputLayout(tasks).double()
    own = _Bare(engine_of(network, "last", inputs), d)
    with torch.no_grad():
        found = own.sums_of(own.gradients, inputs, labels)
    slope, curvature, loss = _loop(own, network, inputs, labels)
    np.testing.assert_allclose(found["slope"], slope, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found["curvature"], curvature, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found["count"], (~torch.isnan(labels)).sum(dim=0))


@pytest.mark.parametrize("sure", [30.0, 1e4])
def test_sums_of_a_network_that_is_sure_are_those_of_its_losses(sure: float) -> None:
    """Rightly or wrongly, so that probabilities are 0 and 1 in single precision."""
    network, inputs, labels = example("mlp", 40, 0)
    with torch.no_grad():
        network.heads.weight *= sure
    network, inputs = network.float(), inputs.float()
    own = _Bare(SampleGradients(network, "last", inputs), 5)
    with torch.no_grad():
        found = own.sums_of(own.gradients, inputs, labels.float())
        ones = torch.ones_like(labels, dtype=torch.float32)
        downhill = -own.projection.of(own.gradients.at(inputs, labels.float()), ones).sum(dim=0)
    assert all(np.isfinite(value).all() for value in found.values())
    np.testing.assert_allclose(found["slope"], downhill, rtol=1e-3, atol=1e-3 * float(downhill.abs().max()))


@settings(max_examples=20)
@given(n_tasks=st.integers(2, 6), d=st.integers(1, 5), size=st.integers(2, 4), seed=st.integers(0, 1000))
def test_gains_are_those_of_regressions_of_each_subset(n_tasks: int, d: int, size: int, seed: int) -> None:
    """Weighted least squares on the samples of a subset, and the second-order loss of every validation sample."""
    rng = np.random.default_rng(seed)
    x, r, h = rng.normal(size=(2, 9, n_tasks, d)), rng.normal(size=(2, 9, n_tasks)), rng.random((2, 9, n_tasks))
    present = rng.random((2, 9, n_tasks)) < 0.8
    present[:, 0] = True
    sums = {}
    for s, split in enumerate(("train", "val")):
        masked = present[s] * 1.0
        sums[f"{split}.slope"] = np.einsum("nk,nkd->kd", r[s] * masked, x[s])
        sums[f"{split}.curvature"] = np.einsum("nk,nkd,nke->kde", h[s] * masked, x[s], x[s])
        sums[f"{split}.loss"], sums[f"{split}.count"] = 3.0 * masked.sum(axis=0), masked.sum(axis=0)
    members = Subsets(size, 3, 0.7, seed).draw(n_tasks)
    expected = np.zeros(members.shape)
    for m, subset in enumerate(members):
        rows = [(i, t) for t in np.flatnonzero(subset) for i in np.flatnonzero(present[0][:, t])]
        weight = np.array([1 / present[0][:, t].sum() for _, t in rows])
        of_rows = [tuple(a[0][i, t] for a in (x, r, h)) for i, t in rows]
        design = np.stack([np.sqrt(w * hh) * xx for w, (xx, _, hh) in zip(weight, of_rows, strict=True)])
        target = np.stack([w * rr * xx for w, (xx, rr, _) in zip(weight, of_rows, strict=True)]).sum(axis=0)
        penalty = 0.7 * np.square(design).sum() / d
        w = np.linalg.solve(design.T @ design + penalty * np.eye(d), target)
        for t in range(n_tasks):
            step = x[1][:, t] @ w
            falls = (r[1][:, t] * step - h[1][:, t] * step**2 / 2)[present[1][:, t]]
            expected[m, t] = falls.sum() / (3.0 * present[1][:, t].sum())
    np.testing.assert_allclose(gains_of(sums, members, 0.7), expected, rtol=1e-7, atol=1e-10)
    means = mean_gains(sums, members, 0.7)
    for a in range(n_tasks):
        for b in range(n_tasks):
            shared = members[:, a] & members[:, b]
            assert np.isnan(means[a, b]) == (not shared.any())
            if shared.any():
                assert means[a, b] == pytest.approx(expected[shared, a].mean())


@given(n_tasks=st.integers(2, 40), size=st.integers(2, 9), meetings=st.integers(1, 12), seed=st.integers(0, 99))
def test_tasks_meet_as_often_as_is_asked_for(n_tasks: int, size: int, meetings: int, seed: int) -> None:
    members = Subsets(size, meetings, 1.0, seed).draw(n_tasks)
    assert (members.sum(axis=1) == min(size, n_tasks)).all()
    if size >= n_tasks:
        assert members.all()
        return
    together = members.T.astype(int) @ members
    mean = together[~np.eye(n_tasks, dtype=bool)].mean()
    assert meetings <= mean < meetings + size * (size - 1) / (n_tasks * (n_tasks - 1)) + 1e-9
    counts = members.sum(axis=0)
    assert counts.max() - counts.min() <= 2 + len(members) // 2


def test_projections_keep_inner_products_on_average() -> None:
    network, inputs, labels = example("mlp", 3, 0)
    own = engine_of(network, "all", inputs)
    with torch.no_grad():
        pullback = own.at(inputs, labels)
        ones = torch.ones_like(labels)
        x = Projection(own.layers, 20_000, 0, torch.float64).of(pullback, ones).flatten(0, 1)
        whole = torch.cat([g.of_rows(slice(0, 3), 0, g.n_rows) for _, g in pullback.layers()], dim=2).flatten(0, 1)
    torch.testing.assert_close(x @ x.T, whole @ whole.T, rtol=0.05, atol=0.02 * float((whole @ whole.T).max()))


def _planted(task_set: TaskSet, folder: Path, **more: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, errors, _ = compute(
        task_set, folder, method="grad_tag", samples=100_000, layers="all", model={"width": 16}, **more
    )
    return values, errors, np.arange(len(values)) // 3


def test_tasks_of_a_block_help_each_other(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    values, errors, block = _planted(make_task_set(n_samples=900, missing=0.2), tmp_path, grad_tag_meetings=40)
    assert (errors > 0).all()
    same = (block[:, None] == block) & ~np.eye(6, dtype=bool)
    other = block[:, None] != block
    for row in range(6):
        assert values[row][same[row]].min() > values[row][other[row]].max()


def test_tasks_of_noise_do_not(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    values, _, block = _planted(make_task_set(n_samples=900, noise=1000.0), tmp_path)
    same = (block[:, None] == block) & ~np.eye(6, dtype=bool)
    other = block[:, None] != block
    assert abs(values[same].mean() - values[other].mean()) < 0.02


def test_without_validation_rows_it_is_refused(make_task_set: Callable[..., TaskSet]) -> None:
    task_set = make_task_set(n_samples=100)
    split = np.where(task_set.split == 1, 0, task_set.split)
    without = replace(task_set, split=split)
    with pytest.raises(InputError, match="grad_tag scores tasks on validation rows, and there are none"):
        check_methods(AffinityConfig(methods=["grad_tag"]), index_of(without))
