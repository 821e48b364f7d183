"""The auxiliaries of a main task in a run: found, kept in a file, and found again after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import stg_ray as sr
from stg_ray.artifacts.looks import n_looks
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import write_parts
from stg_ray.errors import InputError
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.report.auxiliary import sentence
from stg_ray.retraining.auxiliary.measuring import check_main
from stg_ray.stages import AUXILIARY
from tests.support.processes import Program
from tests.test_cli import refused

SETTINGS: dict[str, Any] = {
    "model": {"trunk": "linear", "width": 6},
    "profile": {"epochs": 1, "workers": 1, "precision": "float32"},
    "affinity": {"methods": ["random"]},
    "retrain": {"min_steps": 40, "patience": 2, "batch_size": 32, "precision": "float32", "plans": []},
}


def tasks(n: int = 900) -> sr.TaskSet:
    """A main task with few labels, a twin of its function, and a task of another; a linear trunk can learn them."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(n, 40)).astype(np.float32)
    directions = np.linalg.qr(rng.normal(size=(40, 2)))[0]
    labels = (inputs @ directions[:, [0, 0, 1]] + 0.1 * rng.normal(size=(n, 3)) > 0).astype(np.float32)
    labels[: n // 3][rng.random(n // 3) < 0.93, 0] = np.nan
    split = np.repeat(["train", "val", "test"], n // 3)
    return sr.TaskSet.from_arrays(inputs, labels, names=["main", "twin", "other"], split=split)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_twin_is_kept_also_after_a_kill(ray_session: None, quiet: Reporter, tmp_path: Path) -> None:
    run = tmp_path / "run"
    sr.run(tasks(), run, settings=SETTINGS, reporter=quiet)
    assert "main task" not in (run / "report.html").read_text()
    killed = Program("auxiliary", str(run), "--main", "main", "--trainings", "3", log=tmp_path / "killed.log")
    killed.wait_until(lambda: len(list(run.glob(".networks/*/network.json"))) >= 3)
    killed.kill()
    assert not (run / AUXILIARY).exists(), "too late to kill it"
    before = {file: file.stat().st_mtime_ns for file in run.glob(".networks/*/network.json")}
    found = sr.auxiliary(run, "main", trainings=3, reporter=quiet)
    assert all(file.stat().st_mtime_ns == at for file, at in before.items()), "what is finished is not trained again"
    assert json.loads((run / AUXILIARY).read_text())["mains"] == found
    about = found["main"]
    assert about["kept"] == ["twin"]
    assert about["tasks"]["other"]["effect"]["low"] < about["tasks"]["twin"]["effect"]["low"]
    said = "Of 2 tasks twin clearly helps main; trained together, its test score is above that of main alone."
    assert sentence("main", about) == said
    ways = about["ways"]
    assert ways["best_single"]["tasks"] == ["twin"]
    assert ways["adaptive"]["weights"] == [1.0, 1.0]
    assert len(ways["adaptive"]["networks"]) == 3
    assert ways["adaptive"]["gain"]["low"] > 0
    served = sr.load_auxiliary(run, "main")
    way = max(ways, key=lambda name: ways[name]["val"])
    assert set(served.tasks) == {"main", *ways[way]["tasks"]}
    data = tasks()
    rows = np.asarray(data.rows("test"))
    scores = [
        average_precision_score(
            data.labels[rows, 0], sr.load_auxiliary(run, "main", way, training=n).predict(data.inputs[rows])["main"]
        )
        for n in range(3)
    ]
    assert np.mean(scores) == pytest.approx(ways[way]["test"])
    for wrong, message in (({"main": "twin"}, "it knows those of main"), ({"way": "alon"}, "did you mean 'alone'")):
        with pytest.raises(InputError, match=message):
            sr.load_auxiliary(run, **{"main": "main", **wrong})
    assert n_looks(RunDir(run)) == 1, "its test rows were looked at"
    assert f"<p>{said}</p>" in (run / "report.html").read_text(), "the page is made anew"
    assert "auxiliary.json" in json.loads((run / ".stages" / "affinity.json").read_text())["contents"]
    grouped = run_stage("group", str(run), overrides=["grouping.method=auxiliary"], reporter=quiet)
    assert grouped.groups.groups == [["main", "twin"], ["twin", "other"]]
    assert grouped.groups.serving == {"main": 0, "twin": 1, "other": 1}
    sr.auxiliary(run, "main", trainings=2, reporter=quiet)
    assert not (run / "groups.json").exists(), "they were by what was found before"


def test_main_tasks_that_there_are_not_or_that_have_no_score_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 2)).astype(np.float32)
    split = np.repeat(["train", "val", "test"], 20)
    labels[20:37, 1] = np.nan
    labels[37:40, 1] = 1
    tasks = sr.TaskSet.from_arrays(rng.normal(size=(60, 3)), labels, names=["enough", "three"], split=split)
    storage = Storage(tmp_path)
    write_parts(tasks, storage.sub("parts"))
    check_main(storage, ["enough"])
    with pytest.raises(InputError, match=r"--main three: its 3 labelled val rows give no score"):
        check_main(storage, ["enough", "three"])
    with pytest.raises(InputError, match=r"--main: unknown task 'enouh': did you mean 'enough'"):
        check_main(storage, ["enouh"])


def test_wrong_numbers_and_directories_are_refused(tmp_path: Path, quiet: Reporter) -> None:
    assert "is no run directory" in refused("auxiliary", "nowhere", "--main", "a", cwd=tmp_path)
    for wrong in ({"candidates": 0}, {"trainings": 1}):
        with pytest.raises(InputError, match="expected at least"):
            sr.auxiliary(tmp_path, "a", reporter=quiet, **wrong)
