"""Choice of the layers of a trunk whose gradients are compared, and of the rules that hold for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import nn

from stg_ray.affinities.gradients.capture import Capture, pull_back
from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.gradients.rules import RULES, Rule
from stg_ray.errors import InputError
from stg_ray.training.compute import exact_float32

Layers = Literal["last", "all"] | Sequence[str]
"""The last layer with a weight matrix, every parameter, or names of modules and parameters, with wildcards."""

TOLERANCE = 1e-3
"""Relative difference to automatic differentiation, in single precision, above which a rule does not hold."""


@dataclass
class Layer:
    """Chosen parameters of one module of the trunk.

    Attributes:
        name: the module's.
        parameters: full names of the chosen ones, in the module's order.
        rule: for its gradients; None where torch.func has to do.
        n_rows: rows of its coordinates.
        row_size: coordinates of a row.
        n_outputs: numbers that the module puts out for one sample, all calls together.
        closed_form: whether its L1 distances need no gradient to be formed.
    """

    name: str
    parameters: list[str]
    rule: Rule | None = None
    n_rows: int = 0
    row_size: int = 1
    n_outputs: int = 0
    closed_form: bool = False

    @property
    def n_coordinates(self) -> int:
        """The number of its coordinates."""
        return self.n_rows * self.row_size


class Trace:
    """The modules with parameters that the trunk calls, found by one run without gradients.

    Args:
        trunk: in evaluation mode.
        x: (n, ...) normalised inputs.

    Attributes:
        sizes: by module, numbers that it puts out for one sample, all calls together; in the order of the last calls.
        plain: modules that take one tensor and return one.

    Raises:
        InputError: the trunk uses no parameters.
    """

    def __init__(self, trunk: nn.Module, x: torch.Tensor) -> None:
        self.sizes: dict[str, int] = {}
        self.plain: set[str] = set()
        handles = [
            module.register_forward_hook(self._hook(name))
            for name, module in trunk.named_modules()
            if next(module.parameters(recurse=False), None) is not None
        ]
        try:
            with torch.no_grad():
                trunk(x)
        finally:
            for handle in handles:
                handle.remove()
        if not self.sizes:
            raise InputError("the trunk uses no parameters: the landscape affinity compares gradients of shared ones")

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def note(_: nn.Module, args: tuple[object, ...], output: object) -> None:
            size = self.sizes.pop(name, 0)  # called again: it moves to the end
            if isinstance(output, torch.Tensor) and len(args) == 1 and isinstance(args[0], torch.Tensor):
                self.plain.add(name)
                size += output[0].numel()
            self.sizes[name] = size

        return note


def choose(trunk: nn.Module, layers: Layers, trace: Trace) -> list[Layer]:
    """Return the chosen parameters by the module that has them.

    Args:
        trunk: the trunk.
        layers: which of its parameters.
        trace: of the trunk.

    Returns:
        Layers in the order of the calls; those that are not called come last.

    Raises:
        InputError: a name matches no parameter or module.
    """
    owners: dict[str, list[str]] = {name: [] for name in trace.sizes}
    for name, _ in trunk.named_parameters():
        owners.setdefault(name.rpartition(".")[0], []).append(name)
    if layers == "last":
        with_matrix = [
            name for name in trace.sizes if any(p.ndim > 1 for p in trunk.get_submodule(name).parameters(recurse=False))
        ]
        last = (with_matrix or list(trace.sizes))[-1]
        return [Layer(last, owners[last])]
    if layers == "all":
        return [Layer(owner, names) for owner, names in owners.items() if names]
    chosen: dict[str, list[str]] = {}
    for pattern in layers:
        matching = [(owner, n) for owner, names in owners.items() for n in names if _matches(n, pattern)]
        if not matching:
            known = ", ".join(name for name in trace.sizes)
            raise InputError(f"affinity.layers: {pattern!r} is no parameter or module of the trunk, which has {known}")
        for owner, name in matching:
            if name not in chosen.setdefault(owner, []):
                chosen[owner].append(name)
    return [
        Layer(owner, [n for n in names if n in chosen[owner]]) for owner, names in owners.items() if owner in chosen
    ]


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def wanted(layer: Layer) -> frozenset[str]:
    """Return the names of the layer's parameters within its module, as rules take them."""
    return frozenset(name.rpartition(".")[2] for name in layer.parameters)


