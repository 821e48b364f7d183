"""The arguments of `sr.group`: wrong ones are refused in one line before anything is computed; a class is a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.graph import TaskGraph

ALIKE = np.kron(np.eye(2), np.ones((2, 2))) + 0.1 * np.random.default_rng(0).random((4, 4))


class Halves(Clusterer[TaskGraph]):
    """The first tasks, and the others."""

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        return [np.eye(n)[np.arange(len(data.affinity)) * n // len(data.affinity)] for n in numbers]


class Returns(Clusterer[TaskGraph]):
    """It returns what a test wants."""

    returned: Any = None

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        return self.returned(numbers[0]) if callable(self.returned) else self.returned


class Unfinished(Clusterer[TaskGraph]):
    """It lacks its only method."""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_groups": 2.5}, "grouping.groups is 2.5: expected a whole number or auto"),
        ({"n_groups": "two"}, "grouping.groups is 'two': .*expected a whole number or auto"),
        ({"criterion": "silhouete"}, "did you mean 'silhouette'"),
        ({"min_groups": 99}, r"grouping.min_groups=99 but there are 4 tasks: expected 1 to 4$"),
        ({"min_groups": 3, "max_groups": 2}, "min_groups is 3, more than max_groups, 2"),
        ({"neighbours": "few"}, "grouping.neighbours is 'few': expected"),
        ({"overlap_above": 2}, "grouping.overlap_above is 2: input should be less than 1"),
        ({"budget": {"networks": 2}}, "grouping.budget and grouping.method=budget belong together"),
        ({"method": "budget", "n_groups": 2}, "leave groups at auto"),
        ({"method": "budget", "budget": {"max_sise": 2}}, "did you mean grouping.budget.max_size"),
        ({"method": "budget", "budget": {"max_size": "few"}}, "max_size is 'few': expected a whole number"),
        ({"method": "budget", "budget": [2]}, "expected keys with values"),
        ({"overlap_above": np.float64(1.5)}, r"grouping\.overlap_above is 1\.5: input"),
        ({"weights": [1.0, np.float64(-1)]}, r"weights has -1\.0: expected"),
        ({"weights": [1.0]}, "weights has 1 value: expected a list with one for each of the 2 matrices"),
        ({"weights": [1.0, 1.0, 1.0]}, "weights has 3 values"),
        ({"weights": {"a": 1.0}}, "weights is a dict: expected a list"),
        ({"weights": [1.0, -1.0]}, r"weights has -1\.0: expected numbers of 0 or more"),
        ({"weights": [1.0, np.nan]}, "weights has nan"),
        ({"weights": [1.0, "1"]}, "weights has '1'"),
        ({"weights": [0, 0]}, "the weights of all matrices are 0"),
        ({"errors": [ALIKE]}, "errors has 1 value"),
        ({"errors": [ALIKE, ALIKE[:3]]}, r"errors has an array of the shape \(3, 4\): expected \(4, 4\)"),
        ({"resamples": [None, ALIKE]}, r"resamples has an array of the shape \(4, 4\): expected \(any number, 4, 4\)"),
        ({"affinities": ["a"]}, "affinities has 1 value"),
        ({"kind": "similarity"}, "unknown kind of matrix 'similarity'"),
        ({"names": ["a", "a", "b", "c"]}, "names the task 'a' twice"),
        ({"method": dict}, "builtins:dict is the class dict: expected a class derived from"),
        ({"method": Unfinished}, "has no memberships: Clusterer says what they return"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(sr.InputError, match=message):
        sr.group([ALIKE, ALIKE], **wrong)


def test_numbers_of_numpy_are_numbers() -> None:
    weights: Any = np.array([1, 2])
    found = sr.group([ALIKE, ALIKE], n_groups=np.int64(2), neighbours=np.int32(3), weights=weights)
    assert found.groups == [["task 0", "task 1"], ["task 2", "task 3"]]


def test_a_class_is_a_method() -> None:
    """Nothing imports it by its name, so that it may also be defined in a notebook."""

    class Here(Halves):
        pass

    values = np.arange(16.0).reshape(4, 4)
    by_name = sr.group(values, method=f"{__name__}:Halves", n_groups=2)
    assert by_name.method == f"{__name__}:Halves"
    assert sr.group(values, method=Halves, n_groups=2) == by_name
    assert sr.group(values, method=Here, n_groups=2).groups == by_name.groups


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType: expected a list of 1"),
        ([], "returned 0 values: expected a list of 1"),
        (["some"], r"has str in its list: expected an array \(4, 2\) for 2 groups"),
        ([np.zeros(4)], r"an array of the shape \(4,\) in its list"),
        ([np.ones((2, 2))], r"an array of the shape \(2, 2\) in its list"),
        ([np.ones((4, 3))], r"an array of the shape \(4, 3\) in its list"),
        ([np.full((4, 2), np.nan)], "NaN, infinite, negative, or all 0 for a task: expected shares"),
        ([np.linspace(-1, 1, 8).reshape(4, 2)], "negative"),
        ([np.eye(2)[[0, 1, 0, 1]] * [[1], [1], [1], [0]]], "all 0 for a task"),
        (lambda n: {}[n], "was called, and it raised KeyError: 2 .*test_arguments.py, line"),
    ],
)
def test_what_a_clusterer_returns_is_looked_at(returned: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN used to be one group, without a word."""
    monkeypatch.setattr(Returns, "returned", staticmethod(returned) if callable(returned) else returned)
    with pytest.raises(sr.InputError, match=f"memberships of .*test_arguments:Returns .*{message}"):
        sr.group(ALIKE, method=Returns, n_groups=2)
    with pytest.raises(sr.InputError, match=r"memberships of .*test_arguments:Returns "):
        sr.group(ALIKE, method=Returns, min_groups=2, max_groups=3)


def test_lists_of_memberships_are_taken_for_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Returns, "returned", [[[1, 0], [0, 1], [1, 0], [0, 1]]])
    assert sr.group(ALIKE, names=list("abcd"), method=Returns, n_groups=2).groups == [["a", "c"], ["b", "d"]]
