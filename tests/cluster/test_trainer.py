"""Ray Train's trainer, without the processes that a training here has no use for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stg_ray.cluster import keepers
from stg_ray.cluster.keepers import is_running
from stg_ray.cluster.session import OWN_RAY_SETTINGS
from stg_ray.cluster.trainer import OF_CLUSTERS, OF_DATASETS, torch_trainer
from tests.support.processes import PATIENCE, without_ray


def names_of_callbacks() -> list[str]:
    trainer = torch_trainer(lambda: None)
    return [type(callback).__name__ for callback in trainer._create_default_callbacks()]


def test_a_cluster_keeps_what_cleans_up_after_a_lost_controller() -> None:
    assert not is_running()  # the session of the tests is not the program's own
    names = names_of_callbacks()
    assert OF_DATASETS not in names
    assert OF_CLUSTERS in names, "Ray has renamed it: look at what its trainer starts"


def test_an_own_ray_ends_with_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        monkeypatch.setattr(keepers, "_keepers", [keepers._Keeper(process, is_of_own_ray=True)])
    assert is_running()
    assert not {OF_DATASETS, OF_CLUSTERS} & set(names_of_callbacks())


NAMES = """
import json, sys, psutil, ray.train
from pathlib import Path
from stg_ray.cluster.session import session
from stg_ray.cluster.trainer import torch_trainer

def train(given):
    family = psutil.Process(given["driver"]).children(recursive=True)
    names = [process.cmdline()[0] for process in family if process.status() != psutil.STATUS_ZOMBIE]
    Path(given["folder"], "names.json").write_text(json.dumps(names))

with session(None):
    trainer = torch_trainer(
        train,
        train_loop_config={"driver": psutil.Process().pid, "folder": sys.argv[1]},
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(storage_path=sys.argv[1]),
    )
    trainer.fit()
"""


@pytest.mark.slow
def test_a_training_of_an_own_ray_has_a_controller_a_worker_and_what_synchronizes_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NAMES, str(tmp_path)],
        env=without_ray() | OWN_RAY_SETTINGS,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = [
        name.split("::")[1].split(".")[0] for name in json.loads((tmp_path / "names.json").read_text()) if "::" in name
    ]
    agents = {"DashboardAgent", "RuntimeEnvAgent"}
    assert sorted(set(names) - agents) == ["RayTrainWorker", "SynchronizationActor", "TrainController"]
