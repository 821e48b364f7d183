"""Affinities of the user's: what they say of themselves and what they return is looked at before groups are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

import stg_ray as sr
from stg_ray.affinities.base import Estimator, Partial
from stg_ray.affinities.checked import checked_class, combined
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.tasks import Task

TASKS = [Task(name, "binary") for name in "abc"]
GIVEN = TaskMatrix(("a", "b", "c"), np.eye(3), "affinity")


class Given(Estimator):
    """It returns what a test wants."""

    kind = "affinity"
    about = "Of a test."
    returned: Any = GIVEN

    def partial(self, number: int) -> Partial:
        return {"samples": np.array(number)}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        return cls.returned() if callable(cls.returned) else cls.returned


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType: expected a TaskMatrix"),
        (np.eye(3), "returned ndarray: expected a TaskMatrix"),
        (replace(GIVEN, tasks=("c", "b", "a")), "of other tasks, or in another order"),
        (replace(GIVEN, tasks=("x", "y", "z")), "of other tasks, or in another order"),
        (TaskMatrix(("a", "b"), np.eye(2), "affinity"), "of other tasks"),
        (replace(GIVEN, values=np.full((3, 3), np.inf)), "the values of combine of .* are infinite"),
        (replace(GIVEN, values=np.full((3, 3), "much")), "the values of combine of .* are no numbers"),
        (replace(GIVEN, errors=np.full((3, 3), np.inf)), "the errors of combine of .* are infinite"),
        (lambda: GIVEN.parameters["sums"], "was called, and it raised KeyError: 'sums' .*test_checked.py, line"),
    ],
)
def test_what_an_affinity_returns_is_looked_at(returned: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Given, "returned", staticmethod(returned) if callable(returned) else returned)
    with pytest.raises(sr.InputError, match=rf"combine of my:Given.*{message}|{message}"):
        combined(Given, "my:Given", [], TASKS)


def test_an_affinity_need_not_have_errors_nor_values_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run used to end in an assertion where a matrix had no errors."""
    monkeypatch.setattr(Given, "returned", replace(GIVEN, values=np.full((3, 3), np.nan)))
    matrix = combined(Given, "my:Given", [], TASKS)
    assert matrix.errors is not None
    assert np.isnan(matrix.errors).all()
    assert np.isnan(matrix.values).all()


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("kind", "similarity", "kind = 'similarity': expected affinity or distance"),
        ("about", None, "no about: expected a line for the report"),
        ("needs", {"netwrk"}, "'netwrk' among its needs: expected some of data_maps, network"),
        ("needs", "network", "needs = 'network': expected a frozenset of names"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused_before_anything_is_computed(
    attribute: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked_class(Given, "my:Given") is Given
    monkeypatch.setattr(Given, attribute, value)
    with pytest.raises(sr.InputError, match=f"affinity.methods: my:Given.*{message}"):
        checked_class(Given, "my:Given")


def test_a_notebook_says_the_same(make_task_set: Callable[..., sr.TaskSet], monkeypatch: pytest.MonkeyPatch) -> None:
    task_set = make_task_set(n_samples=60, blocks=(2, 1))
    model = nn.Linear(task_set.inputs.shape[1], 3)
    method = f"{__name__}:Given"
    with pytest.raises(sr.InputError, match=f"combine of {method} returned a matrix of other tasks"):
        sr.affinity(model, task_set, method=method)
    monkeypatch.setattr(Given, "kind", "similarity")
    with pytest.raises(sr.InputError, match="expected affinity or distance"):
        sr.affinity(model, task_set, method=method)
