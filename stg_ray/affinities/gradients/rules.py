"""Per-sample gradients of one layer's own parameters, from what the layer saw and what comes back to it.

For sample i and task t, with inputs a and errors e_t = dl_t/dy at the layer's outputs y, every rule below is the chain
rule, written for all tasks at once and a block of coordinates at a time, so that the whole gradient of a layer need
never be in memory. A layer that is called more than once has the sum over its calls.

A new rule: a function like `linear` below, and an entry in `RULES`. What has no rule, or uses its parameters in a way
that the rule does not know of, is left to torch.func (`Functional`); `gradients.SampleGradients` finds out which.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional as F

Wanted = frozenset[str]
"""Which of a layer's own parameters are looked at: {"weight", "bias"} or one of them."""


class LayerGradients(ABC):
    """Gradients of n samples and K tasks with respect to a layer's `n_rows` x `row_size` coordinates.

    A row is one index of the parameters' first dimension, with its bias.
    """

    n_rows: int
    row_size: int

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n, K)."""

    @abstractmethod
    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        """(samples, K, (stop - start) * row_size)."""

    def of_coordinates(self, samples: slice, index: torch.Tensor) -> torch.Tensor:
        """(samples, K, m) at sorted coordinates `index` (m,), each a row * row_size + column."""
        rows = torch.div(index, self.row_size, rounding_mode="floor")
        found = []
        for row in rows.unique().tolist():
            own = index[rows == row] - row * self.row_size
            found.append(self.of_rows(samples, row, row + 1)[:, :, own])
        return torch.cat(found, dim=2)

    def equidistant(self) -> torch.Tensor | None:
        """(n, K, m) whose L1 distances between tasks are those of the gradients, where there is something shorter."""
        return None

    def signed_sum(self, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """(K, (stop - start) * row_size): sum_i weights_it sign(g_it) for weights (n, K)."""
        total = torch.zeros(())
        for s in range(self.shape[0]):
            total = total + weights[s, :, None] * self.of_rows(slice(s, s + 1), start, stop)[0].sign()
        return total


@dataclass
class OuterProducts(LayerGradients):
    """g_it = sum_l e_itl (outer) a_il over L positions: linear layers and convolutions.

    Attributes:
        errors: (n, K, rows, L).
        inputs: (n, groups, row_size, L), with a last row of ones where there is a bias.
    """

    errors: torch.Tensor
    inputs: torch.Tensor

    def __post_init__(self) -> None:
        self.n_rows, self.row_size = self.errors.shape[2], self.inputs.shape[2]

    @property
    def shape(self) -> tuple[int, int]:
        return self.errors.shape[0], self.errors.shape[1]

    @property
    def is_rank_one(self) -> bool:
        return self.errors.shape[3] == 1 and self.inputs.shape[1] == 1

    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        errors = self.errors[samples, :, start:stop]
        n, n_tasks, n_rows, n_positions = errors.shape
        if self.inputs.shape[1] == 1:
            left = errors.reshape(n, n_tasks * n_rows, n_positions)
            return (left @ self.inputs[samples, 0].transpose(1, 2)).reshape(n, n_tasks, -1)
        inputs = self.inputs[samples, self._group_of(torch.arange(start, stop))]
        return torch.einsum("nkol,noil->nkoi", errors, inputs).reshape(n, n_tasks, -1)

    def of_coordinates(self, samples: slice, index: torch.Tensor) -> torch.Tensor:
        rows, columns = torch.div(index, self.row_size, rounding_mode="floor"), index % self.row_size
        inputs = self.inputs[samples, self._group_of(rows), columns]
        return torch.einsum("nkml,nml->nkm", self.errors[samples][:, :, rows], inputs)

    def _group_of(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.div(rows * self.inputs.shape[1], self.n_rows, rounding_mode="floor")

    def equidistant(self) -> torch.Tensor | None:
        """|e_a (outer) a - e_b (outer) a|_1 = |e_a - e_b|_1 |a|_1: with one position no gradient is ever formed."""
        if not self.is_rank_one:
            return None
        return self.errors[..., 0] * self.inputs[:, 0].abs().sum(dim=(1, 2))[:, None, None]

    def signed_sum(self, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """sign(e (outer) a) = sign(e) (outer) sign(a): with one position the sum is one matrix product."""
        if not self.is_rank_one:
            return super().signed_sum(weights, start, stop)
        left = self.errors[:, :, start:stop, 0].sign() * weights[:, :, None]
        return (left.flatten(1).T @ self.inputs[:, 0, :, 0].sign()).reshape(self.shape[1], -1)


@dataclass
class Scalings(LayerGradients):
    """Weight: sum over positions of e_it x_i with the standardised input x; bias: sum over positions of e_it.

    Attributes:
        values: (n, K, rows, row_size), weight before bias.
    """

    values: torch.Tensor

    def __post_init__(self) -> None:
        self.n_rows, self.row_size = self.values.shape[2:]

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        return self.values[samples, :, start:stop].flatten(2)

    def equidistant(self) -> torch.Tensor | None:
        return self.values.flatten(2)


@dataclass
class Lookups(LayerGradients):
    """Row v of an embedding has the sum of the errors of the positions that hold the token v.

    Attributes:
        errors: (n, K, L, row_size).
        tokens: (n, L); `n_rows` where a position trains nothing (padding).
        n_rows: rows of the embedding.
    """

    errors: torch.Tensor
    tokens: torch.Tensor
    n_rows: int

    def __post_init__(self) -> None:
        self.row_size = self.errors.shape[3]

    @property
    def shape(self) -> tuple[int, int]:
        return self.errors.shape[0], self.errors.shape[1]

    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        tokens, errors = self.tokens[samples], self.errors[samples]
        outside = stop - start  # a row for all other tokens, cut off in the end
        place = torch.where((tokens >= start) & (tokens < stop), tokens - start, outside)
        found = errors.new_zeros(*errors.shape[:2], outside + 1, self.row_size)
        found.scatter_add_(2, place[:, None, :, None].expand_as(errors), errors)
        return found[:, :, :outside].flatten(2)

    def equidistant(self) -> torch.Tensor | None:
        """All other rows are zero: the sums by token of the sample, at the token's first position."""
        same = self.tokens[:, :, None] == self.tokens[:, None, :]
        first = same.to(torch.uint8).argmax(dim=2)
        errors = torch.where((self.tokens == self.n_rows)[:, None, :, None], 0, self.errors)
        return torch.zeros_like(errors).scatter_add_(2, first[:, None, :, None].expand_as(errors), errors).flatten(2)


