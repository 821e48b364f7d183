"""Pairwise L1 distances on a GPU, by a kernel of Triton, which comes with torch's builds for CUDA.

torch's own kernels read both rows of a pair for each pair: they wait for memory. Here a program holds the differences
of the tasks of two tiles in registers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

TILE = 8
"""Tasks of a tile: a program has `TILE` x `TILE` pairs."""

WIDTH = 32
"""Coordinates that a program takes at once."""

WARPS = 2
PROGRAMS = 8192
"""Programs that keep a GPU busy: fewer are split by coordinates. On an H200, 2,048 took up to 1.2 times as
long for 100 tasks."""


@triton.jit  # type: ignore[untyped-decorator]
def _tile_pair(
    x: tl.tensor,
    out: tl.tensor,
    n_tasks: tl.tensor,
    m: tl.tensor,
    per_split: tl.tensor,
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Add up |x_a - x_b| over a program's coordinates, for the tasks of two tiles.

    Args:
        x: (n, K, m), contiguous.
        out: (splits, n, K, K); what is above its diagonal is written.
        n_tasks: K.
        m: coordinates of a row.
        per_split: of them, those of a program.
        TILE: tasks of a tile.
        WIDTH: coordinates at once.
    """
    sample, split = tl.program_id(0), tl.program_id(2)
    n_tiles = tl.cdiv(n_tasks, TILE)
    first, second = tl.program_id(1) // n_tiles, tl.program_id(1) % n_tiles
    if first <= second:
        a = first * TILE + tl.arange(0, TILE)
        b = second * TILE + tl.arange(0, TILE)
        rows = x + sample.to(tl.int64) * n_tasks * m
        rows_a, rows_b = rows + a.to(tl.int64)[:, None] * m, rows + b.to(tl.int64)[:, None] * m
        total = tl.zeros((TILE, TILE, WIDTH), dtype=x.dtype.element_ty)
        stop = tl.minimum(m, (split + 1) * per_split)
        for start in range(split * per_split, stop, WIDTH):
            columns = start + tl.arange(0, WIDTH)[None, :]
            of_a = tl.load(rows_a + columns, mask=(a[:, None] < n_tasks) & (columns < stop), other=0.0)
            of_b = tl.load(rows_b + columns, mask=(b[:, None] < n_tasks) & (columns < stop), other=0.0)
            total += tl.abs(of_a[:, None, :] - of_b[None, :, :])
        sums = tl.sum(total, axis=2)
        at = (split.to(tl.int64) * tl.num_programs(0) + sample) * n_tasks * n_tasks
        upper = (a[:, None] < b[None, :]) & (b[None, :] < n_tasks)
        tl.store(out + at + a[:, None] * n_tasks + b[None, :], sums, mask=upper)


def pairwise_l1(x: torch.Tensor) -> torch.Tensor:
    """Compute the L1 distances (n, K (K - 1) / 2) of the K rows of each of n matrices (n, K, m) on a GPU.

    The same values give the same sums, to the last bit.
    """
    n, n_tasks, m = x.shape
    a, b = torch.triu_indices(n_tasks, n_tasks, 1, device=x.device)
    if 0 in (n, m, len(a)):
        return x.new_zeros(n, len(a))
    n_tiles = triton.cdiv(n_tasks, TILE)
    n_splits = max(1, min(triton.cdiv(m, 8 * WIDTH), PROGRAMS // (n * n_tiles * (n_tiles + 1) // 2)))
    per_split = triton.cdiv(triton.cdiv(m, n_splits), WIDTH) * WIDTH
    n_splits = triton.cdiv(m, per_split)
    out = x.new_empty(n_splits, n, n_tasks, n_tasks)
    with torch.cuda.device(x.device):
        _tile_pair[(n, n_tiles * n_tiles, n_splits)](
            x.contiguous(), out, n_tasks, m, per_split, TILE=TILE, WIDTH=WIDTH, num_warps=WARPS
        )
    return out.sum(dim=0)[:, a, b]
