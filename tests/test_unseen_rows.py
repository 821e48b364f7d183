"""Nothing but the final scores looks at the labels of the test rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.progress import Reporter
from stg_ray.tasks import TaskSet

AUTO = {"patience": 1, "min_steps": 8, "max_epochs": 5, "precision": "float32"}
SETTINGS = {
    "data": {"part_rows": 110},
    "model": {"trunk": "mlp", "width": 8, "depth": 1},
    "profile": {**AUTO, "workers": 1},
    "affinity": {"methods": ["data_map", "landscape", "label_correlation"]},
    "grouping": {"groups": 2},
    "retrain": {**AUTO, "plans": ["ours", "all_in_one_equal_cost"]},
}
DECIDED = ("groups.json", "profile/network.pt", "profile/length.json", "profile/regions.parquet")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_session")
def test_poisoned_test_labels_change_the_test_scores_and_nothing_else(
    make_task_set: Callable[..., TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    clean = make_task_set(n_samples=300, missing=0.1)
    labels = clean.labels.copy()
    test = clean.rows("test")
    labels[test] = np.where(labels[test] < 0, labels[test], 1 - labels[test])
    runs = {
        name: sr.run(task_set, tmp_path / name, settings=SETTINGS, until="retrain", reporter=quiet).run_dir
        for name, task_set in (("clean", clean), ("poisoned", replace(clean, labels=labels)))
    }
    one, other = runs["clean"], runs["poisoned"]
    for name in (*DECIDED, *files_of(one, "plans"), *networks_of(one)):
        assert one.read_bytes(name) == other.read_bytes(name), name
    assert networks_of(one) == networks_of(other)
    for name in files_of(one, "affinity"):
        if name.endswith(".parquet"):
            assert one.read_parquet(name).equals(other.read_parquet(name)), name
    costs, results = (
        [run.read_parquet(f"{table}.parquet").to_pandas() for run in (one, other)] for table in ("costs", "results")
    )
    assert costs[0].drop(columns="seconds").equals(costs[1].drop(columns="seconds"))
    val, test_scores = ([table[table["split"] == split] for table in results] for split in ("val", "test"))
    assert val[0].equals(val[1])
    assert not test_scores[0].equals(test_scores[1]), "the poison is in them"


def files_of(run: RunDir, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in run.list(folder) if "." in name]


def networks_of(run: RunDir) -> list[str]:
    """The weights of all trained networks."""
    found = sorted(path.relative_to(run.root).as_posix() for path in Path(run.root, "models").rglob("network.pt"))
    assert found
    return found
