"""Every plan and every way of serving has a mark in the page's figures."""

from __future__ import annotations

from typing import get_args

from stg_ray.artifacts.groups import Serving
from stg_ray.config import PlanName
from stg_ray.report.figures import COLORS, SYMBOLS


def test_every_plan_has_a_colour() -> None:
    assert set(COLORS) == set(get_args(PlanName))


def test_every_way_of_serving_has_a_symbol() -> None:
    assert set(SYMBOLS) == set(get_args(Serving))
