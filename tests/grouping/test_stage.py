"""The group stage on a run directory: what it reads, what it writes, what it refuses before anything runs."""

from __future__ import annotations

import io
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.config.loading import load_config, set_values
from stg_ray.errors import InputError
from stg_ray.grouping import run as group
from stg_ray.grouping.stage import add_tasks, check_grouping
from stg_ray.planning.estimate import estimate
from stg_ray.progress import StageProgress
from stg_ray.report import print_groups

NAMES = tuple(f"t{t}" for t in range(12))
LABELS = np.arange(12) % 3
METHODS = ("data_map", "landscape")
CONFIG = load_config(
    "digits", ["grouping.groups=auto", "grouping.min_groups=2", f"affinity.methods=[{', '.join(METHODS)}]"]
)


def distances(labels: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.triu(np.where(labels[:, None] == labels, 1.0, 2.0) + 0.1 * rng.random((12, 12)), 1)
    return values + values.T


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(str(tmp_path / "run"))
    run.check_writable()
    for seed, name in enumerate(METHODS):
        matrix = TaskMatrix(NAMES, distances(LABELS, seed), "distance")
        run.write_parquet(f"affinity/{name}.parquet", matrix.to_table())
        error = TaskMatrix(NAMES, np.full((12, 12), 0.05), "distance")
        run.write_parquet(f"affinity/{name}.stderr.parquet", error.to_table())
    return run


def grouped(run: RunDir, config: Config) -> tuple[Groups, str]:
    progress = StageProgress(Console(quiet=True), "group")
    group(run, config, progress)
    return Groups.from_dict(run.read_json("groups.json")), progress.summary


def test_groups_with_their_certainty(run: RunDir, tmp_path: Path) -> None:
    groups, summary = grouped(run, CONFIG)
    assert groups.labels.tolist() == LABELS.tolist()
    assert groups.certainty is not None
    assert set(groups.certainty) == set(NAMES)
    assert summary == "12 tasks in 3 groups of 4, 4, 4; mean certainty 1.00"
    console = Console(record=True, width=80, file=io.StringIO())
    print_groups(console, groups)
    assert "100%" in console.export_text()
    assert grouped(run, CONFIG)[0] == groups
    rng = np.random.default_rng(0)
    for name in METHODS:
        lost = np.stack([distances(rng.permutation(LABELS), 0) for _ in range(10)])
        run.write_arrays(f"affinity/{name}.resamples.arrow", {"values": lost.astype(np.float32)})
    again = grouped(run, CONFIG)[0].certainty
    assert again is not None
    assert min(again.values()) < 1, "resampled parts are preferred to errors"


def test_a_budget_with_names(run: RunDir) -> None:
    config = set_values(
        CONFIG,
        [
            "grouping.method=budget",
            "grouping.min_groups=1",
            "grouping.budget.networks=3",
            "grouping.budget.overlap=true",
            "grouping.budget.apart=[[t0, t3, t6]]",
            "grouping.budget.max_size=5",
        ],
    )
    groups, summary = grouped(run, config)
    assert len({groups.serving[task] for task in ("t0", "t3", "t6")}) == 3
    assert max(map(len, groups.groups)) <= 5
    assert "mean score" in summary
    assert groups.selection is not None
    assert groups.selection.score <= groups.selection.bound


def test_a_file_of_ones_own_counts_by_its_weight(run: RunDir, tmp_path: Path) -> None:
    other = np.arange(12) // 4
    frame = pd.DataFrame(-distances(other, 2), index=list(NAMES), columns=list(NAMES))
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "mine.csv")
    files = ["grouping.groups=3", f"grouping.files={{mine: {tmp_path / 'mine.csv'}}}"]
    with_own = set_values(CONFIG, [*files, "grouping.weights={data_map: 0, landscape: 0, mine: 1}"])
    groups, summary = grouped(run, with_own)
    assert groups.labels.tolist() == other.tolist()
    assert groups.certainty is None, "its errors are not known, and the others do not count"
    assert "certainty" not in summary
    little = set_values(CONFIG, [*files, "grouping.weights={mine: 0.01}"])
    groups, summary = grouped(run, little)
    assert groups.labels.tolist() == LABELS.tolist()
    assert groups.affinities == {"data_map": 1.0, "landscape": 1.0, "mine": 0.01}
    assert re.search(r"; mean certainty [\d.]+, at most: errors of mine are not known$", summary)
    check_grouping(with_own, NAMES)
    with pytest.raises(InputError, match=r"mine.csv has 't11', which is no task of the run"):
        check_grouping(with_own, NAMES[:11])
    frame.iloc[:, :5].to_csv(tmp_path / "mine.csv")
    with pytest.raises(InputError, match="12 rows and 5 columns"):
        check_grouping(with_own, NAMES)


