"""The affinity stage on Ray: what it computes does not depend on how many actors there are, nor on their deaths."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.source import RunSource
from stg_ray.affinities.stage import run as compute_affinities
from stg_ray.affinities.stage import tasks_without_a_value
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config.loading import load_config
from stg_ray.data.parts import write_parts
from stg_ray.grouping import group_tasks
from stg_ray.models import build_network, save_network
from stg_ray.progress import Reporter
from stg_ray.retraining.meta_profile import meta_profile
from tests.support.processes import PATIENCE, Program

ALL_OF_DIGITS = (
    "--set", "affinity.methods=[landscape]", "--set", "affinity.layers=all", "--set", "affinity.samples=100000",
    "--set", "affinity.precision=float64",
)  # fmt: skip


def matrix(run: Path | RunDir, name: str = "landscape") -> np.ndarray:
    storage = run if isinstance(run, RunDir) else RunDir(run)
    return TaskMatrix.from_table(storage.read_parquet(f"affinity/{name}.parquet")).values


@pytest.mark.usefixtures("ray_session")
@pytest.mark.filterwarnings("ignore:the network predicts only")
def test_actors_compute_what_one_process_does(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, quiet: Reporter
) -> None:
    """Every affinity that needs no data maps, on two actors."""
    task_set = make_task_set(n_samples=300, missing=0.2)
    methods = ["landscape", "logit_correlation", "label_correlation", "tag", "random", "gradient_cosine", "head_cosine"]
    methods += ["grad_tag", "transfer_gain", "etap"]
    settings = {"samples": 150, "tag_every": 2}
    sections = {
        "profile": {"lr": 5e-3, "weight_decay": 1e-4, "epochs": 2},
        "affinity": {"methods": methods, **settings},
    }
    config = load_config({"data": {"npz": "none"}, **sections})
    run = RunDir(tmp_path)
    index = write_parts(task_set, run.sub("parts"))
    network = build_network(config.model, index, index.tasks, 0)
    save_network(run, "profile/network.pt", network)
    with quiet.stage("affinity") as progress:
        compute_affinities(run, config, progress, group_tasks=group_tasks, meta_profile=meta_profile)
    for method in methods:
        expected = sr.affinity(network.eval(), task_set, method=method, profile={"epochs": 2}, **settings)
        np.testing.assert_allclose(matrix(run, method), expected.values, rtol=1e-6, atol=1e-7, err_msg=method)
        error = TaskMatrix.from_table(run.read_parquet(f"affinity/{method}.stderr.parquet")).values
        assert expected.errors is not None
        np.testing.assert_allclose(error, expected.errors, rtol=1e-4, atol=1e-6, err_msg=method)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_samples_are_taken_until_the_groups_stay(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, quiet: Reporter
) -> None:
    task_set = make_task_set(n_samples=1500, blocks=(3, 3, 3), noise=0.1)
    affinity: dict[str, Any] = {"methods": ["landscape"], "samples": "auto", "layers": "all"}
    config = load_config({"data": {"npz": "none"}, "affinity": affinity, "grouping": {"groups": 3}})
    run = RunDir(tmp_path)
    index = write_parts(task_set, run.sub("parts"))
    save_network(run, "profile/network.pt", build_network(config.model, index, index.tasks, 0))
    with quiet.stage("affinity") as progress:
        compute_affinities(run, config, progress, group_tasks=group_tasks, meta_profile=meta_profile)
    partials = len(run.list("affinity/partials/landscape"))
    assert partials in (8, 16)
    found = TaskMatrix.from_table(run.read_parquet("affinity/landscape.parquet"))
    assert found.samples == sum(index.rows["train"][:partials])


@pytest.fixture
def profiled(tmp_path: Path) -> Path:
    run = tmp_path / "profiled"
    arguments = ("run", "digits", "--out", str(run), "--set", "profile.epochs=2", "--set", "model.trunk=cnn")
    program = Program(*arguments, *ALL_OF_DIGITS, "--until", "profile", log=tmp_path / "log")
    assert program.wait() == 0, program.output
    return run


LITTLE_MEMORY = """
import resource, sys

import numpy as np
import psutil
import torch

import stg_ray as sr
from stg_ray.affinities.source import RunSource
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.models import load_weights
from stg_ray.artifacts.run_dir import RunDir

torch.set_num_threads(1)
run = RunDir(sys.argv[1])
config = run.read_config()
source = RunSource(run, config, load_weights(run, "profile/network.pt"))
estimator = LandscapeDistance(source)
enough = estimator.partial(0)["total"]
rows = estimator.gradients.rows
room = psutil.Process().memory_info().vms + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
little = estimator.partial(0)["total"]
assert estimator.gradients.rows < rows, (estimator.gradients.rows, rows)
np.testing.assert_allclose(little, enough, rtol=1e-9)
print("halved from", rows)
"""


@pytest.mark.slow
def test_where_memory_ends_micro_batches_are_halved(profiled: Path, tmp_path: Path) -> None:
    script = tmp_path / "little.py"
    script.write_text(LITTLE_MEMORY)
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, str(script), str(profiled), "24"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("halved from")


def test_where_there_is_no_memory_for_one_sample_it_says_so(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    index = write_parts(make_task_set(n_samples=100), run.sub("parts"))
    config = load_config({"data": {"npz": "none"}})
    weights = build_network(config.model, index, index.tasks, 0).state_dict()
    estimator = LandscapeDistance(RunSource(run, config, weights))
    tried = []

    def too_much(gradients: SampleGradients) -> torch.Tensor:
        tried.append(gradients.rows)
        return torch.empty(2**55)

    with pytest.raises(sr.StgRayError, match="not enough memory for the gradients of one sample"):
        estimator.within_memory(too_much)
    assert tried[-1] == 1
    assert all(a // 2 == b for a, b in itertools.pairwise(tried))
    assert estimator.within_memory(lambda gradients: gradients.rows) == 1


def test_tasks_without_any_value_are_named() -> None:
    values = np.full((4, 4), np.nan)
    np.fill_diagonal(values, 1)
    one, other = (TaskMatrix(("a", "b", "c", "d"), values.copy(), "affinity") for _ in range(2))
    one.values[0, 1] = 0.3
    assert tasks_without_a_value([one, other]) == ["c", "d"]
    other.values[3, 0] = 0.1
    assert tasks_without_a_value([one, other]) == ["c"]
