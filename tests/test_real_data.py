"""The main path to groups on real task sets of every shape: hundreds of tasks, missing labels, no common samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.data.parts import read_index
from stg_ray.progress import Reporter

REAL = Path(os.environ.get("STG_RAY_DATA", "nowhere"))

SETS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "delicious": (
        "mulan",
        {
            "parquet": {"files": "mulan/delicious.parquet", "features": ["x_*"], "labels": ["y_*"], "split": "split"},
            "constant_tasks": "drop",
        },
        982,
        "aligned",
    ),
    "toxcast": (
        "molecules",
        {
            "parquet": {
                "files": "molecules/toxcast.parquet",
                "bits": "fp_morgan2_2048",
                "labels": ["y_*"],
                "split": "split",
            },
            "constant_tasks": "drop",
            "class_weights": "balanced",
        },
        603,
        "aligned",
    ),
    "joined": (
        "cifar100",
        {
            "join": [
                {"preset": "cifar10", "limit": 2000},
                {"preset": "cifar100-coarse", "limit": 2000, "name": "coarse"},
            ]
        },
        30,
        "sign",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETS))
def test_to_groups(name: str, ray_session: None, quiet: Reporter, tmp_path: Path) -> None:
    folder, data, n_tasks, statistic = SETS[name]
    if not (REAL / folder).is_dir():
        pytest.skip(f"no {folder}/ in $STG_RAY_DATA")
    config = sr.load_config(
        {
            "data": data,
            "profile": {"epochs": 1, "workers": 2},
            "affinity": {
                "samples": 64,
                "methods": ["landscape"] if statistic == "sign" else ["data_map", "landscape"],
            },
            "grouping": {"groups": 7},
        }
    )
    run = sr.run(config, str(tmp_path / "run"), until="group", reporter=quiet).run_dir
    index = read_index(run.sub("parts"))
    assert len(index.tasks) == n_tasks
    matrix = TaskMatrix.from_table(run.read_parquet("affinity/landscape.parquet"))
    assert matrix.parameters["statistic"] == statistic
    assert matrix.tasks == tuple(index.names)
    off_diagonal = matrix.values[~np.eye(n_tasks, dtype=bool)]
    assert np.isfinite(off_diagonal).mean() > 0.95
    assert np.nanstd(off_diagonal) > 0
    groups = run.read_json("groups.json")["groups"]
    assert len(groups) == 7
    assert sorted(task for group in groups for task in group) == sorted(index.names)
