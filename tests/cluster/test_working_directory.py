"""Relative paths mean the same files in all processes: here on a Ray that was started elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.clusters import RayCluster

MY_CODE = """
from pathlib import Path

import numpy as np
from torch import nn


def trunk(input_shape):
    return nn.Sequential(nn.Linear(input_shape[0], int(Path("width.txt").read_text())), nn.ReLU())


def hits(labels, predictions):
    return float(Path("factor.txt").read_text()) * np.mean((predictions > 0.5) == labels)
"""
COMMANDS = (["run", "config.yaml", "--out", "run"], ["auxiliary", "run", "--main", "task_0", "--trainings", "2"])


@pytest.mark.slow
def test_code_of_users_reads_files_beside_it(tmp_path: Path) -> None:
    here, rng = tmp_path / "here", np.random.default_rng(0)
    here.mkdir()
    (here / "my_code.py").write_text(MY_CODE)
    (here / "width.txt").write_text("8")
    (here / "factor.txt").write_text("1.0")
    inputs = rng.normal(size=(200, 6)).astype(np.float32)
    labels = (inputs[:, :3] + rng.normal(size=(200, 3)) > 0).astype(np.int8)
    np.savez(here / "data.npz", inputs=inputs, labels=labels)
    training = {"epochs": 1, "batch_size": 64}
    config = {
        "data": {"npz": "data.npz"},
        "model": {"trunk": "my_code:trunk"},
        "metric": {"binary": "my_code:hits"},
        "profile": {**training, "workers": 1},
        "grouping": {"groups": 2},
        "retrain": {**training, "plans": ["ours", "all_in_one", "all_in_one_ensemble"]},
    }
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    with RayCluster(tmp_path / "cluster", cpus=2) as cluster:
        for command in COMMANDS:
            done = subprocess.run(
                [sys.executable, "-m", "stg_ray", *command, "--address", cluster.address],
                cwd=here,
                env=cluster.env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    candidates = json.loads((here / "run" / "chosen.json").read_text())["candidates"]
    assert {each["serving"] for each in candidates} == {"argmax", "ensemble"}
    assert all(each["error_of_rows"] is not None for each in candidates)
