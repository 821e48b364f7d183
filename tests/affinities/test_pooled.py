"""The pooled statistic against the loop over pairs of samples, on planted structure and on none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from stg_ray.affinities import pooled
from stg_ray.affinities.aligned import CoordinateSample
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.pooled import pooled_distances, pooled_l1
from stg_ray.grouping import group_tasks
from tests.affinities.test_sign import disjoint
from tests.support.oracle import compute, example, looped


def _looped(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    n, n_tasks, _ = x.shape
    total = torch.zeros(n_tasks, n_tasks, dtype=x.dtype)
    for i in range(n):
        for j in range(n):
            distances = (x[i][:, None] - x[j][None]).abs().sum(dim=2)
            total += weights[i][:, None] * weights[j][None] * distances
    return total


@given(n=st.integers(2, 6), n_tasks=st.integers(1, 4), m=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_distances_between_all_pairs_follow_from_one_sort(n: int, n_tasks: int, m: int, seed: int) -> None:
    """With ties, and with weights of zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 3, (n, n_tasks, m), generator=generator).double()
    weights = torch.rand(n, n_tasks, generator=generator, dtype=torch.float64).sub(0.3).clamp(min=0)
    torch.testing.assert_close(pooled_distances(x, weights), _looped(x, weights), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("trunk", ["mlp", "conv", "tokens", "by hand"])
@settings(max_examples=3)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.4]))
def test_pooled_distances_are_those_of_the_loop(trunk: str, layers: str, seed: int, missing: float) -> None:
    network, inputs, labels = example(trunk, 4, seed, missing)
    own = SampleGradients(network, layers, inputs, dtype=torch.float64)
    weights = torch.rand(labels.shape, dtype=torch.float64) * ~torch.isnan(labels)
    names = None if layers == "all" else own.layers[0].parameters
    expected = _looped(looped(network, inputs, labels, names), weights)
    torch.testing.assert_close(pooled_l1(own, inputs, labels, weights)[0], expected, rtol=1e-10, atol=1e-12)


def test_blocks_of_coordinates_add_up_and_random_ones_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs, labels = example("conv", 4, 0)
    own = SampleGradients(network, "all", inputs, dtype=torch.float64)
    weights = torch.rand(labels.shape, dtype=torch.float64)
    exact = pooled_l1(own, inputs, labels, weights)[0]
    samples = [CoordinateSample.draw(own.layers, 12, seed, closed=True) for seed in range(60)]
    found = torch.stack([pooled_l1(own, inputs, labels, weights, sample=s).mean(dim=0) for s in samples])
    assert ((found.mean(dim=0) - exact).abs() < 4 * found.std(dim=0) / 60**0.5).all()
    monkeypatch.setattr(pooled, "BLOCK_BYTES", 1)
    torch.testing.assert_close(pooled_l1(own, inputs, labels, weights)[0], exact)


def _affinity(n_hidden: int, folder: Path) -> tuple[np.ndarray, np.ndarray, object]:
    return compute(
        disjoint(6, n_hidden, 0),
        folder,
        statistic="pooled",
        start="initial",
        samples=100_000,
        model={"width": 16},
        coordinates=200,
        part_rows=225,
    )


def test_planted_structure_is_found_among_tasks_without_common_samples(tmp_path: Path) -> None:
    values, error, matrix = _affinity(3, tmp_path)
    truth = np.arange(6) % 3
    assert adjusted_rand_score(truth, group_tasks(matrix, n_groups=3).labels) == 1
    different = ~np.eye(6, dtype=bool)
    same = (truth[:, None] == truth) & different
    assert values[same].min() > values[(truth[:, None] != truth)].max()
    assert (error[same] > 0).all()


def test_no_structure_is_found_where_there_is_none(tmp_path: Path) -> None:
    values, error, _ = _affinity(0, tmp_path)
    upper = np.triu_indices(6, 1)
    assert np.median(np.abs(values[upper] + 1 / 5) / error[upper]) < 2
    assert np.abs(values[upper]).max() < 0.7
