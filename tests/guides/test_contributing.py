"""The contributor's guides are true: on a copy of the package, each of its examples is followed and works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE

LONGEST = 40


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    shutil.copytree(repository / "stg_ray", tmp_path / "stg_ray", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def follow(section: str, copy: Path) -> None:
    """Write the files of a section of the guides, and insert the lines of its patches where they stand."""
    guides = [copy / "stg_ray" / "guides" / f"{name}.md" for name in ("contributing", "adding_methods")]
    guide = "\n".join(page.read_text() for page in guides)
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", guide, flags=re.DOTALL | re.MULTILINE)
    files = re.findall(r"```python\n# (stg_ray/\S+)\n(.*?)```", text, flags=re.DOTALL)
    patches = re.findall(r"```diff\n(.*?)```", text, flags=re.DOTALL)
    assert len(files) == len(patches) == 1
    for name, source in files:
        assert source.count("\n") < LONGEST
        (copy / name).write_text(source)
    for line in patches[0].splitlines():
        if line.startswith("  # stg_ray/"):
            file = copy / line.removeprefix("  # ")
        elif line.startswith("  "):
            context = line[2:]
        else:
            assert line.startswith("+ ")
            before = file.read_text()
            assert before.count(context + "\n") == 1, context
            file.write_text(before.replace(context + "\n", f"{context}\n{line[2:]}\n"))


def python(copy: Path, *arguments: str) -> str:
    env = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_adding_an_affinity(copy: Path) -> None:
    follow("Adding an affinity", copy)
    program = """
import numpy as np, torch
import stg_ray as sr
rng = np.random.default_rng(0)
labels = (rng.random((200, 3)) < 0.4).astype(np.int8)
labels[:, 1] = labels[:, 0]
labels[:50, 2] = -1
task_set = sr.TaskSet.from_arrays(rng.normal(size=(200, 4)), labels)
matrix = sr.affinity(torch.nn.Linear(4, 3).eval(), task_set, method="label_overlap")
train = task_set.rows("train")
a, c = labels[train][:, [0, 2]].T
both = c >= 0
jaccard = ((a == 1) & (c == 1)).sum() / (((a == 1) | (c == 1)) & both).sum()
assert matrix.values[0, 1] == 1 and abs(matrix.values[0, 2] - jaccard) < 1e-12, matrix.values
assert matrix.errors[0, 2] > 0
print(sr.load_config("digits", ["affinity.methods=[label_overlap]"]).affinity.methods)
"""
    assert python(copy, "-c", program).strip() == "['label_overlap']"


def test_adding_a_clusterer(copy: Path) -> None:
    follow("Adding a clusterer", copy)
    program = """
import numpy as np
import stg_ray as sr
blocks = np.kron(np.eye(3), np.ones((4, 4))) + np.random.default_rng(0).random((12, 12)) * 0.1
print(sr.group(blocks, method="bisecting", n_groups=3).labels)
print(sr.load_config("digits", ["grouping.method=bisecting"]).grouping.method)
"""
    assert python(copy, "-c", program).split("\n")[:2] == ["[0 0 0 0 1 1 1 1 2 2 2 2]", "bisecting"]


def test_adding_a_data_set(copy: Path) -> None:
    follow("Adding a data set", copy)
    assert "3 tasks" in python(copy, "-m", "stg_ray", "plan", "wine")
