"""The public interface: what `import stg_ray` offers is what editors, help() and type checkers see."""

from __future__ import annotations

import ast
import pydoc
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

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
