"""Per-sample gradients of all tasks' losses with respect to shared parameters, at one point.

The gradient of task t at sample i is g_it = J_i^T v_it, with v_it = dl_t/dz_i at the trunk's output z_i in R^d and J_i
the trunk's Jacobian. One forward pass serves all tasks; the heads are linear, so all v_it come from one product; and
at most min(K, d) vectors are pulled back through the trunk, those of the tasks or the unit vectors, in one batch.
What a layer's own parameters see of them is in `layer_rules`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import nn

from stg_ray.affinities.layer_rules import RULES, Functional, LayerGradients, Rule
from stg_ray.errors import InputError
from stg_ray.models.network import TaskNetwork

Layers = Literal["last", "all"] | Sequence[str]

MEMORY = 512 * 2**20
"""Bytes that a micro-batch may take. It is the same wherever there is so much, so that equal runs round in the same
way."""

SEGMENT = 128 * 2**20
"""Bytes of errors, pulled back to several layers of one sample, that are held at once; a deeper trunk is gone through
again for each such segment of layers."""

MAX_ROWS = 256

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


class SampleGradients:
    """Per-sample gradients of a network's tasks with respect to chosen parameters of its trunk.

    Args:
        network: in evaluation mode; it is copied.
        layers: last: the trunk's last layer with a weight matrix; all: every parameter; or names of modules and
            parameters, with wildcards.
        example: one or two raw inputs, on which the rules are checked against automatic differentiation.
        dtype: of all computation.
        memory: bytes that a micro-batch may take.

    Attributes:
        layers: in the order in which they are called.
        rows: samples of a micro-batch that fit into the memory.

    Raises:
        InputError: the network is in training mode, a sample's features depend on the others of its batch, the trunk
            uses no parameters, or a name matches none.
    """

    def __init__(
        self,
        network: TaskNetwork,
        layers: Layers,
        example: torch.Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        memory: int = MEMORY,
    ) -> None:
        if network.training:
            raise InputError("the network is in training mode, where batch statistics mix samples: call network.eval()")
        self.network = copy.deepcopy(network).to(dtype).requires_grad_(False)
        self.dtype = dtype
        example = torch.cat([example[:2], torch.zeros_like(example[:1])])[:2]
        x = self.network.normalize(as_input(example, dtype))
        _check_independence(self.network.trunk, x)
        trace = _Trace(self.network.trunk, x)
        chosen = _choose(self.network.trunk, layers, trace)
        self.layers = _with_rules(self.network.trunk, chosen, trace, x)
        self.n_activations = sum(trace.sizes.values())
        self.memory = memory
        self.rows = self._rows_within(memory)

    @property
    def n_coordinates(self) -> int:
        return sum(layer.n_coordinates for layer in self.layers)

    def halved(self) -> SampleGradients:
        """The same with half the samples in a micro-batch."""
        other = copy.copy(self)
        other.rows = max(1, self.rows // 2)
        return other

    def of_layer(self, name: str) -> SampleGradients:
        """The same for one of its layers."""
        other = copy.copy(self)
        other.layers = [layer for layer in self.layers if layer.name == name]
        other.rows = min(self.rows, other._rows_within(self.memory))
        return other

    def _rows_within(self, memory: int) -> int:
        """Samples of a micro-batch: what is held for one of them is activations (twice, and as much for the graph),
        the errors of a segment of layers, and numbers for each pair of tasks."""
        n_tasks, d = len(self.network.layout.tasks), self.network.heads.in_features
        widest = max((sum(layer.n_outputs for layer in own) for own in self._segments()), default=0)
        pairs = n_tasks * (n_tasks - 1) // 2
        heads = d * (2 * self.network.layout.n_outputs + 3 * n_tasks)
        numbers = 4 * self.n_activations + 3 * n_tasks * widest + 2 * pairs + heads
        return max(1, min(MAX_ROWS, memory // (numbers * self.dtype.itemsize)))

    def at(self, inputs: torch.Tensor, labels: torch.Tensor) -> Pullback:
        """The forward pass of a micro-batch: raw inputs (n, ...), labels (n, K) floating point, NaN where missing."""
        return Pullback(self, inputs, labels)

    def _segments(self) -> list[list[Layer]]:
        room = SEGMENT // (self.dtype.itemsize * len(self.network.layout.tasks))
        segments: list[list[Layer]] = []
        for layer in self.layers:
            if layer.rule is None:
                continue
            if segments and sum(own.n_outputs for own in segments[-1]) + layer.n_outputs <= room:
                segments[-1].append(layer)
            else:
                segments.append([layer])
        return segments


class Pullback:
    """A micro-batch, forward once; `layers` goes backward."""

    def __init__(self, gradients: SampleGradients, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        network = gradients.network
        self.gradients = gradients
        self.x = network.normalize(as_input(inputs, gradients.dtype)).detach()
        ruled = [layer.name for layer in gradients.layers if layer.rule is not None]
        self.capture = _Capture(network.trunk, ruled)
        with torch.enable_grad() if ruled else torch.no_grad():
            self.features = self.capture.run(self.x)
        self.v = head_gradients(network, self.features, labels.to(gradients.dtype))

    def layers(self, scale: torch.Tensor | None = None) -> Iterator[tuple[Layer, LayerGradients]]:
        """The gradients of one layer after the other, times `scale` (n, K) where it is given."""
        v = self.v if scale is None else self.v * scale[:, :, None]
        trunk = self.gradients.network.trunk
        for segment in self.gradients._segments():
            calls = [self.capture.calls.get(layer.name, _Calls()) for layer in segment]
            errors = iter(_pull_back(self.features, [y for call in calls for y in call.outputs], v))
            for layer, call in zip(segment, calls, strict=True):
                assert layer.rule is not None
                module = trunk.get_submodule(layer.name)
                own = [next(errors) for _ in call.outputs]
                yield layer, layer.rule(module, _wanted(layer), call.inputs, own)
        for layer in self.gradients.layers:
            if layer.rule is None:
                yield layer, Functional(trunk, layer.parameters, self.x, v)


def head_gradients(network: TaskNetwork, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """v (n, K, d): the gradients of the K losses at the trunk's outputs `features` (n, d); 0 where a label is missing.

    Each output column belongs to one task, so the derivative of the sum of all losses with respect to the outputs
    holds every task's own, side by side.
    """
    with torch.enable_grad():
        outputs = network.heads(features.detach()).requires_grad_()
        (errors,) = torch.autograd.grad(network.layout.losses(outputs, labels).sum(), outputs)
    columns = errors[:, :, None] * network.heads.weight.detach()
    if len(network.layout.multiclass) == 0:
        return columns
    owner = torch.cat([torch.full((task.n_outputs,), t) for t, task in enumerate(network.layout.tasks)])
    v = columns.new_zeros(len(features), len(network.layout.tasks), features.shape[1])
    return v.index_add_(1, owner.to(columns.device), columns)


def as_input(inputs: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Floating point in the precision of the network; whole numbers stay what they are (images, tokens)."""
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def _pull_back(features: torch.Tensor, outputs: list[torch.Tensor], v: torch.Tensor) -> list[torch.Tensor]:
    """The errors (n, K, ...) at the outputs of layers: v_it (n, K, d) pulled back to them. With more tasks than
    features, the unit vectors are, and v is multiplied by the Jacobians that they give."""
    n, n_tasks, d = v.shape
    by_jacobian = n_tasks > d
    if by_jacobian:
        vectors = torch.eye(d, dtype=v.dtype, device=v.device)[:, None, :].expand(d, n, d)
    else:
        vectors = v.transpose(0, 1)
    try:
        found = torch.autograd.grad(
            features, outputs, vectors, is_grads_batched=True, retain_graph=True, materialize_grads=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        # An operation that cannot be batched (one of the user's own): one vector after the other.
        one_by_one = [
            torch.autograd.grad(features, outputs, vector, retain_graph=True, materialize_grads=True)
            for vector in vectors
        ]
        found = tuple(torch.stack(own) for own in zip(*one_by_one, strict=True))
    errors = []
    for back in found:
        own = back.detach().transpose(0, 1)
        errors.append((v @ own.flatten(2)).reshape(n, n_tasks, *own.shape[2:]) if by_jacobian else own)
    return errors


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on a GPU or a CPU, or Python had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


@dataclass
class _Calls:
    inputs: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)


