"""Functions of the program that runs: its own data functions work, in a script and in a notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.imports import resolve
from stg_ray.modules import module_file
from tests.support.processes import PATIENCE

PROGRAM = """
import numpy as np
import stg_ray as sr

def load(n):
    labels = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1)
    return sr.TaskSet.from_arrays(np.random.default_rng(0).normal(size=(n, 3)), labels)

if __name__ == "__main__":
    for given in ("__main__:load", load):
        run = sr.run({"data": {"function": given, "arguments": {"n": 60}}}, "out", until="parts")
    print(run.config.data.function, run.done)
"""


@pytest.mark.parametrize("place", ["script", "notebook"])
def test_a_function_of_the_program_itself(place: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py"] if place == "script" else [sys.executable, "-"]
    done = subprocess.run(
        command, cwd=tmp_path, input=PROGRAM, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "__main__:load ('parts',)"


def test_names_that_lead_nowhere() -> None:
    with pytest.raises(InputError, match="'__main__' has no 'no_such', which is the program that runs now"):
        resolve("__main__:no_such")
    for name in ("no_such_package.module:f", "json.no_such:f", "f", None):
        assert module_file(name) is None
    assert module_file("json.decoder:JSONDecoder") is not None


def test_a_function_within_a_function_is_refused() -> None:
    def load() -> None:
        """Load nothing."""

    with pytest.raises(InputError, match=r"within a function, or a lambda.*write it into a file.*my_code:load"):
        load_config({"data": {"function": load}})


def test_the_file_of_a_module_is_found_without_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain import of torchvision fails beside another build of torch, and a user's package may do anything."""
    (tmp_path / "broken_package" / "inner").mkdir(parents=True)
    for folder in (tmp_path / "broken_package", tmp_path / "broken_package" / "inner"):
        (folder / "__init__.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "broken_package" / "inner" / "deep.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(tmp_path)
    for name, file in (
        ("broken_package", "__init__.py"),
        ("broken_package.inner", "inner/__init__.py"),
        ("broken_package.inner.deep", "inner/deep.py"),
        ("broken_package.inner.deep.deeper", None),
        ("broken_package.nothing", None),
        ("broken_package.nothing.deeper", None),
        ("nowhere.at_all", None),
    ):
        found = module_file(f"{name}:load")
        assert found == (None if file is None else tmp_path / "broken_package" / file), name
    program = (
        "import sys\nfrom stg_ray.modules import module_file\n"
        "assert module_file('torchvision.models:resnet18').name == '__init__.py'\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