def test_what_cannot_be_grouped_is_refused_at_the_door() -> None:
    for overrides, message in (
        (["grouping.groups=13"], "grouping.groups=13 but there are 12 tasks"),
        (["grouping.min_groups=13"], "13 but there are 12 tasks"),
        (["grouping.method=budget", "grouping.budget={together: [[t0, t1]], apart: [[t1, t0]]}"], "'t1' and 't0' must"),
        (["grouping.method=budget", "grouping.budget={apart: [[t0, x]]}"], "budget.apart: unknown task 'x'"),
        (["grouping.method=budget", "grouping.budget={cost: 0.5}"], "pays for 0 groups"),
    ):
        with pytest.raises(InputError, match=message):
            check_grouping(set_values(CONFIG, overrides), NAMES)


def test_the_plan_says_how_many_networks_a_budget_may_take() -> None:
    config = set_values(CONFIG, ["grouping.method=budget", "grouping.budget={cost: 3.5}"])
    assert dict(estimate(config))["group"].startswith("budget, at most 3 groups, chosen by score; ")


def test_new_tasks_are_added_beside_the_groups(run: RunDir, tmp_path: Path) -> None:
    run.write_config(CONFIG)
    names = [*NAMES, "new"]
    larger = np.full((13, 13), np.nan)
    larger[12, :12] = larger[:12, 12] = np.where(LABELS == 1, 0.9, 0.2)
    pd.DataFrame(larger, index=names, columns=names).to_csv(tmp_path / "larger.csv")
    with pytest.raises(InputError, match="group is not done"):
        add_tasks(run.uri, str(tmp_path / "larger.csv"))
    before, _ = grouped(run, CONFIG)
    run.mark_done("group", CONFIG, 0.1)
    groups = add_tasks(run.uri, str(tmp_path / "larger.csv"))
    assert groups.serving["new"] == before.serving["t1"]
    assert Groups.from_dict(run.read_json("groups.added.json")) == groups
    assert Groups.from_dict(run.read_json("groups.json")) == before
    run.forget("group")
    assert not run.exists("groups.added.json")


@pytest.mark.parametrize(("alike", "broken"), [(-0.5, "4 networks, and 3 are allowed; old tasks"), (0.9, "")])
def test_new_tasks_that_break_the_budget_are_refused(run: RunDir, alike: float, broken: str, tmp_path: Path) -> None:
    config = set_values(CONFIG, ["grouping.method=budget", "grouping.budget={networks: 3}"])
    run.write_config(config)
    groups, _ = grouped(run, config)
    assert len(groups.groups) == 3
    run.mark_done("group", config, 0.1)
    larger = np.full((13, 13), 0.5)
    larger[12, :12] = larger[:12, 12] = alike
    names = [*NAMES, "new"]
    pd.DataFrame(larger, index=names, columns=names).to_csv(tmp_path / "larger.csv")
    with pytest.raises(InputError, match=rf"break grouping\.budget: {broken}") if broken else nullcontext():
        add_tasks(run.uri, str(tmp_path / "larger.csv"))
    assert run.exists("groups.added.json") == (not broken)


def test_a_file_that_changed_groups_again(run: RunDir, tmp_path: Path) -> None:
    """The stages from group on are not done for another content of the same file."""
    file = tmp_path / "mine.csv"
    frame = pd.DataFrame(-distances(LABELS, 2), index=list(NAMES), columns=list(NAMES))
    frame.to_csv(file)
    config = set_values(CONFIG, ["grouping.groups=3", f"grouping.files={{mine: {file}}}"])
    for stage in ("affinity", "group", "retrain"):
        run.begin(stage, config)
        run.mark_done(stage, config, 0.1)
    run.begin("report", config)
    frame.T.to_csv(file)  # the same content
    assert all(run.is_done(stage, config) for stage in ("affinity", "group", "retrain"))
    pd.DataFrame(-distances(np.arange(12) // 4, 2), index=list(NAMES), columns=list(NAMES)).to_csv(file)
    run.mark_done("report", config, 0.1)
    assert [run.is_done(stage, config) for stage in ("affinity", "group", "retrain", "report")] == [True, *[False] * 3]
    run.write_json("groups.json", {})
    run.begin("group", config)
    assert not run.exists("groups.json"), "what another content began is taken away"
    run.mark_done("group", config, 0.1)
    assert run.is_done("group", config)
    file.unlink()
    assert run.is_done("group", config), "as for data that were laid out before"
