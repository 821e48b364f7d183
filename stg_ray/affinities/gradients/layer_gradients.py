"""Per-sample gradients of one layer's parameters, by the form that they have.

The gradient of a large layer (n, K, coordinates) need never be in memory: a block of coordinates is computed when it
is asked for. Outer products are the form of linear layers and convolutions, scalings that of norms, lookups that of
embeddings; anything else comes from torch.func (`functional`). `rules` says which layers have which form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from stg_ray.training.compute import exact_float32

FORMED = 2**24
"""Numbers of the gradients that are formed at once where they are projected."""


class LayerGradients(ABC):
    """Gradients of n samples and K tasks with respect to a layer's `n_rows` x `row_size` coordinates.

    A row is one index of the parameters' first dimension, with its bias. Coordinates are numbered row by row.
    """

    n_rows: int
    row_size: int

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """The number of samples and of tasks, (n, K)."""

    @property
    @abstractmethod
    def is_cuda(self) -> bool:
        """Whether they are computed on a GPU."""

    @abstractmethod
    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        """Compute the gradients of some samples in rows `start` to `stop`: (samples, K, (stop - start) * row_size)."""

    def of_coordinates(self, samples: slice, index: torch.Tensor) -> torch.Tensor:
        """Compute the gradients (samples, K, m) at sorted coordinates `index` (m,), each row * row_size + column."""
        rows = torch.div(index, self.row_size, rounding_mode="floor")
        pieces = []
        for row in sorted(set(rows.tolist())):
            columns = index[rows == row] - row * self.row_size
            pieces.append(self.of_rows(samples, row, row + 1)[:, :, columns])
        return torch.cat(pieces, dim=2)

    def equidistant(self) -> torch.Tensor | None:
        """Return (n, K, m) whose L1 distances between tasks, and norms, are those of the gradients.

        Returns:
            None where there is nothing shorter than the gradients.
        """
        return None

    def signed_sum(self, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute sum_i weights_it sign(g_it) in rows `start` to `stop`, for weights (n, K).

        Returns:
            (K, (stop - start) * row_size).
        """
        total = torch.zeros(())
        for s in range(self.shape[0]):
            total = total + weights[s, :, None] * self.of_rows(slice(s, s + 1), start, stop)[0].sign()
        return total

    def weighted_sum(self, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute sum_i weights_it g_it in rows `start` to `stop`, for weights (n, K).

        Returns:
            (K, (stop - start) * row_size).
        """
        total = torch.zeros(())
        for s in range(self.shape[0]):
            total = total + weights[s, :, None] * self.of_rows(slice(s, s + 1), start, stop)[0]
        return total

    def projected(self, directions: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Multiply the gradients in rows `start` to `stop` by directions ((stop - start) * row_size, d): (n, K, d)."""
        n, n_tasks = self.shape
        step = max(1, FORMED // (n_tasks * len(directions)))
        pieces = [self.of_rows(slice(s, min(s + step, n)), start, stop) @ directions for s in range(0, n, step)]
        return torch.cat(pieces)


@dataclass
class OuterProducts(LayerGradients):
    """Outer products g_it = sum_l e_itl (outer) a_il over L positions: linear layers and convolutions.

    Attributes:
        errors: (n, K, rows, L).
        inputs: (n, groups, row_size, L), with a last row of ones where there is a bias.
    """

    errors: torch.Tensor
    inputs: torch.Tensor

    def __post_init__(self) -> None:
        self.n_rows, self.row_size = self.errors.shape[2], self.inputs.shape[2]

    @property
    def is_cuda(self) -> bool:
        """Whether they are computed on a GPU."""
        return self.errors.is_cuda

    @property
    def shape(self) -> tuple[int, int]:
        """The number of samples and of tasks, (n, K)."""
        return self.errors.shape[0], self.errors.shape[1]

    @property
    def is_rank_one(self) -> bool:
        """Whether there is one position only, and one group of inputs."""
        return self.errors.shape[3] == 1 and self.inputs.shape[1] == 1

    @exact_float32()
    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        """Multiply the errors of these rows by the inputs."""
        errors = self.errors[samples, :, start:stop]
        n, n_tasks, n_rows, n_positions = errors.shape
        if self.inputs.shape[1] == 1:
            left = errors.reshape(n, n_tasks * n_rows, n_positions)
            return (left @ self.inputs[samples, 0].transpose(1, 2)).reshape(n, n_tasks, -1)
        inputs = self.inputs[samples, self._group_of(torch.arange(start, stop))]
        return torch.einsum("nkol,noil->nkoi", errors, inputs).reshape(n, n_tasks, -1)

    def of_coordinates(self, samples: slice, index: torch.Tensor) -> torch.Tensor:
        """Multiply only the errors and inputs that these coordinates need."""
        rows, columns = torch.div(index, self.row_size, rounding_mode="floor"), index % self.row_size
        inputs = self.inputs[samples, self._group_of(rows), columns]
        return torch.einsum("nkml,nml->nkm", self.errors[samples][:, :, rows], inputs)

    def _group_of(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.div(rows * self.inputs.shape[1], self.n_rows, rounding_mode="floor")

    def equidistant(self) -> torch.Tensor | None:
        """Use |e_a (outer) a - e_b (outer) a|_1 = |e_a - e_b|_1 |a|_1: with one position no gradient is ever formed."""
        if not self.is_rank_one:
            return None
        return self.errors[..., 0] * self.inputs[:, 0].abs().sum(dim=(1, 2))[:, None, None]

    def signed_sum(self, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Use sign(e (outer) a) = sign(e) (outer) sign(a): with one position the sum is one matrix product."""
        if not self.is_rank_one:
            return super().signed_sum(weights, start, stop)
        left = self.errors[:, :, start:stop, 0].sign() * weights[:, :, None]
        return (left.flatten(1).T @ self.inputs[:, 0, :, 0].sign()).reshape(self.shape[1], -1)

    @exact_float32()
    def weighted_sum(self, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Sum over samples and positions by one matrix product, without the samples' gradients."""
        if self.inputs.shape[1] > 1:
            return super().weighted_sum(weights, start, stop)
        left = (self.errors[:, :, start:stop] * weights[:, :, None, None]).permute(1, 2, 0, 3)
        right = self.inputs[:, 0].permute(0, 2, 1)
        return (left.flatten(2).flatten(0, 1) @ right.flatten(0, 1)).reshape(self.shape[1], -1)

    @exact_float32()
    def projected(self, directions: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Use R^T (e (outer) a) = (R a)^T e: with one position the inputs are multiplied once, for all tasks."""
        if not self.is_rank_one:
            return super().projected(directions, start, stop)
        of_rows = directions.reshape(stop - start, self.row_size, -1)
        of_inputs = torch.einsum("ni,oid->nod", self.inputs[:, 0, :, 0], of_rows)
        return self.errors[:, :, start:stop, 0] @ of_inputs


@dataclass
class Scalings(LayerGradients):
    """Sums over positions of e_it x_i for a norm's weight, with the standardised input x, and of e_it for its bias.

    Attributes:
        values: (n, K, rows, row_size), weight before bias.
    """

    values: torch.Tensor

    def __post_init__(self) -> None:
        self.n_rows, self.row_size = self.values.shape[2:]

    @property
    def is_cuda(self) -> bool:
        """Whether they are computed on a GPU."""
        return self.values.is_cuda

    @property
    def shape(self) -> tuple[int, int]:
        """The number of samples and of tasks, (n, K)."""
        return self.values.shape[0], self.values.shape[1]

    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        """Return the values of these rows."""
        return self.values[samples, :, start:stop].flatten(2)

    def equidistant(self) -> torch.Tensor | None:
        """Return all values: they are there already."""
        return self.values.flatten(2)


@dataclass
class Lookups(LayerGradients):
    """Gradients of an embedding: row v has the sum of the errors of the positions that hold the token v.

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
    def is_cuda(self) -> bool:
        """Whether they are computed on a GPU."""
        return self.errors.is_cuda

    @property
    def shape(self) -> tuple[int, int]:
        """The number of samples and of tasks, (n, K)."""
        return self.errors.shape[0], self.errors.shape[1]

    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        """Add the errors of the positions by token."""
        tokens, errors = self.tokens[samples], self.errors[samples]
        outside = stop - start  # a row for all other tokens, cut off in the end
        place = torch.where((tokens >= start) & (tokens < stop), tokens - start, outside)
        sums = errors.new_zeros(*errors.shape[:2], outside + 1, self.row_size)
        sums.scatter_add_(2, place[:, None, :, None].expand_as(errors), errors)
        return sums[:, :, :outside].flatten(2)

    def equidistant(self) -> torch.Tensor | None:
        """Return the sums by token of the sample, at the token's first position: all other rows are zero."""
        same = self.tokens[:, :, None] == self.tokens[:, None, :]
        first = same.to(torch.uint8).argmax(dim=2)
        errors = torch.where((self.tokens == self.n_rows)[:, None, :, None], 0, self.errors)
        return torch.zeros_like(errors).scatter_add_(2, first[:, None, :, None].expand_as(errors), errors).flatten(2)
