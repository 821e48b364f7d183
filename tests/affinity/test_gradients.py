"""The shortcuts for per-sample gradients against the brute-force loop over samples and tasks, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stg_ray.affinity.gradients import aligned_l1, linear_factors
from stg_ray.errors import InputError
from stg_ray.models.network import Normalize, TaskNetwork
from stg_ray.tasks import Task

TRUNKS = {
    "linear": lambda: nn.Linear(6, 5),
    "mlp": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5, bias=False), nn.Tanh()),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2), nn.GroupNorm(1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)
    ),
    "batchnorm last": lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)),
    "unused last": lambda: _Unused(),
    "shared linear": lambda: _Twice(),
}


class _Unused(nn.Module):
    """Has a layer that it does not call, last in order, like the classifier that came with a trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(6, 7), nn.Linear(7, 5, bias=False), nn.Linear(5, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


class _Twice(nn.Module):
    """Uses its only layer twice: the rule for a linear layer does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(self.layer(x)))


TASKS = [Task("b0"), Task("b1"), Task("m", "multiclass", 3), Task("r", "regression", 1, center=0.5, scale=2.0)]


def example(trunk: str, n: int, seed: int, missing: float) -> tuple[TaskNetwork, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    module = TRUNKS[trunk]()
    n_features = module.eval()(torch.zeros(2, 6)).shape[1]
    network = TaskNetwork(Normalize([0.1] * 6, [2.0] * 6, (6,)), module, n_features, TASKS).double().eval()
    columns = [rng.integers(0, 2, n), rng.integers(0, 2, n), rng.integers(0, 3, n), rng.normal(size=n)]
    labels = np.stack(columns, axis=1).astype(np.float64)
    labels[rng.random(labels.shape) < missing] = np.nan
    return network, torch.tensor(rng.normal(size=(n, 6))), torch.tensor(labels, dtype=torch.float32)


def brute_force(
    network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor, *, last: bool, normalize: bool
) -> torch.Tensor:
    """One backward pass per sample and task."""
    parameters = list(network.trunk.parameters())
    if last:
        unused = getattr(network.trunk, "unused", None)
        layers = [m for m in network.trunk.modules() if list(m.parameters(recurse=False)) and m is not unused]
        parameters = list(layers[-1].parameters(recurse=False))
    gradients = torch.zeros(len(inputs), len(TASKS), sum(p.numel() for p in parameters), dtype=torch.float64)
    for i in range(len(inputs)):
        for t in range(len(TASKS)):
            if torch.isnan(labels[i, t]):
                continue
            loss = network.layout.losses(network(inputs[i : i + 1]), labels[i : i + 1])[0, t]
            flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, materialize_grads=True)])
            norm = flat.abs().sum()
            gradients[i, t] = flat / norm if normalize and norm > 0 else flat
    return (gradients[:, :, None] - gradients[:, None, :]).abs().sum(dim=3)


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("trunk", list(TRUNKS))
@settings(max_examples=20)
@given(n=st.integers(1, 5), seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.4]))
def test_aligned_distances_are_those_of_the_loop(
    trunk: str, normalize: bool, layers: str, n: int, seed: int, missing: float
) -> None:
    network, inputs, labels = example(trunk, n, seed, missing)
    found = aligned_l1(network, inputs, labels, layers=layers, normalize=normalize)  # type: ignore[arg-type]
    expected = brute_force(network, inputs, labels, last=layers == "last", normalize=normalize)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_rule_for_linear_layers_is_used_where_it_holds_only() -> None:
    network, inputs, labels = example("mlp", 3, 0, 0.0)
    assert linear_factors(network, network.trunk[2], inputs, labels) is not None  # type: ignore[index]
    network, inputs, labels = example("shared linear", 3, 0, 0.0)
    assert linear_factors(network, network.trunk.layer, inputs, labels) is None  # type: ignore[arg-type]


def test_a_last_layer_that_sees_zeros_has_no_gradient_to_compare() -> None:
    network, inputs, labels = example("mlp", 3, 0, 0.0)
    network.trunk[0].weight.data.zero_()  # type: ignore[index, union-attr]
    network.trunk[0].bias.data.fill_(-1)  # type: ignore[index, union-attr]
    for normalize in (False, True):
        assert (aligned_l1(network, inputs, labels, normalize=normalize) == 0).all()


def test_training_mode_is_refused() -> None:
    network, inputs, labels = example("batchnorm last", 3, 0, 0.0)
    with pytest.raises(InputError, match=r"network.eval\(\)"):
        aligned_l1(network.train(), inputs, labels)


def test_a_trunk_without_parameters_is_refused() -> None:
    network, inputs, labels = example("linear", 2, 0, 0.0)
    network.trunk = nn.Identity()
    network.heads = nn.Linear(6, network.layout.n_outputs).double()
    with pytest.raises(InputError, match="uses no parameters"):
        aligned_l1(network.eval(), inputs, labels)


def test_equal_tasks_are_at_no_distance_and_opposite_ones_are_not() -> None:
    tasks = [Task("a"), Task("same"), Task("opposite")]
    torch.manual_seed(0)
    network = TaskNetwork(nn.Identity(), nn.Linear(6, 5), 5, tasks).eval()
    with torch.no_grad():
        network.heads.weight[1] = network.heads.weight[0]
        network.heads.weight[2] = network.heads.weight[0]
        network.heads.bias[1:] = network.heads.bias[0]
    y = torch.tensor([0.0, 1.0, 1.0])
    distances = aligned_l1(network, torch.randn(3, 6), torch.stack([y, y, 1 - y], dim=1)).mean(dim=0)
    assert distances[0, 1] == 0
    assert distances[0, 2] > 0.1
