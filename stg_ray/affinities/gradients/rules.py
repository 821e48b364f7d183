"""Rules for the per-sample gradients of a layer's parameters, from its inputs and the errors that come back to it.

For sample i and task t, with inputs a and errors e_t = dl_t/dy at the layer's outputs y, every rule below is the chain
rule, written for all tasks at once. A layer that is called more than once has the sum over its calls.

A new rule: a function like `linear` below, and an entry in `RULES`. A layer without a rule, or one that uses its
parameters in a way that the rule does not know of, is left to torch.func (`Functional`); `layers.with_rules` tells
which by comparing the rule with automatic differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from stg_ray.affinities.gradients.layer_gradients import LayerGradients, Lookups, OuterProducts, Scalings

Wanted = frozenset[str]
"""The parameters of a layer that are looked at: {"weight", "bias"} or one of them."""

PerCall = Sequence[torch.Tensor]
"""A tensor for each call of the layer: its inputs (n, ...), or the errors (n, K, ...) at its outputs."""

Rule = Callable[[Any, Wanted, PerCall, PerCall], LayerGradients]
"""Called with the module, the parameters that are looked at, the inputs of its calls, and the errors at its outputs."""


def linear(
    module: nn.Linear,  # noqa: ARG001 - all rules are called alike
    wanted: Wanted,
    inputs: PerCall,
    errors: PerCall,
) -> LayerGradients:
    """Apply to vectors or to sequences of them: the dimensions between are positions."""
    columns = [a.reshape(len(a), -1, a.shape[-1]).transpose(1, 2) for a in inputs]
    back = [e.reshape(*e.shape[:2], -1, e.shape[-1]).transpose(2, 3) for e in errors]
    return _outer(wanted, [a[:, None] for a in columns], back)


def convolution(module: nn.Conv1d | nn.Conv2d, wanted: Wanted, inputs: PerCall, errors: PerCall) -> LayerGradients:
    """Unfold the inputs to one column for each position of the output."""
    columns = []
    for a in inputs:
        padded = _padded(module, a)
        if padded.ndim == 3:
            padded = padded[:, :, None]
        sizes = (module.kernel_size, module.dilation, module.stride)
        kernel, dilation, stride = ((1, *size) if len(size) == 1 else size for size in sizes)
        unfolded = F.unfold(padded, kernel, dilation=dilation, stride=stride)
        columns.append(unfolded.reshape(len(a), module.groups, -1, unfolded.shape[2]))
    return _outer(wanted, columns, [e.flatten(3) for e in errors])


def _padded(module: nn.Conv1d | nn.Conv2d, inputs: torch.Tensor) -> torch.Tensor:
    if module.padding == "valid":
        return inputs
    amounts: list[int] = []
    for dimension in reversed(range(len(module.kernel_size))):
        if module.padding == "same":
            total = module.dilation[dimension] * (module.kernel_size[dimension] - 1)
            amounts += [total // 2, total - total // 2]
        else:
            amounts += [int(module.padding[dimension])] * 2
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(inputs, amounts, mode=mode)


def _outer(wanted: Wanted, columns: PerCall, errors: PerCall) -> OuterProducts:
    """Join all calls as positions, with a last row of ones for the bias."""
    inputs = _joined(columns, 3)
    if "weight" not in wanted:
        inputs = inputs[:, :, :0]
    if "bias" in wanted:
        inputs = torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1, inputs.shape[3])], dim=2)
    return OuterProducts(_joined(errors, 3), inputs)


def embedding(
    module: nn.Embedding,
    wanted: Wanted,  # noqa: ARG001 - there is the weight only
    inputs: PerCall,
    errors: PerCall,
) -> LayerGradients:
    """Keep the tokens; the padding token trains nothing."""
    tokens = _joined([a.flatten(1) for a in inputs], 1)
    back = _joined([e.flatten(2, -2) for e in errors], 2)
    if module.padding_idx is not None:
        tokens = torch.where(tokens == module.padding_idx, module.num_embeddings, tokens)
    return Lookups(back, tokens, module.num_embeddings)


def channel_norm(module: nn.Module, wanted: Wanted, inputs: PerCall, errors: PerCall) -> LayerGradients:
    """Standardise as batch norm (in evaluation mode) or group norm: a weight and a bias for each channel."""
    standardised = []
    for a in inputs:
        if isinstance(module, nn.GroupNorm):
            x = F.group_norm(a, module.num_groups, eps=module.eps)
        else:
            assert isinstance(module, nn.modules.batchnorm._NormBase)
            x = F.batch_norm(a, module.running_mean, module.running_var, eps=module.eps)
        standardised.append(x.reshape(*x.shape[:2], -1))
    back = [e.reshape(*e.shape[:3], -1) for e in errors]
    return _scaled(wanted, _joined(standardised, 2), _joined(back, 3))


def layer_norm(module: nn.LayerNorm | nn.RMSNorm, wanted: Wanted, inputs: PerCall, errors: PerCall) -> LayerGradients:
    """Standardise as layer norm or RMS norm: a weight and a bias for each place of the last dimensions."""
    shape = list(module.normalized_shape)
    size = math.prod(shape)
    standardised, back = [], []
    for a, e in zip(inputs, errors, strict=True):
        if isinstance(module, nn.LayerNorm):
            x = F.layer_norm(a, shape, eps=module.eps)
        else:
            x = F.rms_norm(a, shape, eps=module.eps)
        standardised.append(x.reshape(len(x), -1, size).transpose(1, 2))
        back.append(e.reshape(*e.shape[:2], -1, size).transpose(2, 3))
    return _scaled(wanted, _joined(standardised, 2), _joined(back, 3))


def _joined(calls: PerCall, dim: int) -> torch.Tensor:
    """Concatenate the calls; a single one stays as it is, without a copy."""
    return calls[0] if len(calls) == 1 else torch.cat(list(calls), dim=dim)


def _scaled(wanted: Wanted, standardised: torch.Tensor, errors: torch.Tensor) -> Scalings:
    values = []
    if "weight" in wanted:
        values.append(torch.einsum("nkcl,ncl->nkc", errors, standardised))
    if "bias" in wanted:
        values.append(errors.sum(dim=3))
    return Scalings(torch.stack(values, dim=3))


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Embedding: embedding,
    nn.BatchNorm1d: channel_norm,
    nn.BatchNorm2d: channel_norm,
    nn.BatchNorm3d: channel_norm,
    nn.GroupNorm: channel_norm,
    nn.LayerNorm: layer_norm,
    nn.RMSNorm: layer_norm,
}
"""The rule of each type of module."""
