"""Digests of what is given in Python: each change that would compute something else is seen, also without source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stg_ray.config.given_code import code_digest

CELL = """
import functools
import torch

FACTOR = 2
SIZES = [8, 4]
OPTIONS = {"bias": True}


class Inner(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) * FACTOR


class Base(torch.nn.Module):
    width = 3


class Trunk(Base):
    def __init__(self, shape, kinds=("a", "b")):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(shape[0], n, **OPTIONS) for n in SIZES[:1]])
        self.inner = Inner()
        self.known = "a" in {"a", "b", "c"}

    def forward(self, x):
        return self.inner(sum((lambda layer: layer(x))(layer) for layer in self.layers))
"""
"""A cell of a notebook, of whose classes Python finds no source."""


def in_a_notebook(cell: str, name: str = "Trunk") -> Any:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(cell, "<cell>", "exec"), namespace)
    return namespace[name]


def test_a_cell_that_is_run_twice_gives_an_equal_trunk() -> None:
    assert code_digest(in_a_notebook(CELL)) == code_digest(in_a_notebook(CELL))
    assert code_digest(in_a_notebook("\n# a remark\n" + CELL)) == code_digest(in_a_notebook(CELL))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.relu", "torch.tanh"),  # of the same bytecode: only the name is another
        ("FACTOR = 2", "FACTOR = 3"),  # of a class that the trunk refers to
        ("[8, 4]", "[6, 4]"),
        ('"bias": True', '"bias": False'),
        ("width = 3", "width = 4"),  # of a base class
        ("layer(x))", "layer(-x))"),  # in a function inside a function
        ('"a", "b")', '"a", "c")'),  # a default
        ("SIZES[:1]", "SIZES[:2]"),
    ],
)
def test_every_change_of_what_a_class_computes_is_seen(old: str, new: str) -> None:
    assert CELL.count(old) == 1
    assert code_digest(in_a_notebook(CELL)) != code_digest(in_a_notebook(CELL.replace(old, new)))


def test_modules_are_told_apart_by_what_they_hold() -> None:
    def made(cell: str, seed: int = 0, **attributes: Any) -> str:
        torch.manual_seed(seed)
        module = in_a_notebook(cell)((3,))
        for name, value in attributes.items():
            setattr(module, name, value)
        return code_digest(module)

    assert made(CELL) == made(CELL)
    others = [
        made(CELL.replace("torch.relu", "torch.tanh")),
        made(CELL, seed=1),
        made(CELL, activation=torch.relu),
        made(CELL, activation=torch.tanh),
        made(CELL, _scale=2),
        made(CELL, sizes=[1, 2]),
    ]
    assert len({made(CELL), *others}) == 7


def test_modules_of_python_that_are_the_users_count_by_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_layers_of_a_test.py").write_text("def layer(n): return n\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    cell = "import my_layers_of_a_test\ndef trunk(shape): return my_layers_of_a_test.layer(shape[0])"
    before = code_digest(in_a_notebook(cell, "trunk"))
    (tmp_path / "my_layers_of_a_test.py").write_text("def layer(n): return n + 1\n")
    assert code_digest(in_a_notebook(cell, "trunk")) != before


def test_another_process_gives_the_same_digest() -> None:
    """The order of sets, and all identities, are others there."""
    program = f"from stg_ray.config.given_code import code_digest\n{CELL}\nprint(code_digest(Trunk), end='')"
    printed = [
        subprocess.check_output([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, text=True)
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1] == code_digest(in_a_notebook(CELL))