def check_independence(trunk: nn.Module, x: torch.Tensor) -> None:
    """Refuse a trunk that mixes samples or is random, by two samples' features together and apart.

    Raises:
        InputError: the features of a sample depend on the others of its batch, or on the call.
    """
    with torch.no_grad():
        with_itself, together = trunk(torch.cat([x[:1], x[:1]]))[:1], trunk(x)[:1]
    if not torch.allclose(with_itself, together, rtol=TOLERANCE, atol=TOLERANCE * float(together.abs().max())):
        raise InputError(
            "the trunk's features of a sample change with the other samples of its batch, or from call to call, even "
            "in evaluation mode, so no sample has a gradient of its own: look for BatchNorm with "
            "track_running_stats=False (use GroupNorm) and for dropout that does not heed self.training"
        )


def with_rules(trunk: nn.Module, chosen: list[Layer], trace: Trace, x: torch.Tensor) -> list[Layer]:
    """Give the layers the rules that hold for them.

    Rules are looked up by the module's type, and compared with automatic differentiation of two samples.

    Args:
        trunk: in evaluation mode, its parameters without gradients.
        chosen: layers without rules; they are changed.
        trace: of the trunk.
        x: (2, ...) normalised inputs.

    Returns:
        The layers without those whose parameters the trunk does not use, as their gradients are zero.
    """
    candidates = {
        layer.name: rule
        for layer in chosen
        if layer.name in trace.plain and (rule := RULES.get(type(trunk.get_submodule(layer.name)))) is not None
    }
    parameters = dict(trunk.named_parameters())
    capture = Capture(trunk, list(candidates))
    with _with_gradients([parameters[name] for layer in chosen for name in layer.parameters]) as chosen_parameters:
        features = capture.run(x)
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(2, 2, features.shape[1], generator=generator).to(features)
        truth = _differentiated(features, v, chosen_parameters)
    used_layers = []
    position = 0
    for layer in chosen:
        of_layer = slice(position, position + len(layer.parameters))
        position = of_layer.stop
        of_truth = [[gradients[of_layer] for gradients in of_sample] for of_sample in truth]
        if all(gradient is None for of_sample in of_truth for of_task in of_sample for gradient in of_task):
            continue
        used_layers.append(layer)
        layer.n_rows = sum(parameters[name].numel() for name in layer.parameters)
        calls = capture.calls.get(layer.name)
        if calls is None:
            continue
        rule = candidates[layer.name]
        errors = pull_back(features, calls.outputs, v)
        by_rule = rule(trunk.get_submodule(layer.name), wanted(layer), calls.inputs, errors)
        if _agree(by_rule, of_truth):
            layer.rule, layer.n_outputs = rule, trace.sizes[layer.name]
            layer.n_rows, layer.row_size = by_rule.n_rows, by_rule.row_size
            layer.closed_form = by_rule.equidistant() is not None
    return used_layers


@contextmanager
def _with_gradients(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Let parameters require gradients while the block runs."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield parameters
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


Gradients = tuple[torch.Tensor | None, ...]
"""The gradient of one sample and task with respect to each parameter; None where it is not used."""


@exact_float32()
def _differentiated(features: torch.Tensor, v: torch.Tensor, parameters: list[nn.Parameter]) -> list[list[Gradients]]:
    """Compute the gradients of v_it . z_i by sample and task, one backward pass for each."""
    return [
        [
            torch.autograd.grad(feature @ vector, parameters, retain_graph=True, allow_unused=True)
            for vector in of_sample
        ]
        for feature, of_sample in zip(features, v, strict=True)
    ]


def _agree(by_rule: LayerGradients, truth: list[list[Gradients]]) -> bool:
    """Return whether a rule gives the true gradients, within `TOLERANCE` of their L1 norm."""
    difference = total = 0.0
    for i, of_sample in enumerate(truth):
        values = by_rule.of_rows(slice(i, i + 1), 0, by_rule.n_rows)[0]
        for value, parts in zip(values, of_sample, strict=True):
            if any(part is None for part in parts):
                return False
            expected = torch.cat([p.reshape(by_rule.n_rows, -1) for p in parts if p is not None], dim=1).flatten()
            if expected.shape != value.shape:
                return False
            difference += float((value - expected).abs().sum())
            total += float(expected.abs().sum())
    return difference <= TOLERANCE * total
