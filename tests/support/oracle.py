"""Small trunks with every kind of layer, per-sample gradients by a loop over samples and tasks, whole affinities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stg_ray.affinities.estimators import estimator_of
from stg_ray.affinities.gradients.layers import Layers
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.start import starting_weights
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.storage import Storage
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config.loading import load_config
from stg_ray.data.parts import write_parts
from stg_ray.models.network import Normalize, TaskNetwork
from stg_ray.tasks import Task, TaskSet


class Unused(nn.Module):
    """Has a layer that it does not call, last in order, like the classifier that came with a trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(6, 7), nn.Linear(7, 5, bias=False), nn.Linear(5, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d) of inputs (n, 6)."""
        return self.second(torch.relu(self.first(x)))


class Twice(nn.Module):
    """Calls a layer twice, and changes its output in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d) of inputs (n, 6)."""
        return self.layer(self.layer(x).tanh_())


class ByHand(nn.Module):
    """Parameters that no rule can see: the trunk's own, a weight that is used without its layer, a shared one."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(5))
        self.first, self.second, self.tied = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.tied.weight = self.second.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d) of inputs (n, 6)."""
        hidden = torch.tanh(nn.functional.linear(x, self.first.weight, self.first.bias) + self.shift)
        return self.tied(torch.tanh(self.second(hidden)))


class Tokens(nn.Module):
    """Reads tokens out of its inputs; some occur twice in a sample, and one is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(4, 3, padding_idx=0), nn.Linear(3, 4)
        self.norm = nn.LayerNorm((6, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d) of inputs (n, 6)."""
        tokens = (x.abs() * 3).long().clamp(max=3)
        return self.norm(torch.tanh(self.mix(self.embed(tokens)))).mean(dim=1)


class Sequences(nn.Module):
    """A transformer's layer: attention has parameters of its own and uses its projection without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(2, 1, 3, dropout=0.0, batch_first=True)
        self.norm = nn.RMSNorm(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d) of inputs (n, 6)."""
        return self.norm(self.layer(x.reshape(-1, 3, 2))).flatten(1)


class Recurrent(nn.Module):
    """Reads a series of three steps, by a layer that torch.func cannot batch."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.layer = kind(2, 3, batch_first=True, **options)
        self.last = nn.Linear(6 if options.get("bidirectional") else 3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d) of inputs (n, 6)."""
        return self.last(torch.tanh(self.layer(x.reshape(-1, 3, 2))[0][:, -1]))


def _conv(*layers: nn.Module, shape: tuple[int, ...] = (1, 2, 3)) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, shape), *layers, nn.Flatten())


TRUNKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 5),
    "mlp": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 5, bias=False), nn.Tanh()),
    "narrow": lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)),
    "conv": lambda: _conv(nn.Conv2d(1, 3, 2), nn.GroupNorm(1, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6, 4)),
    "strided conv": lambda: _conv(
        nn.Conv2d(1, 4, 2, stride=2, padding=1, padding_mode="reflect"),
        nn.MaxPool2d((1, 2)),
        nn.Conv2d(4, 4, 2, groups=2, padding="same", bias=False),
    ),
    "dilated conv": lambda: _conv(
        nn.Conv1d(2, 4, 2, dilation=2, padding=1, groups=2), nn.Tanh(), nn.Conv1d(4, 2, 3, stride=2), shape=(2, 3)
    ),
    "1x1 conv": lambda: _conv(nn.Conv2d(6, 3, 1), nn.Tanh(), nn.Conv2d(3, 3, 1), shape=(6, 1, 1)),
    "batchnorm": lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)),
    "batchnorm2d": lambda: _conv(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU()),
    "tokens": Tokens,
    "sequences": Sequences,
    "lstm": lambda: Recurrent(nn.LSTM, num_layers=2),
    "gru": lambda: Recurrent(nn.GRU),
    "rnn": lambda: Recurrent(nn.RNN, bidirectional=True),
    "unused": Unused,
    "twice": Twice,
    "by hand": ByHand,
    "deconvolution": lambda: _conv(nn.ConvTranspose2d(1, 2, 2)),
}

TASKS = [Task("b0"), Task("b1"), Task("m", "multiclass", 3), Task("r", "regression", 1, center=0.5, scale=2.0)]


def example(trunk: str, n: int, seed: int, missing: float = 0.0) -> tuple[TaskNetwork, torch.Tensor, torch.Tensor]:
    """Return a network in double precision, inputs (n, 6), and labels (n, 4) of tasks of every kind."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    module = TRUNKS[trunk]().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            for parameter in layer.parameters():
                nn.init.normal_(parameter)
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    n_features = module(torch.zeros(2, 6)).shape[1]
    network = TaskNetwork(Normalize([0.1] * 6, [2.0] * 6, (6,)), module, n_features, TASKS).double().eval()
    columns = [rng.integers(0, 2, n), rng.integers(0, 2, n), rng.integers(0, 3, n), rng.normal(size=n)]
    labels = np.stack(columns, axis=1).astype(np.float64)
    labels[rng.random(labels.shape) < missing] = np.nan
    return network, torch.tensor(rng.normal(size=(n, 6))), torch.tensor(labels)


def engine_of(network: TaskNetwork, layers: Layers, inputs: torch.Tensor) -> SampleGradients:
    """Return the engine in double precision."""
    return SampleGradients(network, layers, inputs, dtype=torch.float64)


def looped(
    network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor, names: list[str] | None = None
) -> torch.Tensor:
    """Return the gradients (n, K, P) of the named parameters of the trunk, all by default; 0 where a label is missing.

    There is one backward pass for each sample and task.
    """
    parameters = [p for name, p in network.trunk.named_parameters() if names is None or name in names]
    gradients = torch.zeros(*labels.shape, sum(p.numel() for p in parameters), dtype=inputs.dtype)
    for i, t in (~torch.isnan(labels)).nonzero().tolist():
        loss = network.layout.losses(network(inputs[i : i + 1]), labels[i : i + 1])[0, t]
        by_parameter = torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)
        gradients[i, t] = torch.cat([g.flatten() for g in by_parameter])
    return gradients


