"""The public interface: what `import stg_ray` offers is what editors, help() and type checkers see."""

from __future__ import annotations

import ast
import pydoc
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import nn

import stg_ray as sr

VERBS = ("affinity", "auxiliary", "group", "load", "load_config", "run")


def _block() -> dict[str, str]:
    """The names of the block for type checkers, and the homes that it imports them from."""
    tree = ast.parse(Path(sr.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    return {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_editors_see_what_is_imported() -> None:
    assert _block() == sr._HOMES
    assert sorted(sr._HOMES) == sr.__all__
    assert set(sr.__all__) <= set(dir(sr))
    for name, home in sr._HOMES.items():
        module, _, attribute = home.partition(":")
        assert getattr(sr, name) is getattr(import_module(module), attribute)


def test_help_lists_the_verbs() -> None:
    program = "import pydoc, stg_ray; print(pydoc.plain(pydoc.render_doc(stg_ray)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    functions = done.stdout.partition("\nFUNCTIONS\n")[2].partition("\nDATA\n")[0]
    listed = set(re.findall(r"^    (\w+)(?: = \w+)?\(", functions, re.MULTILINE))
    assert set(VERBS) <= listed, listed
    for name in ("class TaskSet", "class Run", "class TaskGrouper"):
        assert name in done.stdout


@pytest.mark.parametrize("name", [name for name in sr.__all__ if name[0].isupper()])
def test_notebooks_show_what_an_object_is(name: str) -> None:
    assert getattr(sr, name).__repr__ is not object.__repr__


def test_a_wrong_name_is_an_attribute_error() -> None:
    assert not hasattr(sr, "colour")
    assert pydoc.locate("stg_ray.run") is sr.run


def test_the_package_is_typed(repository: Path) -> None:
    assert (repository / "stg_ray" / "py.typed").exists()
    project = (repository / "pyproject.toml").read_text()
    assert '[tool.hatch.build.targets.wheel]\npackages = ["stg_ray"]' in project, "and so py.typed is in the wheel"


def test_wrong_input_is_a_value_error_too() -> None:
    assert issubclass(sr.InputError, ValueError)
    assert issubclass(sr.InputError, sr.StgRayError)


ROWS = np.random.default_rng(0).normal(size=(40, 2))
TASK_SET = sr.TaskSet.from_arrays(ROWS, (ROWS > 0).astype(np.int8))
MODEL = nn.Linear(2, 2)
STATE = sr.DataMapState.of_visit(np.full((3, 2), 0.5, np.float32))
OTHER: dict[str, Any] = {
    "model": MODEL,
    "set": TASK_SET,
    "class": nn.Linear,
    "rows": ROWS,
    "number": 3,
    "none": [],
    "kind": "number",
}
"""Arguments as a type checker would not let them pass."""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sr.affinity(OTHER["set"], OTHER["model"]), "^model is of the type TaskSet: expected a Module"),
        (lambda: sr.affinity(OTHER["class"], TASK_SET), "^model is of the type type: expected a Module"),
        (lambda: sr.affinity(MODEL, OTHER["rows"]), "^task_set is of the type ndarray: expected a TaskSet"),
        (lambda: sr.affinity(MODEL, TASK_SET, profile=OTHER["number"]), "^profile is 3: expected keys with values"),
        (lambda: sr.group(OTHER["none"]), "^there is no affinity: expected a matrix"),
        (lambda: sr.group(np.eye(3, dtype=complex)), "it has complex numbers, expected real ones"),
        (
            lambda: sr.confidence_correlation(OTHER["rows"]),
            "^a data map is of the type ndarray: expected an sr.DataMapState",
        ),
        (lambda: sr.confidence_correlation(STATE, ["a"]), "^1 names are given for 2 tasks"),
        (lambda: sr.data_map_distance(OTHER["rows"]), "^expected a list of data maps"),
        (lambda: sr.data_map_distance([]), "^expected a list of data maps"),
        (
            lambda: sr.data_map_distance([OTHER["rows"]]),
            "^a data map is of the type ndarray: expected an sr.DataMapState",
        ),
        (lambda: sr.PointHistogram.of(STATE, list("abc")), "^3 names are given for 2 tasks"),
        (lambda: sr.group(np.zeros((0, 0))), "^there are 0 tasks: grouping needs at least 2"),
        (lambda: sr.Task("a", OTHER["kind"]), "^unknown kind of task 'number': known: binary, multiclass, regression"),
        (
            lambda: sr.Groups.from_labels(["a", "b"], np.zeros(3), "by hand"),
            r"^labels of the shape \(3,\): expected one for each of 2 tasks",
        ),
        (lambda: sr.load(OTHER["number"]), "^int is no place of files: expected a path or a URI"),
        (lambda: sr.run(TASK_SET, OTHER["number"]), "^int is no place of files"),
        (lambda: sr.load_config(OTHER["number"]), "^int is no configuration: expected a preset's name"),
    ],
)
def test_arguments_of_another_type_are_refused_in_a_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(sr.InputError, match=message):
        call()


def test_a_configuration_may_be_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("data: {preset: digits}")
    assert sr.load_config(tmp_path / "mine.yaml") == sr.load_config("digits")


def test_names_of_tasks_are_text_and_values_an_array() -> None:
    names = np.array([3, 5, 8, 9])
    blocks = np.kron(np.eye(2), np.ones((2, 2))) + 0.1 * np.eye(4)
    assert sr.group(blocks, names=names, n_groups=2).groups == [["3", "5"], ["8", "9"]]
    frame: Any = pd.DataFrame(blocks)
    matrix = sr.TaskMatrix(tuple("abcd"), frame, "affinity")
    assert sr.group(matrix, n_groups=2).groups == [["a", "b"], ["c", "d"]]
    assert sr.confidence_correlation(STATE, names[:2]).tasks == ("3", "5")
