"""The README is true: its example runs as it stands. tests/guides runs its blocks, and those of the guides."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stg_ray import cli
from tests.test_cli import as_a_program


@pytest.fixture
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def test_the_example_of_your_own_data(readme: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 5)), columns=[f"x_{n}" for n in range(5)])
    frame[["y_a", "y_b", "y_c", "y_d"]] = rng.integers(0, 2, (200, 4))
    frame.to_csv(tmp_path / "mine.csv", index=False)
    (block,) = re.findall(r"```yaml\n# mine.yaml\n(.*?)```", readme, flags=re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)
    plan = as_a_program("plan", "mine.yaml", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert "4 tasks" in plan.stdout


def test_the_test_command_stands_where_continuous_integration_looks_for_it(readme: str) -> None:
    (command,) = re.findall(r"<!-- test command -->\n```bash\n(.*?)\n```", readme)
    assert "pytest" in command


def test_commands_are_those_of_the_program(repository: Path) -> None:
    guide = (repository / "stg_ray" / "guides" / "commands.md").read_text()
    (block,) = re.findall(r"# Commands\n\n```text\n(.*?)```", guide, flags=re.DOTALL)
    shown = {name for line in block.splitlines() for name in line.split()[1].split("|")}
    assert shown == {command.name for command in cli.app.registered_commands}
