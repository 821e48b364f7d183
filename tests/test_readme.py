"""The README is true: its example runs as it stands, and it names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from stg_ray import cli
from stg_ray.config import Config
from tests.test_cli import stg_ray


@pytest.fixture
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def test_the_example_of_your_own_data(readme: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "features.npy", rng.normal(size=(200, 5)))
    np.save(tmp_path / "labels.npy", rng.integers(0, 2, (200, 4)))
    for language, name in (("python", "my_tasks.py"), ("yaml", "mine.yaml")):
        (block,) = re.findall(rf"```{language}\n# {re.escape(name)}\n(.*?)```", readme, flags=re.DOTALL)
        (tmp_path / name).write_text(block)
    plan = stg_ray("plan", "mine.yaml", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert "4 tasks" in plan.stdout


def test_settings_and_defaults_are_those_of_the_configuration(readme: str) -> None:
    defaults = Config.model_validate({"data": {"preset": "digits"}}).model_dump()
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", readme, flags=re.MULTILINE)
    assert len(rows) >= 8
    for keys, shown in rows:
        for key in re.findall(r"`([\w.]+)`", keys):
            section, name = key.split(".")
            default = defaults[section][name]
            assert shown == (", ".join(default) if isinstance(default, list) else str(default)), key


def test_links_lead_to_files(readme: str, repository: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", readme):
        assert (repository / target).exists(), target


def test_commands_are_those_of_the_program(readme: str) -> None:
    (block,) = re.findall(r"## Commands\n\n```text\n(.*?)```", readme, flags=re.DOTALL)
    shown = {name for line in block.splitlines() for name in line.split()[1].split("|")}
    assert shown == {command.name for command in cli.app.registered_commands}
