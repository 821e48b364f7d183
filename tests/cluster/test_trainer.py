"""Ray Train's trainer, without the processes that a training here has no use for."""

from __future__ import annotations

import pytest

from stg_ray.cluster import own_ray
from stg_ray.cluster.own_ray import is_running
from stg_ray.cluster.trainer import OF_CLUSTERS, OF_DATASETS, torch_trainer


def names_of_callbacks() -> list[str]:
    trainer = torch_trainer(lambda: None)
    return [type(callback).__name__ for callback in trainer._create_default_callbacks()]


def test_a_cluster_keeps_what_cleans_up_after_a_lost_controller() -> None:
    assert not is_running()  # the session of the tests is not the program's own
    names = names_of_callbacks()
    assert OF_DATASETS not in names
    assert OF_CLUSTERS in names, "Ray has renamed it: look at what its trainer starts"


def test_an_own_ray_ends_with_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_ray, "_keepers", [object()])
    assert is_running()
    assert not {OF_DATASETS, OF_CLUSTERS} & set(names_of_callbacks())
