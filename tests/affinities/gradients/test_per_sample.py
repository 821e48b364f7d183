"""The engine of per-sample gradients: its memory, and networks that it refuses."""

from __future__ import annotations

import pytest
import torch

from stg_ray.affinities.aligned import aligned_l1
from stg_ray.affinities.gradients import per_sample
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.errors import InputError
from tests.support.oracle import engine_of, example


def test_little_memory_changes_the_blocks_and_not_the_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs, labels = example("strided conv", 4, 0, 0.3)
    own = engine_of(network, "all", inputs)
    whole = aligned_l1(own, inputs, labels)
    monkeypatch.setattr(per_sample, "SEGMENT", 1)
    monkeypatch.setattr("stg_ray.affinities.aligned.CACHE", 1)
    assert len(own._segments()) == 2
    torch.testing.assert_close(aligned_l1(own, inputs, labels), whole, rtol=1e-12, atol=1e-14)
    assert own.halved().rows == own.rows // 2
    small = SampleGradients(network, "all", inputs, memory=1)
    assert (small.rows, small.halved().rows) == (1, 1)


def test_training_mode_is_refused() -> None:
    network, inputs, _ = example("batchnorm", 3, 0)
    with pytest.raises(InputError, match=r"network.eval\(\)"):
        engine_of(network.train(), "last", inputs)
