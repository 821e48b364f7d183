"""Affinities of sparse inputs are those of the same inputs in a dense array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from stg_ray.affinities.base import Estimator
from stg_ray.affinities.correlation import LogitCorrelation
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.pooled import PooledAffinity
from stg_ray.affinities.source import RunSource
from stg_ray.affinities.tag import TagAffinity
from stg_ray.artifacts.storage import Storage
from stg_ray.config.loading import load_config
from stg_ray.data.parts import write_parts
from stg_ray.models import build_network
from stg_ray.tasks import TaskSet

N, F = 96, 1200
MATRIX = scipy.sparse.random(N, F, 0.02, format="csr", random_state=0, dtype=np.float32)
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2, np.arange(N) // 3 % 2], axis=1)


@pytest.mark.parametrize("estimator", [LandscapeDistance, PooledAffinity, LogitCorrelation, TagAffinity])
def test_partials_are_those_of_dense_inputs(estimator: type[Estimator], tmp_path: Path) -> None:
    settings = {
        "model": {"width": 4, "depth": 1},
        "profile": {"lr": 5e-3, "weight_decay": 1e-4, "epochs": 1, "batch_size": 8},
    }
    config = load_config({"data": {"npz": "none"}, **settings, "affinity": {"samples": 32, "tag_every": 2}})
    partials = []
    for name, inputs in (("sparse", MATRIX), ("dense", MATRIX.toarray())):
        run = Storage(tmp_path / name)
        index = write_parts(TaskSet.from_arrays(inputs, LABELS), run.sub("parts"))
        weights = build_network(config.model, index, index.tasks, 0).state_dict()
        source = RunSource(run, config, weights)
        assert len(source.examples(5)[0]) == 5
        partials.append(estimator(source).partial(0))
    sparse, dense = partials
    assert set(sparse) == set(dense)
    for key, values in sparse.items():
        assert np.allclose(values, dense[key], rtol=1e-3, atol=1e-5, equal_nan=True), key
