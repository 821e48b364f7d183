"""The pooled statistic against the loop over pairs of samples, on planted structure and on none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from stg_ray.affinities import pooled
from stg_ray.affinities.aligned import CoordinateSample
from stg_ray.affinities.gradients import estimator
from stg_ray.affinities.gradients.joined import Span, joined
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.jackknife import jackknife_error
from stg_ray.affinities.pooled import PooledAffinity, pooled_distances
from stg_ray.affinities.sign import cosines_from_mean
from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import concatenated
from stg_ray.grouping import group_tasks
from stg_ray.tasks import TaskSet
from tests.affinities.test_sign import disjoint
from tests.support.oracle import compute, example, looped, source_of


def all_pairs(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return pooled_distances(x, weights[None], weights)[0]


def _looped(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    n, n_tasks, _ = x.shape
    total = torch.zeros(n_tasks, n_tasks, dtype=x.dtype)
    for i in range(n):
        for j in set(range(n)) - {i}:
            distances = (x[i][:, None] - x[j][None]).abs().sum(dim=2)
            total += weights[i][:, None] * weights[j][None] * distances
    return total


@given(n=st.integers(1, 6), n_tasks=st.integers(1, 4), m=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_distances_between_all_pairs_follow_from_one_sort(n: int, n_tasks: int, m: int, seed: int) -> None:
    """With ties, and with weights of zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 3, (n, n_tasks, m), generator=generator).double()
    weights = torch.rand(n, n_tasks, generator=generator, dtype=torch.float64).sub(0.3).clamp(min=0)
    torch.testing.assert_close(all_pairs(x, weights), _looped(x, weights), rtol=1e-10, atol=1e-10)


def _values(
    own: SampleGradients, inputs: torch.Tensor, labels: torch.Tensor, spans: list[Span]
) -> Iterator[torch.Tensor]:
    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return zip(torch.split(inputs, own.rows), torch.split(labels, own.rows), strict=True)

    return joined(own, batches, len(inputs), spans)


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("trunk", ["mlp", "conv", "tokens", "by hand"])
@pytest.mark.parametrize("memory", [2**29, 1])
def test_gradients_of_all_rows_are_those_of_the_loop(trunk: str, layers: str, memory: int) -> None:
    """However many micro-batches and passes they take, and at random coordinates as at all of them."""
    network, inputs, labels = example(trunk, 5, 0, 0.4)
    own = SampleGradients(network, layers, inputs, dtype=torch.float64, memory=memory)

    def found(units: list[list[Span]]) -> torch.Tensor:
        return torch.cat([values for unit in units for values in _values(own, inputs, labels, unit)], dim=2)

    weights = torch.rand(labels.shape, dtype=torch.float64)
    names = None if layers == "all" else own.layers[0].parameters
    expected = _looped(looped(network, inputs, labels, names), weights)
    values = found(pooled._blocks(own.layers))
    torch.testing.assert_close(all_pairs(values, weights), expected, rtol=1e-10, atol=1e-12)
    sample = CoordinateSample.draw(own.layers, 4, 0, closed=True)
    assert sample is not None
    first = np.cumsum([0, *(layer.n_coordinates for layer in own.layers)])
    of_folds = [
        torch.cat(
            [sample.of_layer[layer.name][f] + int(start) for layer, start in zip(own.layers, first, strict=False)]
        )
        for f in range(8)
    ]
    torch.testing.assert_close(found(pooled._folds(sample)), values[:, :, torch.cat(of_folds)])


def test_blocks_of_coordinates_and_of_tasks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weights = torch.rand(7, 4, 9, dtype=torch.float64), torch.rand(7, 4, dtype=torch.float64)
    whole = all_pairs(x, weights)
    for most in (1, 4 * 8 * 7 * 4 * 3):  # one task at a time; three of them
        monkeypatch.setattr(pooled, "BLOCK_BYTES", most)
        torch.testing.assert_close(all_pairs(x, weights), whole)


def test_random_coordinates_estimate_the_distances() -> None:
    network, inputs, labels = example("conv", 4, 0)
    own = SampleGradients(network, "all", inputs, dtype=torch.float64)
    weights = torch.rand(labels.shape, dtype=torch.float64)
    found = []
    for seed in range(60):
        sample = CoordinateSample.draw(own.layers, 12, seed, closed=True)
        assert sample is not None
        values = torch.cat([v for unit in pooled._folds(sample) for v in _values(own, inputs, labels, unit)], dim=2)
        found.append(sample.factor * all_pairs(values, weights))
    exact = all_pairs(
        torch.cat([v for unit in pooled._blocks(own.layers) for v in _values(own, inputs, labels, unit)], dim=2),
        weights,
    )
    drawn = torch.stack(found)
    assert ((drawn.mean(dim=0) - exact).abs() < 4 * drawn.std(dim=0) / 60**0.5).all()


def _looped_weights(weights: torch.Tensor) -> torch.Tensor:
    pairs = [(i, j) for i in range(len(weights)) for j in range(len(weights)) if i != j]
    return torch.stack([weights[i][:, None] * weights[j][None] for i, j in pairs]).sum(dim=0)


