"""Groups of main tasks with what helps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config, set_values
from stg_ray.data.parts import write_parts
from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks
from stg_ray.grouping.main_tasks import main_groups
from stg_ray.grouping.stage import run
from stg_ray.progress import Reporter
from stg_ray.stages import AUXILIARY
from tests.support.families import sorts

NAMES = ["a", "b", "c", "d", "e"]


def test_every_main_task_is_served_with_its_helpers_and_the_others_together() -> None:
    groups = main_groups(NAMES, {"c": ["a", "d"], "a": []})
    assert groups.groups == [["a"], ["b", "d", "e"], ["a", "c", "d"]]
    assert groups.serving == {"a": 0, "b": 1, "c": 2, "d": 1, "e": 1}
    assert groups.membership[2] == [0, 0, 1]


def test_main_tasks_that_help_each_other_share_a_network() -> None:
    groups = main_groups(NAMES, {"a": ["b"], "b": ["a"], "c": ["d", "e"], "d": [], "e": []})
    assert groups.groups == [["a", "b"], ["c", "d", "e"], ["d"], ["e"]]
    assert groups.serving == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 3}


def test_the_order_in_which_main_tasks_are_named_does_not_matter() -> None:
    kept = {"c": ["a", "d"], "a": ["c"], "e": []}
    assert main_groups(NAMES, kept) == main_groups(NAMES, dict(reversed(kept.items())))


def test_a_run_groups_by_what_was_found_and_says_how_to_find_it(quiet: Reporter, tmp_path: Path) -> None:
    tasks, run_dir = sorts("binary", 3), RunDir(tmp_path)
    config = set_values(load_config({"data": {"npz": "planted"}}), ["grouping.method=auxiliary"])
    write_parts(tasks, run_dir.sub("parts"))
    run_dir.write_config(config)
    with quiet.stage("group") as progress:
        with pytest.raises(
            InputError, match=r"not known yet: give stg-ray auxiliary .* --main TASK, then this command"
        ):
            run(run_dir, config, progress)
        run_dir.write_json(AUXILIARY, {"mains": {tasks.names[1]: {"kept": [tasks.names[2]]}}})
        run(run_dir, config, progress)
    found = run_dir.read_json("groups.json")
    assert found["groups"] == [[tasks.names[0], tasks.names[2]], [tasks.names[1], tasks.names[2]]]
    assert found["serving"][tasks.names[2]] == 0
    assert progress.summary == "3 tasks in 2 groups of 2, 2"


def test_what_needs_trainings_is_refused_without() -> None:
    with pytest.raises(InputError, match=r"grouping.method=auxiliary is by trainings, in a run"):
        group_tasks(np.eye(2), method="auxiliary")
    for setting in ("grouping.groups=3", "grouping.weights.tag=2"):
        with pytest.raises(InputError, match="makes a group of each main task, by trainings: leave groups, weights"):
            set_values(load_config({"data": {"npz": "planted"}}), ["grouping.method=auxiliary", setting])
