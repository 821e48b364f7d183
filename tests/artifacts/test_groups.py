"""Groups: they are written in the form that they always had and read back; notebooks show names without markup."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from stg_ray.artifacts.evidence import NumberChoice, SelectionScore, Structure
from stg_ray.artifacts.groups import Groups

NAMES = ["a", "b", "c"]
GROUPS = Groups.from_labels(NAMES, np.array([1, 0, 1]), "spectral")

WRITTEN: dict[str, Any] = {
    "tasks": NAMES,
    "groups": [["a", "c"], ["b"]],
    "membership": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
    "serving": {"a": 0, "b": 1, "c": 0},
    "method": "spectral",
    "parameters": {
        "seed": 3,
        "affinities": {"data_map": 1.0, "landscape": 0.5},
        "n_groups": {
            "criterion": "bic",
            "curve": [{"groups": 2, "bic": -1.5}, {"groups": 3, "bic": -2.25}],
            "structure": {"excess_modularity": 0.123457, "threshold": 0.05},
        },
        "asked_for": 4,
        "certainty": {"a": 1.0, "b": 0.95, "c": 0.5},
        "added": ["c"],
    },
}
"""Groups as a version before the typed fields wrote them."""


def test_a_file_of_the_version_before_is_read_and_written_as_it_was() -> None:
    groups = Groups.from_dict(json.loads(json.dumps(WRITTEN)))
    assert groups.number_choice == NumberChoice("bic", {2: -1.5, 3: -2.25}, Structure(0.123457, 0.05))
    assert groups.affinities == {"data_map": 1.0, "landscape": 0.5}
    assert (groups.seed, groups.asked_for, groups.added) == (3, 4, ["c"])
    assert json.dumps(groups.to_dict()) == json.dumps(WRITTEN), "the order of the keys, too"


def test_every_kind_of_groups_survives_being_written() -> None:
    for groups in (
        GROUPS,
        replace(GROUPS, seed=0, draw=1),
        replace(GROUPS, seed=0, number_choice=NumberChoice("silhouette", {})),
        replace(GROUPS, seed=0, selection=SelectionScore(0.5, 0.75, 0.25, False, "search")),
    ):
        written = json.loads(json.dumps(groups.to_dict()))
        assert Groups.from_dict(written) == groups
    assert GROUPS.to_dict()["parameters"] == {}


def test_parameters_that_are_not_known_here_survive() -> None:
    """Unknown keys, and known ones of another form."""
    choice: dict[str, Any] = {"criterion": "bic", "curve": [], "structure": None, "since": "a later version"}
    parameters = {"seed": 1, "n_groups": choice, "selection": "by hand", "resolution": [1, {"deep": None}]}
    groups = Groups.from_dict({**WRITTEN, "parameters": parameters})
    assert (groups.seed, groups.number_choice, groups.selection) == (1, None, None)
    assert groups.to_dict()["parameters"] == parameters


def test_a_group_is_as_certain_as_the_tasks_that_it_serves() -> None:
    sure = replace(GROUPS, certainty={"a": 1.0, "b": 0.25, "c": 0.5})
    assert (sure.mean_certainty(0), sure.mean_certainty(1)) == (0.75, 0.25)
    assert GROUPS.mean_certainty(0) is None


def test_a_single_group_has_its_reason() -> None:
    score = SelectionScore(0.0, 0.0, 0.0, True, "search")
    for changes, reason in (
        ({}, "asked for"),
        ({"asked_for": 2}, "cannot be told apart"),
        ({"selection": score}, "under this budget"),
        ({"number_choice": NumberChoice("bic", {2: 0.5})}, "no structure"),
        ({"number_choice": NumberChoice("bic", {})}, "too few tasks"),
    ):
        assert reason in replace(GROUPS, **changes).why_one


def test_a_notebook_shows_a_table_without_markup_of_the_names() -> None:
    hostile = "<script>alert('&')</script>"
    names = [hostile, *(f"t{t}" for t in range(20))]
    groups = Groups.from_labels(names, np.array([0] * 20 + [1]), "spectral")
    page = groups._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;, t0, t1" in page
    assert "... and 8 more" in page
    assert "certainty" not in page
    shown = replace(groups, certainty=dict.fromkeys(names, 0.5), method="<b>")._repr_html_()
    assert "<th>certainty</th>" in shown
    assert "<td>50%</td>" in shown
    assert "&lt;b&gt;" in shown


def test_the_text_form_is_short() -> None:
    assert repr(GROUPS) == "Groups(3 tasks in 2 groups of 2, 1; spectral)"
