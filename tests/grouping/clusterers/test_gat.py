"""The graph attention embedding is seeded and is of the graph alone."""

from __future__ import annotations

import numpy as np
import torch

from stg_ray.grouping import task_graph
from stg_ray.grouping.clusterers.gat import embedding
from tests.grouping.test_group_tasks import blocks


def test_the_embedding_is_seeded_and_leaves_the_process_as_it_was() -> None:
    graph = task_graph([blocks(20, 4, 0.1, 0)[0]], neighbours=4)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, same, other = embedding(graph, 0), embedding(graph, 0), embedding(graph, 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_neighbours_lie_close_and_others_do_not() -> None:
    matrix, labels = blocks(24, 3, 0.2, 0)
    points = embedding(task_graph([matrix], neighbours=5), 0)
    cosine = points @ points.T
    same = (labels[:, None] == labels) & ~np.eye(24, dtype=bool)
    assert cosine[same].mean() > 0.9
    assert cosine[labels[:, None] != labels].mean() < 0.3
