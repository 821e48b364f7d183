"""The main path: what can be run, and the whole of it on real Ray, as a user runs it."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.parts import read_index
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from tests.support.processes import Program

pytestmark = pytest.mark.timeout(900)

SMALL = ("--set", "profile.epochs=4", "--set", "retrain.epochs=3", "--set", "retrain.seeds=1")


def test_everything_that_can_be_run(
    make_task_set: Callable[..., sr.TaskSet], quiet: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration, a dictionary, a preset's name, a file and a task set; each has its own directory by default."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text("data: {preset: digits, limit: 100}\n")
    task_set = make_task_set()
    settings = {"data": {"part_rows": 50}}
    names = {
        "run": sr.load_config("digits", ["data.limit=50"]),
        "run ": {"data": {"preset": "digits"}, "seed": 1},
        "digits": "digits",
        "small": Path("small.yaml"),
        "tasks": task_set,
    }
    runs = {name: sr.run(s, settings=settings, until="parts", reporter=quiet) for name, s in names.items()}
    for name, run in runs.items():
        assert run.path.parent == tmp_path / "runs"
        assert run.path.name.startswith(f"{name.strip()}-")
        assert run.done == ("parts",)
        assert run.config.data.part_rows == 50
    assert len({run.path for run in runs.values()}) == 5
    assert runs["digits"].config.grouping.groups == 4, "a preset's defaults"
    index = read_index(runs["tasks"].run_dir.sub("parts"))
    assert tuple(index.names) == task_set.names
    assert index.n_samples() == len(task_set.rows("train"))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (7, {}, "int cannot be run: expected a TaskSet, a Config"),
        ("digits", {"until": "retran"}, "unknown stage 'retran': did you mean 'retrain'"),
        ("digits", {"settings": {"profil": {}}}, "unknown key profil"),
        ({"dat": {}}, {}, "unknown section 'dat': did you mean 'data'"),
        ("digits", {"settings": ["profile"]}, r"settings are \['profile'\]: expected sections of keys"),
        ("digits", {"settings": "small"}, "settings are 'small': expected sections of keys"),
    ],
)
def test_what_cannot_be_run_is_said(source: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(sr.InputError, match=message):
        sr.run(source, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_run_knows_its_task_set_again(
    make_task_set: Callable[..., sr.TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    task_set = make_task_set()
    run = sr.run(task_set, out, until="parts", reporter=quiet)
    laid_out = (out / "parts" / "index.json").stat().st_mtime_ns
    same = sr.TaskSet(task_set.inputs[:].copy(), task_set.labels.copy(), task_set.tasks, task_set.split)
    again = sr.run(same, out, until="parts", reporter=quiet)
    from_file = sr.run(str(out / "config.yaml"), out, until="parts", reporter=quiet)
    assert run.config == again.config == from_file.config
    assert (out / "parts" / "index.json").stat().st_mtime_ns == laid_out
    with pytest.raises(sr.InputError, match="began with another task set: give it that one, or choose another dir"):
        sr.run(make_task_set(seed=1), out, until="parts", reporter=quiet)
    with pytest.raises(sr.InputError, match=r"another configuration \(data.preset is None, now 'digits'"):
        sr.run("digits", out, until="parts", reporter=quiet)


def test_names_of_columns_that_were_mended_are_those_of_the_run(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path
) -> None:
    """They decide which column of a frame is which in a prediction, and nothing of what was computed."""
    given, out = make_task_set(), tmp_path / "run"
    frame = pd.DataFrame(given.inputs).add_prefix("x")
    mended = frame.rename(columns={"x0": "x1", "x1": "x0"})

    def names(inputs: Any) -> tuple[list[str] | None, str]:
        printed = io.StringIO()
        task_set = sr.TaskSet.from_arrays(inputs, given.labels)
        run = sr.run(task_set, out, until="parts", reporter=Reporter(Console(file=printed, width=200)))
        assert run.done == ("parts",)
        features = read_index(run.run_dir.sub("parts")).features
        return None if features is None else list(features), printed.getvalue()

    assert names(frame.to_numpy())[0] is None
    laid_out = (out / "parts" / "train-00000.arrow").stat().st_mtime_ns
    assert names(frame)[0] == list(frame), "a run of before has none"
    found, printed = names(mended)
    assert found == list(mended)
    assert "takes the names of columns as they are given now: 'x0' is 'x1' (and 1 more)" in printed
    assert names(frame.to_numpy()) == (list(mended), names(mended)[1]), "nothing is said against them"
    assert (out / "parts" / "train-00000.arrow").stat().st_mtime_ns == laid_out


def test_sections_about_data_hold_for_task_sets_too(
    make_task_set: Callable[..., sr.TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    task_set = make_task_set()
    constant = sr.TaskSet.from_arrays(
        task_set.inputs, np.concatenate([task_set.labels, np.zeros((300, 1), np.int8)], axis=1)
    )
    with pytest.raises(sr.InputError, match="'task_6' has only the label 0 in the train rows"):
        sr.run(constant, tmp_path / "refused", until="parts", reporter=quiet)
    data = {"constant_tasks": "drop", "limit": 40, "class_weights": "balanced"}
    run = sr.run(constant, tmp_path / "refused", settings={"data": data}, until="parts", reporter=quiet)
    index = read_index(run.run_dir.sub("parts"))
    assert len(index.tasks) == 6
    assert index.n_samples() == 40
    assert index.tasks[0].class_weights is not None


def test_a_directory_belongs_to_a_configuration_once_its_task_set_was_accepted(quiet: Reporter, tmp_path: Path) -> None:
    """What a message names as the way out, a setting or data that is mended, is taken in the same directory."""
    half = np.arange(60) % 2
    signs = np.stack([half * 2 - 1, np.arange(60) % 3 - 1], axis=1)
    file, out = tmp_path / "mine.npz", tmp_path / "run"
    config = {"data": {"npz": str(file)}}
    np.savez(file, inputs=np.random.default_rng(0).normal(size=(60, 2)), labels=np.stack([half, half * 0], axis=1))
    with pytest.raises(sr.InputError, match="constant tasks, 1 of 2: 'task_1' has only the label 0"):
        sr.run(config, out, until="parts", reporter=quiet)
    np.savez(file, inputs=np.random.default_rng(0).normal(size=(60, 2)), labels=signs)
    with pytest.raises(sr.InputError, match="'task_1' has the labels -1, 0 and 1: which"):
        sr.run(config, out, until="parts", reporter=quiet)
    settings = {"data": {"tasks": {"*": {"missing": [0]}}}}
    run = sr.run(config, out, settings=settings, until="parts", reporter=quiet)
    assert [task.classes for task in read_index(run.run_dir.sub("parts")).tasks] == [(-1, 1)] * 2
    with pytest.raises(sr.InputError, match="belongs to another configuration"):
        sr.run(config, out, until="parts", reporter=quiet)
    np.savez(file, inputs=np.zeros((60, 2)), labels=signs)
    with pytest.raises(sr.InputError, match=r"has changed since .* began with it"):
        sr.run(config, out, settings=settings, until="parts", reporter=quiet)


def test_the_command_line_goes_on_only_where_the_parts_of_a_task_set_are(
    make_task_set: Callable[..., sr.TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    run = sr.run(make_task_set(), tmp_path / "run", until="parts", reporter=quiet)
    file, other = str(run.path / "config.yaml"), str(tmp_path / "other")
    for arguments in (("run", file, "--out", other), ("plan", file)):
        refused = Program(*arguments, log=tmp_path / "log")
        assert refused.wait() == 2
        lines = [line for line in refused.output.splitlines() if not line.startswith("run directory")]
        assert len(lines) == 1
        assert "data.task_set stands for a task set that was given in Python" in lines[0]
    with pytest.raises(sr.InputError, match=r"profile is not done in .*: finish it first with stg-ray run"):
        run_stage("group", run.uri)
    with pytest.raises(sr.InputError, match=r"parts is not done in .*: call sr\.run again with its task set"):
        run_stage("group", other)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Program, float]:
    """One run of `stg-ray run digits` with all defaults: its directory, process and seconds."""
    folder = tmp_path_factory.mktemp("digits")
    began = time.monotonic()
    program = Program("run", "digits", "--out", str(folder / "run"), log=folder / "log")
    assert program.wait() == 0, program.output
    return folder / "run", program, time.monotonic() - began


@pytest.mark.slow
def test_it_ends_in_time_and_memory_and_leaves_nothing_behind(
    digits: tuple[Path, Program, float], tmp_path: Path
) -> None:
    _, program, seconds = digits
    if seconds > 90:  # a moment in which others worked, too: it only ever takes longer than it needs
        began = time.monotonic()
        again = Program("run", "digits", "--out", str(tmp_path / "again"), log=tmp_path / "log")
        assert again.wait() == 0, again.output
        seconds = time.monotonic() - began
    # Alone it has a load of some two for each CPU, and shares the machine with whatever is more.
    assert seconds <= 90 * max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))
    assert program.peak_rss < 4 * 2**30
    assert program.left_behind() == []


@pytest.mark.slow
def test_what_it_prints(digits: tuple[Path, Program, float]) -> None:
    run, program, _ = digits
    output = program.output
    for stage in ("parts", "profile", "affinity", "group", "retrain", "report"):
        assert f"\n{stage:<9} done in " in output
    for word in (
        "closed loop",
        "ours",
        "all in one",
        "one, equal cost",
        "random groups",
        "95 % interval",
        f"report: {run}/report.html",
    ):
        assert word in output
    for chatter in ("Ray", "WARNING", "pid=", "Traceback", "╭"):
        assert chatter not in output
    assert max(map(len, output.split("groups of")[0].splitlines())) < 120


@pytest.mark.slow
def test_the_artifacts_are_those_of_the_contract(digits: tuple[Path, Program, float]) -> None:
    run = digits[0]
    groups = json.loads((run / "groups.json").read_text())
    assert list(groups) == ["tasks", "groups", "membership", "serving", "method", "parameters"]
    assert np.array(groups["membership"]).shape == (15, 4)
    assert sorted(task for members in groups["groups"] for task in members) == sorted(groups["tasks"])
    for name in ("confidence_adjusted", "logit_adjusted"):
        for file in (f"{name}.parquet", f"{name}.stderr.parquet"):
            table = pq.read_table(run / "affinity" / file)
            assert table.column_names == ["__task__", *groups["tasks"]]
            about = json.loads(table.schema.metadata[b"stg_ray"])
            assert about["kind"] == "affinity"
            assert about["samples"] > 0
        resamples = RunDir(str(run)).read_arrays(f"affinity/{name}.resamples.arrow")["values"]
        assert resamples.shape == (20, 15, 15)
    results = pq.read_table(run / "results.parquet").to_pandas()
    assert list(results) == ["plan", "group", "task", "split", "serving", "metric", "value", "seed"]
    assert set(results["plan"]) == {"ours", "all_in_one", "all_in_one_equal_cost", "random_0", "random_1"}
    one = results.query("plan == 'ours' and metric == 'average_precision' and split == 'test' and seed == 0")
    assert sorted(one["task"]) == sorted(groups["tasks"])
    costs = pq.read_table(run / "costs.parquet").to_pandas()
    networks = costs.groupby("plan").size().to_dict()
    assert networks == {"ours": 8, "all_in_one": 2, "all_in_one_equal_cost": 2, "random_0": 8, "random_1": 8}
    cost = costs[costs["seed"] == 0].groupby("plan")["cost"].sum()
    assert cost["all_in_one_equal_cost"] == 4 * cost["all_in_one"] > cost["ours"] > cost["all_in_one"]
    for plan in ("ours", "all_in_one", "random_0"):
        assert json.loads((run / "plans" / f"{plan}.json").read_text())["tasks"] == groups["tasks"]
    weights = torch.load(run / "models" / "ours" / "group-0" / "seed-0" / "network.pt", weights_only=True)
    assert weights["heads.weight"].shape[0] == len(groups["groups"][0])
    page = (run / "report.html").read_text()
    assert "src=" not in page.split("</style>")[0]
    assert "closed loop" in page
    assert not list((run / ".ray").iterdir())


@pytest.mark.slow
def test_the_same_command_again_does_nothing_and_another_configuration_is_refused(
    digits: tuple[Path, Program, float], tmp_path: Path
) -> None:
    run = digits[0]
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name not in (".lease", "config.yaml")}
    again = Program("run", "digits", "--out", str(run), log=tmp_path / "again")
    assert again.wait() == 0
    assert again.output.count("done before") == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = Program("run", "digits", "--out", str(run), "--set", "profile.epochs=3", log=tmp_path / "other")
    assert other.wait() == 2
    assert "belongs to another configuration (profile.epochs is 20, now 3)" in other.output


@pytest.mark.slow
def test_a_stage_alone_with_another_setting(digits: tuple[Path, Program, float], tmp_path: Path) -> None:
    """Grouping again makes the later stages stale; retraining keeps the networks whose tasks did not change."""
    import shutil

    run = tmp_path / "run"
    shutil.copytree(digits[0], run)
    wrong = Program("group", str(run), "--set", "profile.epochs=3", log=tmp_path / "wrong")
    assert wrong.wait() == 2
    assert "--set changes what decides the stage profile (profile.epochs is 20, now 3)" in wrong.output
    group = Program("group", str(run), "--set", "grouping.method=agglomerative", log=tmp_path / "group")
    assert group.wait() == 0, group.output
    assert "in 4 groups" in group.output
    assert "\n    3  " in group.output, "the groups are shown"
    directory = RunDir(run)
    config = directory.read_config()
    assert config.grouping.method == "agglomerative"
    assert directory.is_done("group", config)
    assert not directory.is_done("retrain", config)
    assert not (run / "results.parquet").exists()
    early = Program("report", str(run), log=tmp_path / "early")
    assert early.wait() == 2
    assert "retrain is not done" in early.output
    retrain = Program("retrain", str(run), "--set", "retrain.plans=[ours, all_in_one]", log=tmp_path / "retrain")
    assert retrain.wait() == 0, retrain.output
    before, after = (json.loads((folder / "groups.json").read_text())["groups"] for folder in (digits[0], run))
    unchanged = sum(members in before for members in after)
    assert 0 < unchanged < len(after), "the test would see nothing kept, or nothing new"
    assert f"10 networks of 2 plans, {2 * unchanged + 2} of them from before" in retrain.output
    assert sorted(path.name for path in (run / "models").iterdir()) == ["all_in_one", "ours"]
    for number, members in enumerate(after):
        network = json.loads((run / "models" / "ours" / f"group-{number}" / "seed-0" / "network.json").read_text())
        assert network["tasks"] == members
    report = Program("report", str(run), log=tmp_path / "report")
    assert report.wait() == 0, report.output


@pytest.mark.slow
def test_a_second_process_on_the_directory_is_refused(tmp_path: Path) -> None:
    first = Program("run", "digits", *SMALL, "--out", str(tmp_path / "run"), log=tmp_path / "first")
    first.wait_until((tmp_path / "run" / ".stages" / "parts.json").exists)
    second = Program("run", "digits", *SMALL, "--out", str(tmp_path / "run"), log=tmp_path / "second")
    assert second.wait() == 2
    assert f"in use by process {first.process.pid}" in second.output
    assert first.interrupt()[0] == 130
