"""Actors that are killed in the middle of a method change nothing; the method is a class outside of stg_ray."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.affinities.stage import run as compute_affinities
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config.loading import load_config
from stg_ray.data.parts import write_parts
from stg_ray.grouping import group_tasks
from stg_ray.models import build_network, save_network
from stg_ray.progress import Reporter
from stg_ray.retraining.meta_profile import meta_profile

MORTAL = """
import os
import signal
from pathlib import Path

from stg_ray.affinities.estimators import ESTIMATORS


def mortal(base):
    class Mortal(base):
        def partial(self, number):
            died = Path(f"died of {base.__name__} {number}")
            if number % 3 == 1 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().partial(number)

    return Mortal


GradTag, GradientCosine = (mortal(ESTIMATORS[name]) for name in ("grad_tag", "gradient_cosine"))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.filterwarnings("ignore:the network predicts only")
def test_killed_actors_leave_the_same_values(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mortal.py").write_text(MORTAL)
    task_set = make_task_set(n_samples=120, missing=0.2)
    methods = {"mortal:GradTag": "grad_tag", "mortal:GradientCosine": "gradient_cosine"}
    config = load_config({"data": {"npz": "none"}, "affinity": {"methods": [*methods], "samples": 64}})
    run = RunDir(tmp_path / "run")
    index = write_parts(task_set, run.sub("parts"), part_rows=30)
    network = build_network(config.model, index, index.tasks, 0)
    save_network(run, "profile/network.pt", network)
    with quiet.stage("affinity") as progress:
        compute_affinities(run, config, progress, group_tasks=group_tasks, meta_profile=meta_profile)
    sys.modules.pop("mortal")
    assert {path.name for path in tmp_path.glob("died of *")} == {"died of GradTag 1", "died of GradientCosine 1"}
    for name, method in methods.items():
        found = TaskMatrix.from_table(run.read_parquet(f"affinity/{name}.parquet"))
        config = load_config({"data": {"npz": "none"}, "affinity": {"methods": [method], "samples": 64}})
        undisturbed = RunDir(tmp_path / method)
        write_parts(task_set, undisturbed.sub("parts"), part_rows=30)
        save_network(undisturbed, "profile/network.pt", network)
        with quiet.stage("affinity") as progress:
            compute_affinities(undisturbed, config, progress, group_tasks=group_tasks, meta_profile=meta_profile)
        expected = TaskMatrix.from_table(undisturbed.read_parquet(f"affinity/{method}.parquet"))
        np.testing.assert_array_equal(found.values, expected.values)
