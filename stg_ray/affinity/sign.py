"""Agreement of the signs of the tasks' per-sample gradients: for tasks that share no samples, too.

S_t = sum_i w_it sign(g_it), the density of sample-wise local optima of GradSign (Zhang and Jia 2022, arXiv 2110.08616),
with weights w that give every class of a task the same part. The affinity of two tasks is the cosine of S_a and S_b
centred at the mean over tasks. S adds over samples, but its size is that of the parameters: it is computed for a block
of coordinates at a time, and what leaves a block is the K x K matrix of its inner products.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from stg_ray.affinity.base import Partial
from stg_ray.affinity.gradients import chosen_layers, linear_factors, parameter_gradients, rows_at_once
from stg_ray.affinity.start import starting_network
from stg_ray.config import AffinityConfig, Config
from stg_ray.data.parts import read_index, read_part
from stg_ray.models import TaskNetwork
from stg_ray.models.outputs import as_labels
from stg_ray.storage import Storage
from stg_ray.task_matrix import Kind, TaskMatrix
from stg_ray.tasks import MISSING, Task

FOLDS = 4
"""The parts are dealt to so many folds; leaving one out at a time gives the standard errors."""

BLOCK_BYTES = 256 * 2**20
MIN_BLOCKS = 2
"""Two actors have something to do; each block repeats the forward passes."""


@dataclass(frozen=True)
class Block:
    """Coordinates `start` to `stop` of the first dimension of the parameters of a layer (a bias goes with its row)."""

    layer: str
    start: int
    stop: int


class SignAffinity:
    """Takes the first rows of each part, as the aligned landscape does."""

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = (
        "Agreement of the signs of the tasks' per-sample gradients: large where both pull the shared parameters the "
        "same way; defined for tasks without common samples."
    )

    @classmethod
    def build(cls, run: Storage, config: Config) -> SignAffinity:
        return cls(run, config.affinity, starting_network(run, config))

    @classmethod
    def n_units(cls, run: Storage, config: Config) -> int:
        return len(cls.build(run, config).blocks)

    def __init__(self, run: Storage, config: AffinityConfig, network: TaskNetwork) -> None:
        self.parts = run.sub("parts")
        self.network = network.eval()
        self.index = read_index(self.parts)
        self.rows_per_part = -(-config.samples // self.index.n_parts())
        self.blocks = blocks_of(network, config.layers, read_part(self.parts, "train", 0).inputs[:1])

    def partial(self, number: int) -> Partial:
        """Inner products of the tasks' S over one block: (1 + F, K, K), of all samples and without each fold."""
        block = self.blocks[number]
        counts = class_counts(self._labels(), self.network.layout.tasks)
        n_folds = min(FOLDS, self.index.n_parts())
        sums = torch.zeros(0)
        samples = 0
        for part_number in range(self.index.n_parts()):
            part = read_part(self.parts, "train", part_number)
            inputs, labels = part.inputs[: self.rows_per_part], part.labels[: self.rows_per_part]
            weights = balanced_weights(labels, self.network.layout.tasks, counts)
            own = signed_sums(self.network, block, torch.tensor(inputs), torch.tensor(labels), weights)
            if samples == 0:
                sums = torch.zeros(n_folds, *own.shape)
            sums[part_number % n_folds] += own
            samples += len(inputs)
        total = sums.sum(dim=0)
        variants = [total] + ([total - fold for fold in sums] if n_folds > 1 else [])
        products = [(s.double() @ s.double().T).numpy() for s in variants]
        return {"products": np.stack(products), "samples": np.array(samples)}

    def _labels(self) -> Iterable[np.ndarray]:
        for number in range(self.index.n_parts()):
            yield read_part(self.parts, "train", number).labels[: self.rows_per_part]

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        """Jackknife errors over the folds (Efron and Stein 1981)."""
        products: np.ndarray = np.zeros(())
        samples = 0
        for partial in partials:
            products = products + partial["products"]
            samples = int(partial["samples"])
        affinity, *without = map(centred_cosine, products)
        if without:
            spread = np.stack(without) - np.mean(without, axis=0)
            error = np.sqrt((len(without) - 1) / len(without) * np.square(spread).sum(axis=0))
        else:
            error = np.full_like(affinity, np.nan)
        return TaskMatrix(tuple(tasks), affinity, cls.kind, samples=samples), error


def centred_cosine(products: np.ndarray) -> np.ndarray:
    """Cosines of vectors centred at their mean, from their inner products (K, K); NaN for a vector that is the mean."""
    centred = products - products.mean(axis=0) - products.mean(axis=1, keepdims=True) + products.mean()
    norms = np.sqrt(np.maximum(np.diag(centred), 0))
    norms[norms <= 1e-9 * np.sqrt(max(np.diag(products).max(), 0))] = np.nan
    return np.clip(centred / np.outer(norms, norms), -1, 1)


