"""A run as Python sees it: its artifacts on demand, and a clear line where they are not there yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.parts import part_name, read_part, write_parts
from stg_ray.progress import Reporter

NAMES = ["<i>a</i>", "b", "c", "d"]
AFFINITY = {"methods": ["confidence_adjusted", "logit_adjusted"]}


@pytest.fixture
def empty(tmp_path: Path) -> sr.Run:
    """A run of which nothing is done."""
    RunDir(tmp_path).write_config(sr.load_config({"data": {"npz": "mine.npz"}, "affinity": AFFINITY}))
    return sr.Run.from_path(tmp_path)


@pytest.fixture
def run(empty: sr.Run, make_task_set: Callable[..., sr.TaskSet]) -> sr.Run:
    """A run with all that its stages leave, but for networks."""
    folder, task_set = empty.run_dir, make_task_set(blocks=(2, 2))
    task_set = sr.TaskSet.from_arrays(task_set.inputs, task_set.labels, names=NAMES)
    index = write_parts(task_set, folder.sub("parts"))
    for number in range(index.n_parts()):
        samples = read_part(folder.sub("parts"), "train", number).samples
        state = sr.DataMapState.of_visit(np.full((len(samples), 4), 0.5, np.float32))
        folder.write_arrow(f"profile/data_map/epoch-0001/{part_name('train', number)}.arrow", state.to_batch(samples))
    for name in ("confidence_adjusted", "logit_adjusted"):
        matrix = sr.TaskMatrix(tuple(NAMES), np.eye(4), "affinity")
        folder.write_parquet(f"affinity/{name}.parquet", matrix.to_table())
    errors = sr.TaskMatrix(tuple(NAMES), np.full((4, 4), 0.1), "affinity")
    folder.write_parquet("affinity/logit_adjusted.stderr.parquet", errors.to_table())
    groups = sr.Groups.from_labels(NAMES, np.array([0, 0, 1, 1]), "by hand")
    folder.write_json("groups.json", groups.to_dict())
    folder.write_json("failures.json", [])
    rows = [
        (plan, group, task, "test", "argmax", "average_precision", value + 0.01 * t, 0)
        for plan, value in (("ours", 0.8), ("all_in_one", 0.6))
        for t, (task, group) in enumerate(zip(NAMES, (0, 0, 1, 1), strict=True))
    ]
    columns = ["plan", "group", "task", "split", "serving", "metric", "value", "seed"]
    folder.write_parquet("results.parquet", pa.Table.from_pandas(pd.DataFrame(rows, columns=columns)))
    costs = [("ours", 0, 0, 5.0, 1.0), ("ours", 1, 0, 5.0, 1.0), ("all_in_one", 0, 0, 8.0, 1.0)]
    frame = pd.DataFrame(costs, columns=["plan", "group", "seed", "cost", "seconds"])
    folder.write_parquet("costs.parquet", pa.Table.from_pandas(frame))
    folder.write_bytes("report.html", b"<html></html>")
    for stage in ("parts", "profile"):
        folder.mark_done(stage, empty.config, 1.0)
    return empty


def test_what_the_stages_left(run: sr.Run) -> None:
    assert run.path == Path(run.uri)
    assert run.config.data.npz == "mine.npz"
    assert run.groups.groups == [NAMES[:2], NAMES[2:]]
    assert run.results["value"].max() == pytest.approx(0.83)
    assert run.costs.groupby("plan")["cost"].sum().to_dict() == {"all_in_one": 8.0, "ours": 10.0}
    assert list(run.affinities) == ["confidence_adjusted", "logit_adjusted"]
    assert run.affinities["confidence_adjusted"].errors is None
    errors = run.affinities["logit_adjusted"].errors
    assert errors is not None
    assert (errors == 0.1).all()
    assert run.data_map.tasks == tuple(NAMES)
    assert Path(run.report).read_text() == "<html></html>"
    assert run.summary.verdict.startswith(
        "So few trainings do not tell our groups from all tasks in one network (+0.2000"
    )
    assert run.results is run.results, "it is read once"


def test_what_is_to_be_deployed_is_known_where_the_run_chose(run: sr.Run) -> None:
    assert run.chosen is None
    run.run_dir.write_json("chosen.json", {"plan": "ours"})
    run.run_dir.mark_done("retrain", run.config, 1.0)  # it was read before
    assert run.chosen == {"plan": "ours"}


def test_what_a_stage_leaves_anew_is_read_anew(run: sr.Run) -> None:
    """Another program may do a stage again while this one holds the run: a shell beside a notebook."""
    run.run_dir.mark_done("group", run.config, 1.0)
    assert run.groups is run.groups, "it is read once"
    again = sr.load_config({**run.config.model_dump(), "grouping": {"groups": 4}})
    run.run_dir.write_config(again)
    run.run_dir.begin("group", again)
    with pytest.raises(sr.InputError, match="group is not done yet"):
        run.groups.labels  # noqa: B018  reading it is what is tested
    run.run_dir.write_json("groups.json", sr.Groups.from_labels(NAMES, np.arange(4), "by hand").to_dict())
    run.run_dir.mark_done("group", again, 1.0)
    assert run.groups.groups == [[name] for name in NAMES]
    assert run.done == ("parts", "profile", "group"), "by the configuration that the run has now"


def test_what_was_read_stays_where_the_directory_is_gone(run: sr.Run) -> None:
    groups = run.groups
    shutil.rmtree(run.path)
    assert run.groups is groups
    with pytest.raises(sr.InputError, match="is gone"):
        run.results.shape  # noqa: B018  as above


def test_how_a_run_is_shown(run: sr.Run) -> None:
    assert repr(run) == f"Run({run.uri!r}, done: parts, profile)"
    page = run._repr_html_()
    assert "done: parts, profile" in page
    assert "&lt;i&gt;a&lt;/i&gt;, b" in page
    assert "<i>" not in page
    assert "do not tell our groups from all tasks in one network" in page


@pytest.mark.parametrize(
    ("attribute", "stage"),
    [
        ("groups", "group"),
        ("results", "retrain"),
        ("costs", "retrain"),
        ("chosen", "retrain"),
        ("search", "retrain"),
        ("affinities", "affinity"),
        ("data_map", "profile"),
        ("summary", "group"),
        ("report", "report"),
    ],
)
def test_what_is_not_there_yet_is_said(empty: sr.Run, attribute: str, stage: str) -> None:
    with pytest.raises(sr.InputError, match=f"{stage} is not done yet in .*: finish it with stg-ray run"):
        getattr(empty, attribute)
    with pytest.raises(sr.InputError, match="retrain is not done"):
        empty.predictor()
    assert repr(empty) == f"Run({empty.uri!r}, done: nothing)"
    assert "done: nothing" in empty._repr_html_()


def test_a_folder_that_is_gone_is_said(run: sr.Run, tmp_path: Path) -> None:
    """As that of an estimator which was unpickled in another process."""
    groups = run.groups
    shutil.rmtree(tmp_path)
    for attribute in (
        "results",
        "summary",
        "chosen",
        "forecast",
        "search",
        "affinities",
        "data_map",
        "report",
        "config",
    ):
        fresh = sr.Run(run.run_dir)
        with pytest.raises(sr.InputError, match=r"the directory of this run, .*, is gone: give sr.Run.from_path"):
            getattr(fresh, attribute)
    with pytest.raises(sr.InputError, match="is gone"):
        run.predictor()
    for each in (run, sr.Run(run.run_dir)):
        assert repr(each).startswith(f"Run({run.uri!r}, the directory of this run, ")
        assert "is gone" in each._repr_html_()
    assert run.groups is groups, "what was read stays"


def test_a_configuration_that_cannot_be_read_is_shown_as_such(run: sr.Run) -> None:
    run.run_dir.write_bytes("config.yaml", b"profile: [")
    assert "config.yaml is" in repr(sr.Run(run.run_dir))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(sr.InputError, match="is no run directory"):
        sr.Run.from_path(tmp_path / "nowhere")


def test_an_object_store_has_a_uri_only() -> None:
    run = sr.Run(RunDir("mock://bucket/run"))
    assert run.uri == "mock://bucket/run"
    with pytest.raises(sr.InputError, match="is not on this machine"):
        _ = run.path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_a_task_set_with_its_networks(
    ray_session: None, make_task_set: Callable[..., sr.TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    """The whole path on arrays; the same again does nothing; another task set is refused."""
    task_set = make_task_set(n_samples=400)
    settings = {
        "profile": {"epochs": 3, "workers": 1},
        "grouping": {"groups": 2},
        "retrain": {"epochs": 2, "plans": ["ours", "all_in_one"]},
    }
    run = sr.run(task_set, tmp_path / "run", settings=settings, reporter=quiet)
    assert run.done == ("parts", "profile", "affinity", "group", "retrain", "report")
    assert run.config.data.task_set == task_set.digest
    assert sorted(map(sorted, run.groups.groups)) == [list(task_set.names[:3]), list(task_set.names[3:])]
    assert set(run.results["plan"]) == {"ours", "all_in_one"}
    for matrix in run.affinities.values():
        assert matrix.errors is not None
    assert run.data_map.shape == (280, 6, 2)
    assert run.chosen is not None
    assert run.chosen["plan"] in ("ours", "all_in_one")
    assert run.summary.verdict.startswith("Deploy ")
    assert run.summary.verdict in run._repr_html_().replace("&#x27;", "'")
    chosen, one = run.predictor(), run.predictor("all_in_one", seed=0)
    assert len(chosen.networks) == run.chosen["networks"]
    assert chosen.predict(task_set.inputs[:5]).array.shape == one.predict(task_set.inputs[:5]).array.shape == (5, 6)
    written = {path: path.stat().st_mtime_ns for path in run.path.rglob("*.parquet")}
    again = sr.run(task_set, tmp_path / "run", settings=settings, reporter=quiet)
    assert {path: path.stat().st_mtime_ns for path in again.path.rglob("*.parquet")} == written
    with pytest.raises(sr.InputError, match="began with another task set"):
        sr.run(make_task_set(n_samples=400, seed=1), tmp_path / "run", settings=settings, reporter=quiet)
    sources = json.loads((tmp_path / "run" / ".stages" / "parts.json").read_text())
    assert sources["config"] == run.config.fingerprint(("seed", "data"))
