"""The trunks that the configuration names are those that can be built."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stg_ray.config import ModelConfig
from stg_ray.models.trunks import TRUNKS


def test_the_configuration_knows_every_trunk() -> None:
    for name in TRUNKS:
        assert ModelConfig(trunk=name).trunk == name
    with pytest.raises(ValidationError) as raised:
        ModelConfig(trunk="?")
    known = str(raised.value).partition("known: ")[2].partition(" (or module:name")[0]
    assert set(known.split(", ")) == {"auto", *TRUNKS}