def unit(gradients: torch.Tensor) -> torch.Tensor:
    """Scale each sample's and task's gradient to an L1 norm of 1; one of 0 stays 0."""
    norms = gradients.abs().sum(dim=2, keepdim=True)
    return torch.where(norms > 0, gradients / norms, 0)


def source_of(
    run: Storage,
    method: str,
    *,
    model: dict[str, Any] | None = None,
    profile: dict[str, Any] | None = None,
    **settings: Any,
) -> RunSource:
    """Return what an affinity looks at, of a run directory that has parts."""
    sections = {
        "model": {"trunk": "mlp", "width": 128, "dropout": 0.0, **(model or {})},
        "profile": {"lr": 5e-3, "weight_decay": 1e-4, **(profile or {})},
        "affinity": {"methods": [method], "start": "initial", **settings},
    }
    config = load_config({"data": {"npz": "none"}, **sections})
    return RunSource(run, config, starting_weights(run, config, dict))


def compute(
    task_set: TaskSet, folder: Path, *, method: str = "landscape", part_rows: int | None = None, **settings: Any
) -> tuple[np.ndarray, np.ndarray, TaskMatrix]:
    """Return an affinity's values, its standard errors, and its matrix, from the parts of a task set, without Ray."""
    run = Storage(folder)
    write_parts(task_set, run.sub("parts"), part_rows=part_rows)
    source = source_of(run, method, **settings)
    estimator = estimator_of(method, source.settings, source.index)
    instance = estimator(source)
    partials = [instance.partial(number) for number in range(estimator.n_units(source))]
    matrix = estimator.combine(partials, source.index.tasks)
    assert matrix.errors is not None
    return matrix.values, matrix.errors, matrix


def losses_of_tasks(network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean loss of each task (K,) over the rows that are labelled for it."""
    total = network.layout.losses(network(inputs), labels).sum(dim=0)
    return total / (~torch.isnan(labels)).sum(dim=0)
