"""Which layers of a trunk are compared, and which rules hold for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import nn

from stg_ray.affinities.gradients.capture import Capture, pull_back
from stg_ray.affinities.gradients.rules import RULES, LayerGradients, Rule
from stg_ray.errors import InputError

Layers = Literal["last", "all"] | Sequence[str]

TOLERANCE = 1e-3
"""Relative difference to automatic differentiation, in single precision, above which a rule does not hold."""


@dataclass
class Layer:
    """Some parameters of one module of the trunk.

    Attributes:
        name: the module's.
        parameters: full names of those that are looked at, in the module's order.
        rule: None where torch.func has to do.
        n_rows, row_size: its coordinates.
        n_outputs: numbers that the module puts out for one sample, all calls together.
        closed_form: its L1 distances need no gradient to be formed.
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
        return self.n_rows * self.row_size


class Trace:
    """Which modules with parameters of their own the trunk calls, in this order, and how much they put out."""

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

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def note(_: nn.Module, args: tuple[object, ...], output: object) -> None:
            size = self.sizes.pop(name, 0)  # called again: it moves to the end
            if isinstance(output, torch.Tensor) and len(args) == 1 and isinstance(args[0], torch.Tensor):
                self.plain.add(name)
                size += output[0].numel()
            self.sizes[name] = size

        return note


def choose(trunk: nn.Module, layers: Layers, trace: Trace) -> list[Layer]:
    """The chosen parameters by the module that has them, in the order of the calls; those not called come last."""
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
    return frozenset(name.rpartition(".")[2] for name in layer.parameters)


def check_independence(trunk: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        with_itself, together = trunk(torch.cat([x[:1], x[:1]]))[:1], trunk(x)[:1]
    if not torch.allclose(with_itself, together, rtol=TOLERANCE, atol=TOLERANCE * float(together.abs().max())):
        raise InputError(
            "the trunk's features of a sample change with the other samples of its batch, or from call to call, even "
            "in evaluation mode, so no sample has a gradient of its own: look for BatchNorm with "
            "track_running_stats=False (use GroupNorm) and for dropout that does not heed self.training"
        )


def with_rules(trunk: nn.Module, chosen: list[Layer], trace: Trace, x: torch.Tensor) -> list[Layer]:
    """The layers with the rules that hold for them: found by type, and checked against automatic differentiation of
    two samples. Parameters that the trunk does not use are left out, as their gradients are zero."""
    candidates = {
        layer.name: rule
        for layer in chosen
        if layer.name in trace.plain and (rule := RULES.get(type(trunk.get_submodule(layer.name)))) is not None
    }
    parameters = dict(trunk.named_parameters())
    looked_at = [parameters[name].requires_grad_() for layer in chosen for name in layer.parameters]
    capture = Capture(trunk, list(candidates))
    try:
        with torch.enable_grad():
            features = capture.run(x)
            generator = torch.Generator().manual_seed(0)
            v = torch.randn(2, 2, features.shape[1], generator=generator).to(features)
            truth = [
                [
                    torch.autograd.grad(
                        features[i] @ v[i, t], looked_at, retain_graph=True, allow_unused=True, materialize_grads=False
                    )
                    for t in range(2)
                ]
                for i in range(2)
            ]
    finally:
        for parameter in looked_at:
            parameter.requires_grad_(False)
    found = []
    position = 0
    for layer in chosen:
        own = slice(position, position + len(layer.parameters))
        position = own.stop
        used = any(g is not None for row in truth for gradients in row for g in gradients[own])
        calls = capture.calls.get(layer.name)
        if not used:
            continue
        layer.n_rows = sum(parameters[name].numel() for name in layer.parameters)
        if calls is not None:
            errors = pull_back(features, calls.outputs, v)
            rule = candidates[layer.name]
            gradients = rule(trunk.get_submodule(layer.name), wanted(layer), calls.inputs, errors)
            if _agree(gradients, [[row[t][own] for t in range(2)] for row in truth]):
                layer.rule, layer.n_outputs = rule, trace.sizes[layer.name]
                layer.n_rows, layer.row_size = gradients.n_rows, gradients.row_size
                layer.closed_form = gradients.equidistant() is not None
        found.append(layer)
    return found


def _agree(gradients: LayerGradients, truth: list[list[tuple[torch.Tensor | None, ...]]]) -> bool:
    difference = total = 0.0
    for i, row in enumerate(truth):
        own = gradients.of_rows(slice(i, i + 1), 0, gradients.n_rows)[0]
        for t, parts in enumerate(row):
            if any(part is None for part in parts):
                return False
            expected = torch.cat([p.reshape(gradients.n_rows, -1) for p in parts if p is not None], dim=1).flatten()
            if expected.shape != own[t].shape:
                return False
            difference += float((own[t] - expected).abs().sum())
            total += float(expected.abs().sum())
    return difference <= TOLERANCE * total
