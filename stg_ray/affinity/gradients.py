"""Per-sample gradients of all tasks' losses with respect to shared parameters, at one point.

The gradient of task t at sample i is g_it = J_i^T v_it, with v_it = dl_t/dz_i at the trunk's output z_i and J_i the
trunk's Jacobian: one forward pass serves all tasks, and the heads are linear, so all v_it come from one product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from torch.func import functional_call, vjp, vmap

from stg_ray.errors import InputError
from stg_ray.models.network import TaskNetwork
from stg_ray.models.outputs import as_labels

CHUNK_BYTES = 256 * 2**20
"""Memory that the per-sample gradients of one chunk may take."""


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


def last_layer(network: TaskNetwork, inputs: torch.Tensor) -> str:
    """Name of the trunk's module with parameters of its own that is called last, found by running it on one input.

    Raises:
        InputError: the trunk uses no parameters.
    """
    called: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in network.trunk.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with torch.no_grad():
            network.trunk(network.normalize(inputs[:1]))
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise InputError("the trunk uses no parameters: the landscape affinity compares gradients of shared ones")
    return called[-1]


def chosen_layers(network: TaskNetwork, layers: str, inputs: torch.Tensor) -> list[str]:
    """Names of the trunk's modules whose own parameters are compared: the one called last, or all that have any."""
    if layers == "last":
        return [last_layer(network, inputs)]
    modules = network.trunk.named_modules()
    return [name for name, module in modules if next(module.parameters(recurse=False), None) is not None]


def linear_factors(
    network: TaskNetwork, layer: nn.Linear, inputs: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The factors of a linear layer's gradients: g_it = b_it (outer) a_i, with 1 appended to a_i for the bias.

    Returns:
        b (n, K, out) and a (n, in), or (n, in + 1) with a bias; None if the layer does not see one vector per sample.
    """
    seen: dict[str, torch.Tensor] = {}

    def keep(_module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        seen["input"], seen["calls"] = args[0].detach(), seen.get("calls", torch.zeros(())) + 1
        seen["output"] = output.detach().requires_grad_()
        return seen["output"]

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            features = network.trunk(network.normalize(inputs))
    finally:
        handle.remove()
    a = seen["input"]
    if a.ndim != 2 or seen["calls"] != 1:
        return None
    v = head_gradients(network, features, labels)
    (b,) = torch.autograd.grad(features, seen["output"], v.transpose(0, 1), is_grads_batched=True)
    return b.transpose(0, 1), a if layer.bias is None else torch.cat([a, a.new_ones(len(a), 1)], dim=1)


def parameter_gradients(
    network: TaskNetwork, names: list[str], inputs: torch.Tensor, labels: torch.Tensor
) -> Iterator[list[torch.Tensor]]:
    """Per-sample gradients (n, K, p) for each named trunk parameter, in chunks of rows that fit into memory."""
    parameters = dict(network.trunk.named_parameters())
    chosen = {name: parameters[name].detach() for name in names}
    fixed = {name: value.detach() for name, value in (parameters | dict(network.trunk.named_buffers())).items()}
    n_tasks = len(network.layout.tasks)
    bytes_per_row = 4 * 2 * n_tasks * sum(value.numel() for value in chosen.values())
    chunk = max(1, CHUNK_BYTES // bytes_per_row)

    def of_sample(x: torch.Tensor, v: torch.Tensor) -> list[torch.Tensor]:
        def trunk(values: dict[str, torch.Tensor]) -> torch.Tensor:
            return functional_call(network.trunk, {**fixed, **values}, (x[None],))[0]

        pull_back = vjp(trunk, chosen)[1]
        (gradients,) = vmap(pull_back)(v)
        return [gradients[name] for name in names]

    normalized = network.normalize(inputs).detach()
    with torch.no_grad():
        features = network.trunk(normalized)
    v = head_gradients(network, features, labels)
    for start in range(0, len(inputs), chunk):
        rows = slice(start, start + chunk)
        gradients = vmap(of_sample)(normalized[rows], v[rows])
        yield [g.detach().reshape(*g.shape[:2], -1) for g in gradients]


def aligned_l1(
    network: TaskNetwork,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    layers: Literal["last", "all"] = "last",
    normalize: bool = False,
) -> torch.Tensor:
    """Distances |g_ia - g_ib|_1 of every pair of tasks at every sample: (n, K, K).

    Thakur et al., arXiv 2412.04413: the distance of the sample-wise local optima one gradient step away, with the
    learning rate, which is a common factor, left out. Where task a or b has no label at sample i the value is
    meaningless and must be masked. The network must be in evaluation mode.

    Args:
        inputs: (n, ...) raw inputs.
        labels: (n, K) as stored (-1 or NaN for missing).
        layers: the layer of the trunk with parameters that is called last, or all parameters.
        normalize: scale each g_it to unit L1 norm over the chosen parameters (a zero gradient stays zero).

    Raises:
        InputError: the network is in training mode, or its trunk uses no parameters.
    """
    if network.training:
        raise InputError("the network is in training mode, where batch statistics mix samples: call network.eval()")
    target = as_labels(labels)
    if layers == "all":
        names = [name for name, _ in network.trunk.named_parameters()]
    else:
        last = last_layer(network, inputs)
        layer = network.trunk.get_submodule(last)
        factors = linear_factors(network, layer, inputs, target) if isinstance(layer, nn.Linear) else None
        if factors is not None:
            b, norms = factors[0], factors[1].abs().sum(dim=1)
            if normalize:
                # |b (outer) a| = |b| |a|, so the scaled gradients differ by the scaled b, unless a is zero.
                unit = _unit(b, b.abs().sum(dim=2, keepdim=True))
                return torch.cdist(unit, unit, p=1) * (norms > 0)[:, None, None]
            return torch.cdist(b, b, p=1) * norms[:, None, None]
        names = [f"{last}.{name}" if last else name for name, _ in layer.named_parameters(recurse=False)]
    distances = []
    for gradients in parameter_gradients(network, names, inputs, target):
        if normalize:
            total = torch.stack([g.abs().sum(dim=2, keepdim=True) for g in gradients]).sum(dim=0)
            gradients = [_unit(g, total) for g in gradients]
        distances.append(torch.stack([torch.cdist(g, g, p=1) for g in gradients]).sum(dim=0))
    return torch.cat(distances)


def rows_at_once(network: TaskNetwork) -> int:
    """Rows whose distances and head gradients stay within `CHUNK_BYTES`."""
    n_tasks, n_features = len(network.layout.tasks), network.heads.in_features
    per_row = 4 * (3 * n_tasks**2 + 3 * n_tasks * n_features + 2 * network.layout.n_outputs * n_features)
    return max(1, min(1024, CHUNK_BYTES // per_row))


def _unit(gradients: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    return torch.where(norms > 0, gradients / norms, torch.zeros_like(gradients))
