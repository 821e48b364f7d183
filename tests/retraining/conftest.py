"""A configuration by which small networks are trained."""

from __future__ import annotations

import pytest

from stg_ray.config import Config
from stg_ray.config.loading import load_config


@pytest.fixture
def config() -> Config:
    values = {
        "data": {"npz": "planted"},
        "model": {"width": 16},
        "retrain": {"epochs": 6, "batch_size": 16, "lr": 0.01},
    }
    return load_config(values)
