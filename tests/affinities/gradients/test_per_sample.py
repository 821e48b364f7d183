"""The shortcuts for per-sample gradients against the brute-force loop over samples and tasks, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stg_ray.affinities.aligned import CoordinateSample, aligned_l1, squared_form
from stg_ray.affinities.gradients import per_sample as engine
from stg_ray.affinities.gradients.layers import Layers
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.errors import InputError
from stg_ray.models.network import TaskNetwork
from stg_ray.tasks import Task
from tests.support.oracle import TASKS, TRUNKS, example, looped, unit

LAST = {
    "linear": "",
    "mlp": "2",
    "narrow": "2",
    "conv": "5",
    "strided conv": "3",
    "dilated conv": "3",
    "1x1 conv": "3",
    "batchnorm": "0",
    "batchnorm2d": "1",
    "tokens": "norm",
    "unused": "second",
    "twice": "layer",
}


def engine_of(network: TaskNetwork, layers: Layers, inputs: torch.Tensor) -> SampleGradients:
    return SampleGradients(network, layers, inputs, dtype=torch.float64)


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
    own = engine_of(network, layers, inputs)  # type: ignore[arg-type]
    found = squared_form(aligned_l1(own, inputs, labels, normalize=normalize), len(TASKS))
    names = None if layers == "all" else own.layers[0].parameters
    torch.testing.assert_close(
        found, _distances(looped(network, inputs, labels, names), normalize), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("trunk", [name for name in TRUNKS if name not in ("by hand", "sequences", "deconvolution")])
@settings(max_examples=4)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 100))
def test_every_way_to_a_layers_gradients_gives_those_of_the_loop(trunk: str, seed: int, cut: int) -> None:
    """By blocks of rows, by coordinates, and as sums of signs: by rules, not by torch.func."""
    network, inputs, labels = example(trunk, 3, seed, 0.3)
    own = engine_of(network, "all", inputs)
    weights = torch.rand(labels.shape, dtype=torch.float64)
    assert all(layer.rule is not None for layer in own.layers)
    for layer, gradients in own.at(inputs, labels).layers():
        parameters = dict(network.trunk.named_parameters())
        whole = [looped(network, inputs, labels, [name]) for name in layer.parameters]
        rows = [g.reshape(*labels.shape, gradients.n_rows, -1) for g in whole]
        expected = torch.cat(rows, dim=3)
        assert layer.n_coordinates == sum(parameters[name].numel() for name in layer.parameters)
        start = cut % gradients.n_rows
        found = torch.cat(
            [gradients.of_rows(slice(0, 3), *bounds) for bounds in ((0, start), (start, gradients.n_rows))], dim=2
        )
        torch.testing.assert_close(found, expected.flatten(2), rtol=1e-10, atol=1e-12)
        index = torch.randperm(layer.n_coordinates)[: 1 + cut % layer.n_coordinates].sort().values
        torch.testing.assert_close(
            gradients.of_coordinates(slice(1, 3), index), expected.flatten(2)[1:, :, index], rtol=1e-10, atol=1e-12
        )
        signs = torch.einsum("nk,nkm->km", weights, found.sign())[:, start * gradients.row_size :]
        clear = ((found == 0) | (found.abs() > 1e-12)).all(dim=0)[
            :, start * gradients.row_size :
        ]  # or rounding decides
        torch.testing.assert_close(gradients.signed_sum(weights, start, gradients.n_rows)[clear], signs[clear])


def test_what_a_rule_does_not_hold_for_is_left_to_torch_func() -> None:
    """Found out by comparison, not by name: used without its layer, tied, or without a rule; unused ones left out."""
    network, inputs, _ = example("by hand", 3, 0)
    by_rule = {layer.name: layer.rule is not None for layer in engine_of(network, "all", inputs).layers}
    assert by_rule == {"": False, "first": False, "second": False, "tied": True}
    network, inputs, _ = example("sequences", 3, 0)
    by_rule = {layer.name: layer.rule is not None for layer in engine_of(network, "all", inputs).layers}
    assert [name for name, rule in by_rule.items() if not rule] == ["layer.self_attn", "layer.self_attn.out_proj"]
    network, inputs, _ = example("unused", 3, 0)
    assert [layer.name for layer in engine_of(network, "all", inputs).layers] == ["first", "second"]


@pytest.mark.parametrize("trunk", list(LAST))
def test_the_last_layer_is_the_last_with_a_weight_matrix(trunk: str) -> None:
    network, inputs, _ = example(trunk, 2, 0)
    assert [layer.name for layer in engine_of(network, "last", inputs).layers] == [LAST[trunk]]


def test_layers_and_parameters_are_chosen_by_name() -> None:
    network, inputs, labels = example("conv", 3, 0)
    own = engine_of(network, ["1", "5.weight"], inputs)
    assert [layer.parameters for layer in own.layers] == [["1.weight", "1.bias"], ["5.weight"]]
    names = ["1.weight", "1.bias", "5.weight"]
    found = squared_form(aligned_l1(own, inputs, labels), len(TASKS))
    torch.testing.assert_close(found, _distances(looped(network, inputs, labels, names), False))
    bias = engine_of(network, ["*.bias"], inputs)
    assert [name for layer in bias.layers for name in layer.parameters] == ["1.bias", "2.bias", "5.bias"]
    with pytest.raises(InputError, match=r"'head' is no parameter or module of the trunk, which has 1, 2, 5"):
        engine_of(network, ["head"], inputs)


def test_little_memory_changes_the_blocks_and_not_the_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs, labels = example("strided conv", 4, 0, 0.3)
    own = engine_of(network, "all", inputs)
    whole = aligned_l1(own, inputs, labels)
    monkeypatch.setattr(engine, "SEGMENT", 1)
    monkeypatch.setattr("stg_ray.affinities.aligned.CACHE", 1)
    assert len(own._segments()) == 2
    torch.testing.assert_close(aligned_l1(own, inputs, labels), whole, rtol=1e-12, atol=1e-14)
    assert own.halved().rows == own.rows // 2
    small = SampleGradients(network, "all", inputs, memory=1)
    assert (small.rows, small.halved().rows) == (1, 1)


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


def test_an_operation_that_cannot_be_batched_is_gone_through_one_by_one() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(2 * gradient.numpy())  # no batch of gradients has an array

    class Custom(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Doubled.apply(x)

    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(6, 5), Custom())
    plain = nn.Sequential(nn.Linear(6, 5), nn.Identity())
    plain.load_state_dict(trunk.state_dict())
    found = []
    for own in (trunk, plain):
        network = TaskNetwork(nn.Identity(), own, 5, TASKS[:2]).eval()
        nn.init.ones_(network.heads.weight), nn.init.zeros_(network.heads.bias)
        labels = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
        found.append(aligned_l1(SampleGradients(network, "last", torch.ones(2, 6)), torch.zeros(2, 6), labels))
    assert found[0][0] > 0
    assert found[0].shape == found[1].shape


def test_a_last_layer_that_sees_zeros_has_no_gradient_to_compare() -> None:
    network, inputs, labels = example("mlp", 3, 0)
    own = engine_of(network, ["2"], inputs)
    own.network.trunk[0].weight.data.zero_()  # type: ignore[index, union-attr]
    own.network.trunk[0].bias.data.fill_(-1)  # type: ignore[index, union-attr]
    for normalize in (False, True):
        assert (aligned_l1(own, inputs, labels, normalize=normalize) == 0).all()


def test_training_mode_is_refused() -> None:
    network, inputs, _ = example("batchnorm", 3, 0)
    with pytest.raises(InputError, match=r"network.eval\(\)"):
        engine_of(network.train(), "last", inputs)


@pytest.mark.parametrize("bad", [nn.BatchNorm1d(5, track_running_stats=False), nn.Module()])
def test_a_trunk_whose_samples_do_not_stand_alone_is_refused(bad: nn.Module) -> None:
    if type(bad) is nn.Module:
        bad.forward = lambda x: nn.functional.dropout(x, 0.5)  # type: ignore[assignment]
    trunk = nn.Sequential(nn.Linear(6, 5), bad)
    network = TaskNetwork(nn.Identity(), trunk, 5, TASKS).eval()
    with pytest.raises(InputError, match="no sample has a gradient of its own"):
        SampleGradients(network, "last", torch.randn(2, 6))


def test_a_trunk_without_parameters_is_refused() -> None:
    network, inputs, _ = example("linear", 2, 0)
    network.trunk = nn.Identity()
    network.heads = nn.Linear(6, network.layout.n_outputs).double()
    with pytest.raises(InputError, match="uses no parameters"):
        engine_of(network.eval(), "last", inputs)


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
