"""One network at the cost of ours sees as many rows as they do, where tasks have rows of their own, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.progress import Reporter


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [6, "auto"])
def test_tasks_with_rows_of_their_own(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, epochs: int | str
) -> None:
    whole = make_task_set(n_samples=900, blocks=(2, 2, 2))
    labels = np.array(whole.labels)
    block = np.arange(900) % 6 // 2  # two of six rows for each block, of which the last keeps one
    for number in range(3):
        labels[np.ix_(block != number, [2 * number, 2 * number + 1])] = -1
    labels[np.arange(900) % 6 == 5] = -1  # rows of nobody
    tasks = sr.TaskSet.from_arrays(whole.inputs, labels, missing=[-1])
    length = {"epochs": epochs, "min_steps": 20, "max_epochs": 12, "batch_size": 64}
    settings = {
        "model": {"trunk": "mlp", "width": 8, "depth": 1},
        "profile": {"epochs": 2, "workers": 1},
        "affinity": {"methods": ["landscape"]},
        "grouping": {"groups": 3},
        "retrain": {**length, "plans": ["ours", "all_in_one", "all_in_one_equal_cost"]},
    }
    run = sr.run(tasks, str(tmp_path / "run"), settings=settings, reporter=Reporter(Console(quiet=True)))
    networks = {
        (plan, path.parent.parent.name): run.run_dir.read_json(path.relative_to(tmp_path / "run").as_posix())
        for plan in ("ours", "all_in_one", "all_in_one_equal_cost")
        for path in (tmp_path / "run" / "models" / plan).rglob("network.json")
    }
    seen = {key: about["cost"] / about["parameters"] for key, about in networks.items()}
    of_all = networks["all_in_one", "group-0"]
    rows = seen["all_in_one", "group-0"] / of_all["epochs"]
    assert rows < 900 * 5 / 6, "rows without a label are nobody's"
    of_ours = sum(value for (plan, _), value in seen.items() if plan == "ours")
    equal = networks["all_in_one_equal_cost", "group-0"]
    assert abs(seen["all_in_one_equal_cost", "group-0"] - of_ours) <= rows / 2, "to the next epoch"
    if epochs != "auto":
        assert equal["epochs"] == epochs, "not three times as many"
