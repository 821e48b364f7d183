"""What keeps a run from being trusted is listed once, with what to do; nothing is listed where nothing does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import stg_ray as sr
from stg_ray.artifacts.evidence import NumberChoice
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir, network_place
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, index_of
from stg_ray.report.comparison import Difference
from stg_ray.report.limits import limits_of
from stg_ray.retraining.results import costs_table

CONFIG = sr.load_config({"data": {"npz": "by hand"}, "retrain": {"batch_size": 10}, "profile": {"batch_size": 10}})
KNOWN = {"all_in_one": Difference(0.1, 0.0, 0.2, 3, 1, p_value=0.5)}


@pytest.fixture
def index(make_task_set: Callable[..., sr.TaskSet]) -> PartIndex:
    return replace(index_of(make_task_set(blocks=(2, 2))), rarer_in_test=(40, 40, 40, 40), rows={"train": [1000]})


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path)
    trained_for(run, epochs=10)
    run.write_parquet("profile/metrics.parquet", pa.table({"epoch": list(range(1, 11))}))
    run.write_json("affinity/limits.json", [])
    return run


def trained_for(run: RunDir, epochs: int, plans: Sequence[str] = ("ours",), **how: str) -> None:
    networks: list[dict[str, Any]] = [{"plan": plan, "group": 0, "seed": 0} for plan in plans]
    run.write_parquet("costs.parquet", costs_table([{**about, "cost": 1, "seconds": 1.0} for about in networks]))
    for about in networks:
        run.write_json(f"{network_place(**about)}/network.json", {"epochs": epochs, **how})


def groups_of(index: PartIndex, certainty: float = 0.9) -> Groups:
    groups = Groups.from_labels(index.names, np.array([0, 0, 1, 1]), "by hand")
    return replace(groups, certainty=dict.fromkeys(index.names, certainty))


def found(
    run: RunDir, index: PartIndex, groups: Groups | None = None, against: Any = KNOWN, config: Config = CONFIG
) -> list[str]:
    limits = limits_of(run, config, index, groups or groups_of(index), against)
    assert all(limit.advice for limit in limits)
    return [str(limit) for limit in limits]


def test_a_sound_run_has_no_limits(run: RunDir, index: PartIndex) -> None:
    assert found(run, index) == []


def test_differences_that_are_not_known_ask_for_more_trainings(run: RunDir, index: PartIndex) -> None:
    (line,) = found(run, index, against={"random": Difference(0.1, np.nan, np.nan, 3, 1)})
    assert "too few times" in line
    assert "retrain.seeds=3" in line


def test_few_steps_are_counted(run: RunDir, index: PartIndex) -> None:
    trained_for(run, epochs=2)
    (line,) = found(run, index)
    assert line.startswith("the networks were trained for 200 steps")
    run.write_parquet("profile/metrics.parquet", pa.table({"epoch": [1]}))
    assert (
        "the profiled network was trained for 100 steps, which may be too few: raise profile.epochs"
        in found(run, index)[1]
    )


def test_a_profile_that_nothing_rests_on_is_no_limit(run: RunDir, index: PartIndex) -> None:
    """Initialisations are learned from scratch, and tasks may be compared where that begins."""
    run.write_parquet("profile/metrics.parquet", pa.table({"epoch": [1]}))
    values = CONFIG.model_dump() | {"retrain": {"learner": "maml", "plans": ["ours"]}}
    for start, said in (("initial", 0), ("meta", 0), ("profiled", 1)):
        config = Config.model_validate(values | {"affinity": {"methods": ["landscape"], "start": start}})
        assert sum("profiled network" in line for line in found(run, index, config=config)) == said


def test_trainings_that_were_ended_before_a_plateau_are_told(run: RunDir, index: PartIndex) -> None:
    trained_for(run, epochs=10, ended="max_epochs")
    (line,) = found(run, index)
    assert line.endswith("when retrain.max_epochs ended them: set retrain.max_epochs=400")
    trained_for(run, epochs=10, plans=["ours", "random_0", "random_1"], ended="max_epochs")
    (line,) = found(run, index)
    assert line.startswith("networks of 2 of 2 plans still"), "draws of random groups are one plan, as in the table"
    trained_for(run, epochs=10, ended="plateau")
    run.write_json("profile/length.json", {"epochs": 10, "ended": "max_epochs"})
    (line,) = found(run, index)
    assert line.endswith("set profile.max_epochs=400")


def test_tasks_that_a_few_test_rows_decide_are_named(run: RunDir, index: PartIndex) -> None:
    (line,) = found(run, replace(index, rarer_in_test=(3, 40, 9, 40)))
    assert "scores of 2 of 4 tasks" in line
    assert f"{index.names[0]!r}: 3, {index.names[2]!r}: 9" in line
    assert found(run, replace(index, rarer_in_test=None)) == [], "an index of version 0.1 does not know"


def test_test_rows_that_were_trained_on_are_told(run: RunDir, index: PartIndex) -> None:
    (line,) = found(run, replace(index, repeated_share=0.12))
    assert line.startswith("12% of the test rows have the inputs of a training row")
    assert found(run, replace(index, repeated_share=0.005)) == []


def test_heads_that_are_not_trained_are_told_at_the_end_too(run: RunDir, index: PartIndex) -> None:
    run.write_json("affinity/limits.json", [["the network predicts nothing", "train it"]])
    assert found(run, index) == ["the network predicts nothing: train it"]


def test_tasks_with_few_common_samples_are_told(run: RunDir, index: PartIndex) -> None:
    (line,) = found(run, replace(index, common_share=0.12))
    assert "12% of the samples" in line
    assert found(run, replace(index, common_share=0.5)) == []


def test_groups_that_change_with_the_samples_are_named(run: RunDir, index: PartIndex) -> None:
    (line,) = found(run, index, groups_of(index, certainty=0.4))
    assert "0 (40%), 1 (40%)" in line


def test_a_number_of_groups_at_its_bound_is_told(run: RunDir, index: PartIndex) -> None:
    groups = replace(groups_of(index), number_choice=NumberChoice("silhouette", {1: 0.1, 2: 0.4}))
    (line,) = found(run, index, groups)
    assert "grouping.max_groups=4" in line
    lower = replace(groups, number_choice=NumberChoice("silhouette", {2: 0.4, 3: 0.1}))
    assert found(run, index, lower) == []


def test_the_share_of_common_rows_is_that_of_the_smaller_task() -> None:
    labels = np.full((300, 3), np.nan)
    labels[:200, 0] = np.arange(200) % 2
    labels[150:, 1] = np.arange(150) % 2
    labels[:, 2] = np.arange(300) % 3 == 0
    split = np.full(300, "train", dtype=object)
    split[::10], split[1::4] = "val", "test"
    task_set = sr.TaskSet.from_arrays(np.arange(300.0)[:, None], labels, split=split)
    index = index_of(task_set)
    train = ~np.isnan(labels[split == "train"])
    shares = [
        (train[:, a] & train[:, b]).sum() / min(train[:, a].sum(), train[:, b].sum())
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert index.common_share == pytest.approx(np.median(shares))
    test = labels[split == "test"]
    rarer = [min((column == 0).sum(), (column == 1).sum()) for column in test.T]
    assert index.rarer_in_test == tuple(rarer)
    complete = sr.TaskSet.from_arrays(np.arange(300.0)[:, None], labels[:, 2:], split=split)
    assert index_of(complete).common_share is None
