"""The layers that are compared, and the rules that hold for them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.errors import InputError
from stg_ray.models.network import TaskNetwork
from tests.support.oracle import TASKS, engine_of, example

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
    network, inputs, _ = example("conv", 3, 0)
    chosen = engine_of(network, ["1", "5.weight"], inputs)
    assert [layer.parameters for layer in chosen.layers] == [["1.weight", "1.bias"], ["5.weight"]]
    bias = engine_of(network, ["*.bias"], inputs)
    assert [name for layer in bias.layers for name in layer.parameters] == ["1.bias", "2.bias", "5.bias"]
    with pytest.raises(InputError, match=r"'head' is no parameter or module of the trunk, which has 1, 2, 5"):
        engine_of(network, ["head"], inputs)


@pytest.mark.parametrize("bad", [nn.BatchNorm1d(5, track_running_stats=False), nn.Module()])
def test_a_trunk_whose_samples_do_not_stand_alone_is_refused(bad: nn.Module) -> None:
    if type(bad) is nn.Module:
        bad.forward = lambda x: nn.functional.dropout(x, 0.5)
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
