"""The graph attention embedding: seeded, of the graph alone, and no burden where its package is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stg_ray.config.loading import load_config, set_values
from stg_ray.errors import InputError
from stg_ray.grouping import task_graph
from stg_ray.grouping.clusterers.gat import embedding
from stg_ray.grouping.clusterers.registry import EXTRAS, check_method
from stg_ray.grouping.stage import check_grouping
from tests.grouping.test_group_tasks import blocks


@pytest.mark.parametrize("method", EXTRAS)
def test_a_missing_package_is_named_before_anything_runs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_method(method, 9)
    monkeypatch.setitem(EXTRAS, method, ("a_package_that_nobody_has", EXTRAS[method][1]))
    config = set_values(load_config("digits"), [f"grouping.method={method}"])
    with pytest.raises(InputError, match=rf"grouping.method={method} needs .*: pip install 'stg_ray\[{method}\]'"):
        check_grouping(config, [f"t{t}" for t in range(9)])
    check_method("spectral", 9)


def test_every_extra_is_an_extra_of_the_package(repository: Path) -> None:
    declared = (repository / "pyproject.toml").read_text()
    for method, (_, package) in EXTRAS.items():
        assert f'\n{method} = ["{package}' in declared


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
