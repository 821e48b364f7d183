"""A configuration by which small networks are trained."""

from __future__ import annotations

import math

import pytest

from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.training import sparingly


def small_config() -> Config:
    """Of an MLP."""
    values = {
        "data": {"npz": "planted"},
        "model": {"width": 16, "dropout": 0.0},
        "retrain": {"epochs": 6, "batch_size": 16, "lr": 0.01, "weight_decay": 1e-4},
    }
    return load_config(values)


@pytest.fixture
def config() -> Config:
    return small_config()


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint and a report after every epoch of a training in this process, whatever they cost."""
    monkeypatch.setattr(sparingly, "SHARE", math.inf)
