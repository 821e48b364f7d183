"""Distances at the same sample against the brute-force loop over samples and tasks, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stg_ray.affinities.aligned import CoordinateSample, aligned_l1, squared_form
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.models.network import TaskNetwork
from stg_ray.tasks import Task
from tests.support.oracle import TASKS, TRUNKS, engine_of, example, looped, unit


def _distances(gradients: torch.Tensor, normalize: bool) -> torch.Tensor:
    own = unit(gradients) if normalize else gradients
    return (own[:, :, None] - own[:, None, :]).abs().sum(dim=3)


@pytest.mark.parametrize("trunk", list(TRUNKS))
@settings(max_examples=6)
@given(
    n=st.integers(1, 3),
    seed=st.integers(0, 10_000),
    missing=st.sampled_from([0.0, 0.4]),
    normalize=st.booleans(),
    layers=st.sampled_from(["last", "all"]),
)
def test_aligned_distances_are_those_of_the_loop(
    trunk: str, n: int, seed: int, missing: float, normalize: bool, layers: str
) -> None:
    network, inputs, labels = example(trunk, n, seed, missing)
    own = engine_of(network, layers, inputs)
    found = squared_form(aligned_l1(own, inputs, labels, normalize=normalize), len(TASKS))
    names = None if layers == "all" else own.layers[0].parameters
    torch.testing.assert_close(
        found, _distances(looped(network, inputs, labels, names), normalize), rtol=1e-10, atol=1e-10
    )


def test_distances_of_chosen_parameters_are_those_of_the_loop() -> None:
    network, inputs, labels = example("conv", 3, 0)
    engine = engine_of(network, ["1", "5.weight"], inputs)
    distances = squared_form(aligned_l1(engine, inputs, labels), len(TASKS))
    expected = _distances(looped(network, inputs, labels, ["1.weight", "1.bias", "5.weight"]), False)
    torch.testing.assert_close(distances, expected)


def test_random_coordinates_estimate_the_distances_without_bias() -> None:
    """The mean over draws is the exact distance; layers with a closed form are exact in every draw."""
    network, inputs, labels = example("conv", 3, 0)
    own = engine_of(network, "all", inputs)
    exact = aligned_l1(own, inputs, labels)
    draws = []
    for seed in range(100):
        sample = CoordinateSample.draw(own.layers, 8, seed)
        assert sample is not None
        assert sum(len(fold) for fold in sample.of_layer["1"]) == 8
        draws.append(aligned_l1(own, inputs, labels, sample=sample).mean(dim=0))
    found = torch.stack(draws)
    error = found.std(dim=0) / 10
    assert ((found.mean(dim=0) - exact).abs() < 4 * error + 1e-12).all()
    closed = engine_of(network, ["2", "5"], inputs)
    assert CoordinateSample.draw(closed.layers, 1, 0) is None
    assert CoordinateSample.draw(own.layers, 10**6, 0) is None


def test_equal_tasks_are_at_no_distance_and_opposite_ones_are_not() -> None:
    tasks = [Task("a"), Task("same"), Task("opposite")]
    torch.manual_seed(0)
    network = TaskNetwork(nn.Identity(), nn.Linear(6, 5), 5, tasks).eval()
    with torch.no_grad():
        network.heads.weight[1] = network.heads.weight[0]
        network.heads.weight[2] = network.heads.weight[0]
        network.heads.bias[1:] = network.heads.bias[0]
    y = torch.tensor([0.0, 1.0, 1.0])
    inputs = torch.randn(3, 6)
    own = SampleGradients(network, "last", inputs)
    distances = aligned_l1(own, inputs, torch.stack([y, y, 1 - y], dim=1)).mean(dim=0)
    assert distances[0] == 0
    assert distances[1] > 0.1


def test_a_last_layer_that_sees_zeros_has_no_gradient_to_compare() -> None:
    network, inputs, labels = example("mlp", 3, 0)
    own = engine_of(network, ["2"], inputs)
    first = own.network.trunk.get_submodule("0")
    assert isinstance(first, torch.nn.Linear)
    first.weight.data.zero_()
    first.bias.data.fill_(-1)
    for normalize in (False, True):
        assert (aligned_l1(own, inputs, labels, normalize=normalize) == 0).all()
