"""Episodes of rows that stay where they are, and the network whose memory the initialisation is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.meta import Initialisation, Sampler
from stg_ray.meta.episodes import Pool, RowSampler
from stg_ray.meta.network import meta_network
from stg_ray.meta.units import center_and_scale
from stg_ray.tasks import Task
from tests.support.families import SETTINGS, sines, sorts


def test_rows_of_a_pool_are_gathered_as_they_are_needed() -> None:
    """No more of the inputs is looked at than the episodes' rows."""

    class Watched:
        looked_at = 0

        def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
            self.looked_at += len(index)
            return torch.arange(1000.0)[index][:, None]

    tasks, inputs = sines(1).tasks, Watched()
    pool = Pool(inputs, np.arange(1000.0)[:, None], np.arange(10, 1000))
    drawn = RowSampler(tasks, pool, None, ways=2, shots=3, queries=4).draw(5, np.random.default_rng(0))
    assert inputs.looked_at == 5 * 7
    values = drawn.query_labels * tasks[0].scale + tasks[0].center
    torch.testing.assert_close(drawn.query[..., 0], values, rtol=1e-4, atol=1e-2)
    assert float(drawn.support.min()) >= 10


def test_the_order_of_a_binary_tasks_classes_is_kept() -> None:
    tasks = sorts("binary", 2)
    sampler = Sampler(tasks, [0, 1], "train", ways=5, shots=2, queries=1)
    drawn = sampler.draw(30, np.random.default_rng(0))
    found = dict(zip(map(tuple, np.asarray(tasks.inputs).tolist()), tasks.labels.max(axis=1), strict=True))
    rows = [
        (tuple(row), label)
        for e in range(30)
        for row, label in zip(drawn.support[e].tolist(), [0, 0, 1, 1], strict=True)
    ]
    assert all(found[row] == label for row, label in rows)


def test_parameters_of_the_start_are_the_networks_own() -> None:
    network = meta_network(load_config({"data": {"npz": "planted"}, **SETTINGS}), index_of(sines(2)), "regression", 0)
    start = network.start
    assert isinstance(start, Initialisation)
    for name, value in network.network.named_parameters():
        value.data += 1
        assert torch.equal(start.parameters[name], value)


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_the_unit_of_few_rows_is_that_of_the_tasks_and_of_many_their_own(n: int) -> None:
    rng = np.random.default_rng(0)
    alike = [Task(f"t{i}", "regression", center=5 + rng.normal(0, 0.1), scale=2.0) for i in range(50)]
    apart = [Task(f"t{i}", "regression", center=rng.normal(0, 1e3), scale=10 ** rng.uniform(-3, 3)) for i in range(50)]
    values = rng.normal(5, 2, n)
    center, scale = center_and_scale(values, alike)
    assert abs(center - 5) < min(0.5, 3 * 2 / n**0.5)
    assert scale == pytest.approx(2, rel=0.01)
    if n > 1:
        center, scale = center_and_scale(values, apart)
        assert center == pytest.approx(values.mean(), abs=0.05 * values.std(ddof=1))
        assert scale == pytest.approx(values.std(ddof=1), rel=0.3 if n == 2 else 0.1)
    assert all(np.isfinite(center_and_scale(np.full(n, 5.0), alike)))