class _Capture:
    """Runs the trunk and keeps what modules are given and put out."""

    def __init__(self, trunk: nn.Module, names: Sequence[str]) -> None:
        self.trunk, self.names = trunk, names
        self.calls: dict[str, _Calls] = {}

    def run(self, x: torch.Tensor) -> torch.Tensor:
        handles = [self.trunk.get_submodule(n).register_forward_hook(self._hook(n)) for n in self.names]
        try:
            return self.trunk(x)
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def keep(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            calls = self.calls.setdefault(name, _Calls())
            kept = output if output.requires_grad else output.detach().requires_grad_()
            calls.inputs.append(args[0].detach())
            calls.outputs.append(kept)
            return kept.clone()  # what follows may change it in place

        return keep


class _Trace:
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


def _choose(trunk: nn.Module, layers: Layers, trace: _Trace) -> list[Layer]:
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


def _wanted(layer: Layer) -> frozenset[str]:
    return frozenset(name.rpartition(".")[2] for name in layer.parameters)


def _check_independence(trunk: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        with_itself, together = trunk(torch.cat([x[:1], x[:1]]))[:1], trunk(x)[:1]
    if not torch.allclose(with_itself, together, rtol=TOLERANCE, atol=TOLERANCE * float(together.abs().max())):
        raise InputError(
            "the trunk's features of a sample change with the other samples of its batch, or from call to call, even "
            "in evaluation mode, so no sample has a gradient of its own: look for BatchNorm with "
            "track_running_stats=False (use GroupNorm) and for dropout that does not heed self.training"
        )


def _with_rules(trunk: nn.Module, chosen: list[Layer], trace: _Trace, x: torch.Tensor) -> list[Layer]:
    """The layers with the rules that hold for them: found by type, and checked against automatic differentiation of
    two samples. Parameters that the trunk does not use are left out, as their gradients are zero."""
    candidates = {
        layer.name: rule
        for layer in chosen
        if layer.name in trace.plain and (rule := RULES.get(type(trunk.get_submodule(layer.name)))) is not None
    }
    parameters = dict(trunk.named_parameters())
    looked_at = [parameters[name].requires_grad_() for layer in chosen for name in layer.parameters]
    capture = _Capture(trunk, list(candidates))
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
            errors = _pull_back(features, calls.outputs, v)
            rule = candidates[layer.name]
            gradients = rule(trunk.get_submodule(layer.name), _wanted(layer), calls.inputs, errors)
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
