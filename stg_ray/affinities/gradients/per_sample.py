"""Per-sample gradients of all tasks' losses with respect to shared parameters, at one point.

The gradient of task t at sample i is g_it = J_i^T v_it, with v_it = dl_t/dz_i at the trunk's output z_i in R^d and J_i
the trunk's Jacobian. One forward pass serves all tasks; the heads are linear, so all v_it come from one product; and
at most min(K, d) vectors are pulled back through the trunk, those of the tasks or the unit vectors, in one batch.
`rules` derives the gradients of a layer's parameters from them.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator

import torch

from stg_ray.affinities.gradients.capture import Calls, Capture, pull_back
from stg_ray.affinities.gradients.functional import Functional
from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.gradients.layers import Layer, Layers, Trace, check_independence, choose, wanted, with_rules
from stg_ray.errors import InputError
from stg_ray.models.network import TaskNetwork

MEMORY = 512 * 2**20
"""Bytes that a micro-batch may take: the same wherever there is so much, so that equal runs round in the same way."""

MEMORY_ON_GPU = 4 * 2**30
"""The same for a GPU, which is busy only with many samples at once."""

SEGMENT = 128 * 2**20
"""Bytes of errors, pulled back to several layers of one sample, that are held at once; a deeper trunk is gone through
again for each such segment of layers."""

MAX_ROWS = 256
"""Samples of a micro-batch at most."""


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
        check_independence(self.network.trunk, x)
        trace = Trace(self.network.trunk, x)
        chosen = choose(self.network.trunk, layers, trace)
        self.layers = with_rules(self.network.trunk, chosen, trace, x)
        self.n_activations = sum(trace.sizes.values())
        self.memory = memory
        self.rows = self._rows_within(memory)

    @property
    def n_coordinates(self) -> int:
        """The number of all layers' coordinates."""
        return sum(layer.n_coordinates for layer in self.layers)

    def halved(self) -> SampleGradients:
        """Return the same engine with half the memory, and half the samples in a micro-batch."""
        other = copy.copy(self)
        other.memory, other.rows = self.memory // 2, max(1, self.rows // 2)
        return other

    def of_layers(self, names: Container[str]) -> SampleGradients:
        """Return the same engine for some of its layers."""
        other = copy.copy(self)
        other.layers = [layer for layer in self.layers if layer.name in names]
        other.rows = min(self.rows, other._rows_within(self.memory))
        return other

    def _rows_within(self, memory: int) -> int:
        """Return the samples of a micro-batch that fit into `memory` bytes.

        One sample takes its activations (twice, and as much for the graph), the errors of a segment of layers, and
        numbers for each pair of tasks.
        """
        n_tasks, d = len(self.network.layout.tasks), self.network.heads.in_features
        widest = max((sum(layer.n_outputs for layer in segment) for segment in self._segments()), default=0)
        pairs = n_tasks * (n_tasks - 1) // 2
        heads = d * (2 * self.network.layout.n_outputs + 3 * n_tasks)
        numbers = 4 * self.n_activations + 3 * n_tasks * widest + 2 * pairs + heads
        return max(1, min(MAX_ROWS, memory // (numbers * self.dtype.itemsize)))

    def at(self, inputs: torch.Tensor, labels: torch.Tensor) -> Pullback:
        """Run the trunk forward on raw inputs (n, ...), with labels (n, K), floating point, NaN where missing."""
        return Pullback(self, inputs, labels)

    def _segments(self) -> list[list[Layer]]:
        """Return the layers with rules, in segments whose errors are held at once."""
        room = SEGMENT // (self.dtype.itemsize * len(self.network.layout.tasks))
        segments: list[list[Layer]] = []
        for layer in self.layers:
            if layer.rule is None:
                continue
            if segments and sum(other.n_outputs for other in segments[-1]) + layer.n_outputs <= room:
                segments[-1].append(layer)
            else:
                segments.append([layer])
        return segments


class Pullback:
    """A micro-batch after one forward pass; `layers` goes backward, as often as it is called.

    Args:
        gradients: the engine.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN where missing.

    Attributes:
        features: (n, d) of the trunk.
        v: (n, K, d) gradients of the losses at the features.
    """

    def __init__(self, gradients: SampleGradients, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        network = gradients.network
        self.gradients = gradients
        self.x = network.normalize(as_input(inputs, gradients.dtype)).detach()
        ruled = [layer.name for layer in gradients.layers if layer.rule is not None]
        self.capture = Capture(network.trunk, ruled)
        with torch.enable_grad() if ruled else torch.no_grad():
            self.features = self.capture.run(self.x)
        self.v = head_gradients(network, self.features, labels.to(gradients.dtype))

    def layers(self, scale: torch.Tensor | None = None) -> Iterator[tuple[Layer, LayerGradients]]:
        """Yield the gradients of one layer after the other, times `scale` (n, K) where it is given."""
        v = self.v if scale is None else self.v * scale[:, :, None]
        trunk = self.gradients.network.trunk
        for segment in self.gradients._segments():
            calls = [self.capture.calls.get(layer.name, Calls()) for layer in segment]
            errors = iter(pull_back(self.features, [y for call in calls for y in call.outputs], v))
            for layer, call in zip(segment, calls, strict=True):
                assert layer.rule is not None
                module = trunk.get_submodule(layer.name)
                of_layer = [next(errors) for _ in call.outputs]
                yield layer, layer.rule(module, wanted(layer), call.inputs, of_layer)
        for layer in self.gradients.layers:
            if layer.rule is None:
                yield layer, Functional(trunk, layer.parameters, self.x, v)


def head_gradients(network: TaskNetwork, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the gradients v (n, K, d) of the K losses at the trunk's outputs; 0 where a label is missing.

    Each output column belongs to one task, so the derivative of the sum of all losses with respect to the outputs
    holds those of the tasks side by side.

    Args:
        network: with linear heads.
        features: (n, d) outputs of the trunk.
        labels: (n, K) floating point, NaN where missing.
    """
    with torch.enable_grad():
        outputs = network.heads(features.detach()).requires_grad_()
        (errors,) = torch.autograd.grad(network.layout.losses(outputs, labels).sum(), outputs)
    columns: torch.Tensor = errors[:, :, None] * network.heads.weight.detach()
    if len(network.layout.multiclass) == 0:
        return columns
    owner = torch.cat([torch.full((task.n_outputs,), t) for t, task in enumerate(network.layout.tasks)])
    v = columns.new_zeros(len(features), len(network.layout.tasks), features.shape[1])
    return v.index_add_(1, owner.to(columns.device), columns)


def as_input(inputs: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert floating-point inputs to the precision of the network; whole numbers (images, tokens) stay."""
    return inputs.to(dtype) if inputs.is_floating_point() else inputs