def _rare_and_missing() -> TaskSet:
    """Four tasks of which two are alike, with positives of 4 % to 50 %; two rows in five have no label."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 6)).astype(np.float32)
    scores = inputs @ rng.normal(size=(6, 4)) + 0.3 * rng.normal(size=(300, 4))
    scores[:, 1] = scores[:, 0] + 0.2 * rng.normal(size=300)
    labels = (scores > [np.quantile(scores[:, t], 1 - rate) for t, rate in enumerate((0.04, 0.3, 0.08, 0.5))]) * 1.0
    labels[rng.random(labels.shape) < 0.4] = np.nan
    return TaskSet.from_arrays(inputs, labels)


SETTINGS = {"statistic": "pooled", "samples": 120, "sampling": "random", "start": "initial"}


@pytest.mark.parametrize("part_rows", [None, 300])
def test_the_matrix_is_that_of_all_pairs_of_different_rows(tmp_path: Path, part_rows: int | None) -> None:
    """By gradients of one sample and task after the other, and a loop over pairs."""
    model = {"width": 4, "depth": 1}
    values, _, _ = compute(
        _rare_and_missing(), tmp_path, **SETTINGS, precision="float64", part_rows=part_rows, model=model
    )
    source = source_of(Storage(tmp_path), "landscape", **SETTINGS, precision="float64", model=model)
    chosen = PooledAffinity(source).chosen
    whole = concatenated([chosen(number) for number in range(source.index.n_parts())])
    tasks, network = source.index.tasks, source.network().double()
    w = torch.from_numpy(balanced_weights(whole.labels, tasks, class_counts([whole.labels], tasks)))
    last = [name for name, _ in network.trunk.named_parameters()][-2:]
    labels = torch.tensor(np.where(whole.labels < 0, np.nan, whole.labels))
    distance = _looped(looped(network, torch.tensor(whole.inputs).double(), labels, last), w) / _looped_weights(w)
    noise = distance.diag() * w.square().sum(dim=0)
    expected = np.clip(cosines_from_mean(-distance.numpy(), noise.numpy()), -1, 1)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("more", [{}, {"coordinates": 40}, {"layers": "all", "coordinates": 60}])
def test_little_memory_gives_the_same_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, object]
) -> None:
    found = []
    more = {**SETTINGS, "model": {"width": 8, "depth": 2}, **more}
    for memory in (2**29, 2**18):
        monkeypatch.setattr(estimator, "_memory", lambda device, memory=memory: memory)
        found.append(compute(_rare_and_missing(), tmp_path / str(memory), **more)[:2])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4)


def test_errors_are_those_of_leaving_folds_out_to_first_order() -> None:
    """Against the matrices of the rows that are left, of which each takes another sort."""
    rng = np.random.default_rng(0)
    means = 0.7 * rng.normal(size=(1, 4, 6))
    x = torch.from_numpy(means + rng.normal(size=(240, 4, 6)))
    fold = np.arange(240) % 4
    weights = np.stack(
        [(fold != f)[:, None] * np.full((240, 4), 1 / (240 if f < 0 else 180)) for f in (-1, 0, 1, 2, 3)]
    )
    found = pooled._of_both_sides(pooled_distances(x, torch.from_numpy(weights), torch.from_numpy(weights[0])).numpy())
    pairs = pooled._of_both_sides(np.stack([pooled._of_pairs(w, weights[0]) for w in weights]))
    squares = np.square(weights).sum(axis=1)
    approximate = [pooled._affinity(*each) for each in zip(found, pairs, squares, strict=True)]
    exact = [
        pooled._affinity(all_pairs(x, torch.from_numpy(w)).numpy(), pooled._of_pairs(w, w), np.square(w).sum(axis=0))
        for w in weights
    ]
    np.testing.assert_allclose(approximate[0], exact[0])
    upper = np.triu_indices(4, 1)
    ratio = jackknife_error(approximate[1:])[upper] / jackknife_error(exact[1:])[upper]
    assert 0.8 < np.median(ratio) < 1.25
    assert (np.abs(np.log(ratio)) < 0.5).all()


def test_a_task_is_as_near_to_others_however_rare_its_rows_are() -> None:
    """The sums of tasks whose gradients have one distribution: without the pairs of a row with itself, no task stands
    apart for having few rows, and none has large cosines by chance."""
    rng = np.random.default_rng(0)
    n_rows = np.array([4, 4, 40, 40, 80])
    weights = torch.from_numpy(np.where(np.arange(80)[:, None] < n_rows, 1 / n_rows, 0))
    distances, cosines = [], []
    for _ in range(40):
        total = all_pairs(torch.from_numpy(rng.normal(size=(80, 5, 8))), weights).numpy()
        weight = 1 - (weights.T @ weights).numpy()
        squares = weights.square().sum(dim=0).numpy()
        distances.append(np.diag(total / weight))
        cosines.append(pooled._affinity(total, weight, squares)[np.triu_indices(5, 1)])
    assert np.mean(distances, axis=0) == pytest.approx(16 / np.pi**0.5, rel=0.05), "2 / sqrt(pi) of each coordinate"
    assert np.isfinite(cosines).all()
    assert np.median(np.abs(cosines)) < 0.3


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
    assert np.median(np.abs(values[upper]) / error[upper]) < 2
    assert np.abs(values[upper]).max() < 0.5
