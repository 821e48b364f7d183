"""Gaussian mixture over a graph attention embedding of the task graph (Thakur et al., arXiv 2412.04413).

A graph attention network computes each task's embedding from those of its neighbours and of theirs, and so carries more
than pairs show. The paper does not give its loss and sizes; these are ours:

- nodes start with their leading `FEATURES` coordinates by classical scaling, edges carry their affinity;
- two layers (GATv2: Brody, Alon and Yahav 2022), 4 heads of 16 units, then an embedding of 16 units and length 1;
- the loss is that of a graph auto-encoder (Kipf and Welling 2016): cross-entropy of sigmoid(s z_a . z_b + c) with the
  edge's affinity, s and c learned, pairs with an edge weighted so that both kinds count the same;
- 200 steps of Adam, learning rate 0.01; then a mixture with spherical covariances, whose posteriors are memberships.

On CIFAR-100 (three trainings, 20 groups) it agreed with the super-classes to an adjusted Rand index of 0.35, 0.33 and
0.43, where spectral groups had 0.39 in each. Training takes about a second for 100 tasks, and is done again for each
of the 20 resamplings of the certainty. Needs torch-geometric: pip install 'stg_ray[gat]'.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.clusterers.kmeans import classical_scaling
from stg_ray.grouping.clusterers.mixture import fit_mixture
from stg_ray.grouping.graph import TaskGraph
from stg_ray.grouping.threads import one_thread_each

FEATURES = 32
HEADS, HIDDEN, EMBEDDING = 4, 16, 16
STEPS, LEARNING_RATE = 200, 0.01
SHARPNESS = 5.0
"""Initial scale of the inner products."""

_initialising = threading.Lock()  # torch's random state is the process's


class GraphAttention(Clusterer[TaskGraph]):
    """Gaussian mixture over a graph attention embedding (Thakur et al., arXiv 2412.04413); needs torch-geometric."""

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        # Tasks that cannot be told apart differ by rounding only: they are one point.
        points = embedding(data, self.seed).round(4)
        points = points / max(points.std(axis=0).max(), 1e-4)
        return [fit_mixture(points, n, self.seed).predict_proba(points) for n in numbers]


@one_thread_each
def embedding(graph: TaskGraph, seed: int) -> np.ndarray:
    """Train the network on a graph and return (K, EMBEDDING) embeddings of length 1; zeros without any edges."""
    edges = graph.edges
    ends = np.nonzero(edges)
    if len(ends[0]) == 0:
        return np.zeros((len(edges), EMBEDDING))
    features = classical_scaling(graph.distance)[:, ::-1][:, :FEATURES]
    x = torch.tensor(features / max(features.std(), 1e-300), dtype=torch.float32)
    index = torch.tensor(np.stack(ends))
    weight = torch.tensor(edges[ends], dtype=torch.float32)[:, None]
    pair = ~torch.eye(len(edges), dtype=torch.bool)
    target = torch.tensor(edges, dtype=torch.float32)[pair]
    balance = (len(target) - target.sum()) / target.sum()
    with _initialising, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Attention(x.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            z = network(x, index, weight)
            logits = functional.softplus(network.scale) * SHARPNESS * (z @ z.T)[pair] + network.offset
            loss = functional.binary_cross_entropy_with_logits(logits, target, pos_weight=balance)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        result: np.ndarray = network(x, index, weight).double().numpy()
    return result


class _Attention(nn.Module):
    def __init__(self, n_features: int) -> None:
        super().__init__()
        from torch_geometric.nn import GATv2Conv

        self.first = GATv2Conv(n_features, HIDDEN, heads=HEADS, edge_dim=1)
        self.second = GATv2Conv(HEADS * HIDDEN, EMBEDDING, heads=1, edge_dim=1)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        hidden = functional.elu(self.first(x, index, weight))
        return functional.normalize(self.second(hidden, index, weight))
