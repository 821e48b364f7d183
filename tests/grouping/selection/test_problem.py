"""A budget is one idea: its keys are those of the configuration, and names become positions in one place."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.config import BudgetConfig
from stg_ray.errors import InputError
from stg_ray.grouping import Conditions, select

NAMES = ("car", "bus", "cat", "dog", "fox")


def test_conditions_have_the_keys_and_defaults_of_the_configuration() -> None:
    assert [own.name for own in fields(Conditions) if own.name != "names"] == list(BudgetConfig.model_fields)
    assert Conditions(**BudgetConfig().model_dump()) == Conditions(together=[], apart=[])


def test_names_become_positions_and_lists_become_pairs() -> None:
    conditions = Conditions.of({"together": [["cat", "dog", "fox"]], "apart": [["bus", "cat"]]}, NAMES)
    assert conditions.pairs_together == [(2, 3), (2, 4), (3, 4)]
    assert conditions.pairs_apart == [(1, 2)]
    assert conditions.units(5).tolist() == [0, 1, 2, 2, 2]


def test_tasks_in_another_order_have_other_positions() -> None:
    for given in (Conditions(together=[["cat", "dog"]]), Conditions(together=[(2, 3)])):
        conditions = Conditions.of(given, NAMES)
        assert conditions.pairs_together == [(2, 3)]
        assert Conditions.of(conditions, NAMES[::-1]).pairs_together == [(2, 1)]


def test_positions_may_be_those_of_numpy() -> None:
    conditions = Conditions.of(Conditions(apart=np.array([[0, 4]])), NAMES)
    assert conditions.pairs_apart == [(0, 4)]


def test_a_task_or_key_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match=r"budget\.apart: unknown task 'fix': did you mean 'fox'"):
        Conditions.of({"apart": [["cat", "fix"]]}, NAMES)
    with pytest.raises(InputError, match=r"unknown key of grouping.budget 'network': did you mean 'networks'"):
        Conditions.of({"network": 3}, NAMES)
    with pytest.raises(InputError, match="unknown task 'cat'"):
        select(np.eye(3), Conditions(together=[["cat", "dog"]]))
    with pytest.raises(InputError, match="'dog' and 'cat' must be apart, but also together"):
        Conditions.of({"together": [["cat", "dog"]], "apart": [["dog", "cat"]]}, NAMES)


def test_a_selection_takes_names_and_lists_of_three() -> None:
    affinity = np.random.default_rng(0).normal(size=(5, 5))
    named = select(affinity, Conditions(networks=2, together=[["cat", "dog", "fox"]], names=NAMES))
    by_position = select(affinity, Conditions(networks=2, together=[(2, 3, 4)]))
    assert named.groups == by_position.groups
    assert any({2, 3, 4} <= set(group) for group in named.groups)


def test_grouping_takes_a_mapping_or_conditions() -> None:
    """Whatever order the tasks are worked on in, positions are those of the tasks as they are given."""
    affinity = np.random.default_rng(1).normal(size=(5, 5))
    budget = {"networks": 3, "together": [["car", "fox"]], "apart": [["bus", "cat", "dog"]]}
    groups = [
        sr.group(affinity, names=NAMES, method="budget", budget=given)
        for given in (
            budget,
            Conditions(**budget),
            Conditions(networks=3, together=[(0, 4)], apart=[(1, 2, 3)]),
            Conditions(networks=3, together=[(4, 0)], apart=[(3, 2, 1)], names=NAMES[::-1]),
        )
    ]
    assert groups[0].serving["car"] == groups[0].serving["fox"]
    assert len({groups[0].serving[task] for task in ("bus", "cat", "dog")}) == 3
    assert all(other == groups[0] for other in groups)