class Functional(LayerGradients):
    """Any parameters of the trunk, by torch.func: one row for each coordinate. The gradients of one block of samples
    are kept until another is asked for.

    Args:
        inputs: (n, ...) normalised.
        v: (n, K, d) gradients of the losses at the trunk's outputs.
    """

    row_size = 1

    def __init__(self, trunk: nn.Module, names: Sequence[str], inputs: torch.Tensor, v: torch.Tensor) -> None:
        parameters = dict(trunk.named_parameters())
        self.trunk, self.inputs, self.v = trunk, inputs, v
        self.chosen = {name: parameters[name].detach() for name in names}
        self.fixed = {name: value.detach() for name, value in (parameters | dict(trunk.named_buffers())).items()}
        self.n_rows = sum(value.numel() for value in self.chosen.values())
        self._of: tuple[slice, torch.Tensor] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.v.shape[0], self.v.shape[1]

    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        return self._whole(samples)[:, :, start:stop]

    def of_coordinates(self, samples: slice, index: torch.Tensor) -> torch.Tensor:
        return self._whole(samples)[:, :, index]

    def _whole(self, samples: slice) -> torch.Tensor:
        if self._of is None or self._of[0] != samples:
            self._of = None
            self._of = samples, vmap(self._of_sample)(self.inputs[samples], self.v[samples]).detach()
        return self._of[1]

    def _of_sample(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        def features(values: dict[str, torch.Tensor]) -> torch.Tensor:
            return functional_call(self.trunk, {**self.fixed, **values}, (x[None],))[0]

        (gradients,) = vmap(vjp(features, self.chosen)[1])(v)
        return torch.cat([gradients[name].flatten(1) for name in self.chosen], dim=1)


Calls = Sequence[torch.Tensor]
Rule = Callable[[Any, Wanted, Calls, Calls], LayerGradients]


def linear(module: nn.Linear, wanted: Wanted, inputs: Calls, errors: Calls) -> LayerGradients:
    """On vectors or on sequences of them: the dimensions between are positions."""
    columns = [a.reshape(len(a), -1, a.shape[-1]).transpose(1, 2) for a in inputs]
    back = [e.reshape(*e.shape[:2], -1, e.shape[-1]).transpose(2, 3) for e in errors]
    return _outer(wanted, [a[:, None] for a in columns], back)


def convolution(module: nn.Conv1d | nn.Conv2d, wanted: Wanted, inputs: Calls, errors: Calls) -> LayerGradients:
    """The inputs unfolded to one column for each position of the output."""
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


def _outer(wanted: Wanted, columns: Calls, errors: Calls) -> OuterProducts:
    """All calls side by side as positions; a last row of ones for the bias."""
    inputs = _joined(columns, 3)
    if "weight" not in wanted:
        inputs = inputs[:, :, :0]
    if "bias" in wanted:
        inputs = torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1, inputs.shape[3])], dim=2)
    return OuterProducts(_joined(errors, 3), inputs)


def embedding(module: nn.Embedding, wanted: Wanted, inputs: Calls, errors: Calls) -> LayerGradients:
    tokens = _joined([a.flatten(1) for a in inputs], 1)
    back = _joined([e.flatten(2, -2) for e in errors], 2)
    if module.padding_idx is not None:
        tokens = torch.where(tokens == module.padding_idx, module.num_embeddings, tokens)
    return Lookups(back, tokens, module.num_embeddings)


def channel_norm(module: nn.Module, wanted: Wanted, inputs: Calls, errors: Calls) -> LayerGradients:
    """Batch norm (in evaluation mode) and group norm: a weight and a bias for each channel."""
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


def layer_norm(module: nn.LayerNorm | nn.RMSNorm, wanted: Wanted, inputs: Calls, errors: Calls) -> LayerGradients:
    """A weight and a bias for each place of the normalised dimensions, the last ones."""
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


def _joined(calls: Calls, dim: int) -> torch.Tensor:
    """Side by side; a single one as it is, without a copy."""
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
