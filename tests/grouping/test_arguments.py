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
