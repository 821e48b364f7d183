"""A trunk that was given in Python: its run directory keeps it, for workers, for another day, and for `sr.load`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import stg_ray as sr
from stg_ray.artifacts.given_trunk import TRUNK_FILE
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.trust import check_code
from stg_ray.config import given
from stg_ray.config.loading import load_config
from stg_ray.data.parts import read_index
from stg_ray.errors import InputError
from stg_ray.models import build_network
from stg_ray.progress import Reporter
from tests.support.processes import PATIENCE

LABELS = np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], axis=1)
TASKS = sr.TaskSet.from_arrays(np.random.default_rng(0).normal(size=(60, 3)), LABELS)


@pytest.fixture
def trunk() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU())


@pytest.fixture
def run(tmp_path: Path, trunk: nn.Module, quiet: Reporter) -> RunDir:
    run = sr.run(TASKS, tmp_path / "run", settings={"model": {"trunk": trunk}}, until="parts", reporter=quiet)
    given._KEPT.clear()  # as on another day
    return run.run_dir


def network_of(run: RunDir) -> Any:
    index = read_index(run.sub("parts"))
    return build_network(run.read_config().model, index, index.tasks, seed=3)


def test_the_directory_gives_it_with_its_weights(run: RunDir, trunk: nn.Module) -> None:
    again = network_of(run).trunk
    assert again is not trunk
    assert torch.equal(again[0].weight, trunk.state_dict()["0.weight"])
    check_code(run, run.read_config(), trust_code=False)


def test_a_directory_that_was_moved_gives_it_too(run: RunDir, trunk: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "run").rename(tmp_path / "moved")
    assert torch.equal(network_of(RunDir(tmp_path / "moved")).trunk[0].weight, trunk.state_dict()["0.weight"])


def test_the_same_module_goes_on_and_another_is_another(
    run: RunDir, trunk: nn.Module, quiet: Reporter, tmp_path: Path
) -> None:
    before = run.read_config()
    for module in (trunk, nn.Linear(3, 4)):
        settings = {"model": {"trunk": module}}
        again = sr.run(TASKS, tmp_path / "run", settings=settings, until="parts", reporter=quiet)
        assert (again.config.fingerprint(["model"]) == before.fingerprint(["model"])) == (module is trunk)
    assert isinstance(network_of(run).trunk, nn.Linear)


def test_an_exchanged_file_is_not_trusted(run: RunDir, quiet: Reporter) -> None:
    run.write_bytes(TRUNK_FILE, run.read_bytes(TRUNK_FILE) + b"x")
    config = run.read_config()
    with pytest.raises(InputError, match="names code that would be run"):
        check_code(run, config, trust_code=False)
    with pytest.raises(InputError, match="names code that would be run"):
        sr.run(config, run.uri, until="parts", reporter=quiet)


def test_a_lost_file_is_named(run: RunDir, quiet: Reporter) -> None:
    config = run.read_config()
    run.delete(TRUNK_FILE)
    with pytest.raises(InputError, match="the module that was given cannot be read from"):
        network_of(run)
    with pytest.raises(InputError, match=rf"has no {TRUNK_FILE}: call sr.run with the module and this directory"):
        sr.run(config, run.uri, until="parts", reporter=quiet)


def test_a_setting_without_its_module_is_named() -> None:
    config = load_config({"data": {"npz": "mine.npz"}, "model": {"trunk": "(given):0123"}})
    with pytest.raises(InputError, match="a module that was given in another program: give it once more"):
        build_network(config.model, read_like(), TASKS.tasks, seed=0)


def read_like() -> Any:
    from stg_ray.data.parts import index_of

    return index_of(TASKS)


PROGRAM = """
import numpy as np, torch
import stg_ray as sr

class Trunk(torch.nn.Module):  # no worker can import it
    def __init__(self, width):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU())

    def forward(self, x):
        return self.layers(x)

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    settings = {"profile": {"epochs": 1}, "retrain": {"epochs": 1, "plans": ["all_in_one"]}}
    task_set = sr.TaskSet.from_arrays(x, (x[:, :2] > 0).astype(int))
    sr.run(task_set, "out", settings={"model": {"trunk": Trunk(5)}, **settings})
    print(sr.load("out", "all_in_one").predict(x[:4].astype(np.float32)).array.shape)
"""


@pytest.mark.slow
def test_a_class_of_the_program_itself_reaches_the_workers(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(4, 2)"
