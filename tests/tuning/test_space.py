"""What tuning may change: the values of each setting, by the trunk, and the draws of trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.checks import check
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from stg_ray.tuning.space import DEFAULT, TRIES, configured, draw_trials, space_of


def config_of(**tune: Any) -> sr.Config:
    return load_config({"data": {"npz": "by hand"}, "tune": {"trials": 4, **tune}})


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"trials": 1}, "tune.trials is 1: one trial is the configuration as given"),
        ({"space": {"lrr": [1]}}, "unknown setting to tune 'lrr': did you mean 'lr'"),
        ({"space": {"lr": []}}, "lr has no values"),
        ({"space": {"lr": [0.1, -1, 2]}}, "lr has -1: Input should be greater than 0"),
        ({"space": {"width": [8, 0]}}, "width has 0"),
        ({"space": {"width": [8.5]}}, r"width has 8\.5"),
        ({"space": {"lr": [0.1, 0.01]}}, "expected the lower end first"),
        ({"space": {"weight_decay": [0, 0.1]}}, "on a log scale from 0"),
    ],
)
def test_what_is_refused_when_it_is_read(tune: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of(**tune)


def test_two_numbers_are_a_range_where_there_are_ranges() -> None:
    space = {"lr": [1e-4, 1e-2], "dropout": [0.2, 0.4], "width": [64, 128], "weight_decay": [0.0, 1e-3, 1e-2]}
    trials = draw_trials(space, {"lr": 0.0, "dropout": 0.0, "width": 0, "weight_decay": 0.0}, 400, seed=1)[1:]
    drawn = {key: np.array([trial[key] for trial in trials]) for key in space}
    assert drawn["lr"].min() >= 1e-4
    assert drawn["lr"].max() <= 1e-2
    assert 0.4 < (drawn["lr"] < 1e-3).mean() < 0.6, "on a log scale"
    assert 0.4 < (drawn["dropout"] < 0.3).mean() < 0.6, "uniform"
    assert ((drawn["dropout"] >= 0.2) & (drawn["dropout"] <= 0.4)).all()
    assert set(drawn["width"]) == {64, 128}
    assert all(isinstance(trial["width"], int) for trial in trials)
    assert set(drawn["weight_decay"]) == {0.0, 1e-3, 1e-2}


def test_more_trials_begin_like_fewer_and_the_first_is_as_given() -> None:
    given = {"lr": 0.005}
    many = draw_trials({"lr": [1e-4, 1e-2]}, given, 20, seed=3)
    assert many[0] == given
    assert many[:7] == draw_trials({"lr": [1e-4, 1e-2]}, given, 7, seed=3)
    assert many[1:] != draw_trials({"lr": [1e-4, 1e-2]}, given, 20, seed=4)[1:]


def test_trials_are_different_and_a_small_space_has_few() -> None:
    trials = draw_trials({"width": [4, 8, 16], "depth": [1, 2]}, {"width": 8, "depth": 2}, 50, seed=0)
    assert TRIES > 50
    assert len(trials) == 6
    assert all(a != b for i, a in enumerate(trials) for b in trials[:i])


@pytest.mark.parametrize(
    ("trunk", "shape", "lacks"),
    [
        ("auto", (9,), set()),
        ("auto", (3, 8, 8), {"depth"}),
        ("linear", (9,), {"depth"}),
        ("resnet18", (3, 8, 8), {"width", "depth"}),
        ("torch.nn:Linear", (9,), {"width", "depth"}),
    ],
)
def test_a_trunk_is_searched_for_what_it_has(trunk: str, shape: tuple[int, ...], lacks: set[str]) -> None:
    config = load_config({"data": {"npz": "by hand"}, "model": {"trunk": trunk}})
    assert set(space_of(config, shape)) == set(DEFAULT) - lacks
    assert configured(config, space_of(config, shape)).keys() == set(DEFAULT) - lacks


def test_weights_that_are_given_decide_the_size() -> None:
    model = {"trunk": "mlp", "weights": "trunk.pt"}
    config = load_config({"data": {"npz": "by hand"}, "model": model})
    assert set(space_of(config, (9,))) == set(DEFAULT) - {"width", "depth"}
    wide = load_config({"data": {"npz": "by hand"}, "model": model, "tune": {"trials": 2, "space": {"width": [8]}}})
    with pytest.raises(InputError, match=r"has width, which model\.weights decides"):
        space_of(wide, (9,))


def test_what_the_trunk_does_not_have_or_is_too_large_is_refused_at_the_door(
    make_task_set: Callable[..., TaskSet],
) -> None:
    index = index_of(make_task_set())
    linear = {"data": {"npz": "by hand"}, "model": {"trunk": "linear"}, "tune": {"trials": 2, "space": {"depth": [2]}}}
    with pytest.raises(InputError, match="has depth, which the trunk linear does not have"):
        check(load_config(linear), index)
    with pytest.raises(
        InputError, match=r"tuning reaches width 100000000 \(tune.space\), and there: .*a smaller trunk"
    ):
        check(config_of(space={"width": [16, 10**8]}), index)
    branches = {"retrain": {"plans": ["ours", "branches"]}, "tune": {"trials": 2}, "data": {"npz": "by hand"}}
    with pytest.raises(InputError, match=r"tuning reaches width 64, depth 1 .* one layer with weights"):
        check(load_config(branches), index)
    check(load_config({**branches, "tune": {"trials": 2, "space": {"depth": [2, 3]}}}), index)
    check(config_of(trials=0, space={"width": [16, 10**8]}), index)


def test_the_default_space_is_one_that_may_be_given(make_task_set: Callable[..., TaskSet]) -> None:
    check(config_of(space=DEFAULT), index_of(make_task_set()))