def class_counts(label_blocks: Iterable[np.ndarray], tasks: Sequence[Task]) -> list[np.ndarray]:
    """For each task the number of its labels of each class; of a regression, of all."""
    counts = [np.zeros(task.n_classes) for task in tasks]
    for labels in label_blocks:
        for t, (task, own) in enumerate(zip(tasks, classes_of(labels, tasks), strict=True)):
            counts[t] += np.bincount(own[own != MISSING], minlength=task.n_classes)
    return counts


def classes_of(labels: np.ndarray, tasks: Sequence[Task]) -> list[np.ndarray]:
    """For each task the classes (n,) of its labels, -1 where missing; a regression has one class."""
    columns = []
    for t, task in enumerate(tasks):
        column = labels[:, t]
        if task.kind == "regression":
            columns.append(np.where(np.isnan(column), MISSING, 0).astype(np.int64))
        else:
            columns.append(
                (np.nan_to_num(column, nan=MISSING) if column.dtype.kind == "f" else column).astype(np.int64)
            )
    return columns


def balanced_weights(labels: np.ndarray, tasks: Sequence[Task], counts: Sequence[np.ndarray]) -> torch.Tensor:
    """Weights w (n, K): 1 / (classes that occur x samples of the class); 0 where a label is missing."""
    weights = np.zeros(labels.shape, dtype=np.float32)
    for t, own in enumerate(classes_of(labels, tasks)):
        with np.errstate(divide="ignore"):
            of_class = np.where(counts[t] > 0, 1 / counts[t], 0) / max(1, (counts[t] > 0).sum())
        weights[:, t] = np.where(own == MISSING, 0, of_class[own])
    return torch.from_numpy(weights)


def blocks_of(network: TaskNetwork, layers: str, example: np.ndarray) -> list[Block]:
    """Blocks of the chosen layers' coordinates, such that K times a block's fit into memory."""
    blocks = []
    n_tasks = len(network.layout.tasks)
    names = chosen_layers(network, layers, torch.tensor(example))
    for name in names:
        parameters = list(network.trunk.get_submodule(name).parameters(recurse=False))
        n_rows = len(parameters[0])
        n_bytes = 4 * n_tasks * (FOLDS + 2) * sum(p.numel() for p in parameters)
        n_blocks = min(n_rows, max(-(-n_bytes // BLOCK_BYTES), MIN_BLOCKS if len(names) == 1 else 1))
        bounds = np.linspace(0, n_rows, n_blocks + 1).round().astype(int).tolist()
        blocks += [Block(name, a, b) for a, b in itertools.pairwise(bounds)]
    return blocks


def signed_sums(
    network: TaskNetwork, block: Block, inputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """S (K, p) over a block of p coordinates: sum_i w_it sign(g_it).

    For a linear layer that sees one vector per sample, sign(b (outer) a) = sign(b) (outer) sign(a), and S is one matrix
    product.
    """
    layer = network.trunk.get_submodule(block.layer)
    target = as_labels(labels)
    n_tasks = len(network.layout.tasks)
    rows = slice(block.start, block.stop)
    total: torch.Tensor | None = None
    step = rows_at_once(network)
    for start in range(0, len(inputs), step):
        own = slice(start, start + step)
        factors = linear_factors(network, layer, inputs[own], target[own]) if isinstance(layer, nn.Linear) else None
        if factors is not None:
            b, a = factors
            left = (b[:, :, rows].sign() * weights[own, :, None].to(b.dtype)).reshape(len(b), -1)
            sums = (left.T @ a.sign()).reshape(n_tasks, -1)
        else:
            names = [f"{block.layer}.{n}" if block.layer else n for n, _ in layer.named_parameters(recurse=False)]
            shapes = [p.shape for p in layer.parameters(recurse=False)]
            sums = inputs.new_zeros(0)
            done = start
            for gradients in parameter_gradients(network, names, inputs[own], target[own]):
                n = len(gradients[0])
                w = weights[done : done + n].to(gradients[0].dtype)
                pieces = [
                    torch.einsum("nk,nkrp->krp", w, g.sign().reshape(n, n_tasks, shape[0], -1)[:, :, rows])
                    for g, shape in zip(gradients, shapes, strict=True)
                ]
                chunk = torch.cat([piece.reshape(n_tasks, -1) for piece in pieces], dim=1)
                sums = chunk if done == start else sums + chunk
                done += n
        total = sums if total is None else total + sums
    assert total is not None, "there is at least one sample"
    return total
