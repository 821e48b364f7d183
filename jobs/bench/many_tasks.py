"""The path to groups with many tasks: seconds of every stage, peak memory of the driver, and files.

    python -m jobs.bench.many_tasks [--tasks 1000 3000] [--rows 6000] [--epochs 5]

Planted are groups of 20 half-spaces of 64 numbers. All settings are the defaults, but for the epochs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from jobs.bench.measure import run_measured, show
from stg_ray.artifacts.run_dir import RunDir

SIZE, N_FEATURES = 20, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {"benchmark": "many_tasks", "rows": arguments.rows, "epochs": arguments.epochs}
    for n_tasks in arguments.tasks:
        with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder:
            own = measured(Path(folder), n_tasks, arguments.rows, arguments.epochs)
        rows += [(f"{n_tasks:,} tasks: {what}", f"{value:,}", "") for what, value in own.items()]
        result[str(n_tasks)] = own
    show("To groups of many tasks", rows, result)


def measured(folder: Path, n_tasks: int, n_rows: int, epochs: int) -> dict[str, float]:
    """Make a task set, run the program on it up to its groups, and return what that took."""
    rng = np.random.default_rng(0)
    group = np.arange(n_tasks) // SIZE
    inputs = rng.normal(size=(n_rows, N_FEATURES)).astype(np.float32)
    directions = 0.8 * rng.normal(size=(N_FEATURES, group[-1] + 1))[:, group]
    directions += 0.6 * rng.normal(size=(N_FEATURES, n_tasks))
    np.savez(folder / "tasks.npz", inputs=inputs, labels=(inputs @ directions / 8 > 0.5).astype(np.int8))
    (folder / "tasks.yaml").write_text(
        f'data: {{npz: {folder}/tasks.npz, tasks: {{"*": {{kind: binary}}}}}}\nprofile: {{epochs: {epochs}}}\n'
    )
    run = folder / "run"
    seconds, mebibytes = run_measured(
        ["-m", "stg_ray", "run", str(folder / "tasks.yaml"), "--out", str(run), "--until", "group", "--quiet"]
    )
    found: dict[str, float] = {}
    for stage in ("parts", "profile", "affinity", "group"):
        found[f"seconds of {stage}"] = round(RunDir(run).read_json(f".stages/{stage}.json")["seconds"], 1)
    groups = RunDir(run).read_json("groups.json")["groups"]
    labels = {task: number for number, members in enumerate(groups) for task in members}
    agreement = adjusted_rand_score(group, [labels[f"task_{t}"] for t in range(n_tasks)])
    files = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    return found | {
        "seconds from the command to its end": round(seconds, 1),
        "MiB of memory of the driver": round(mebibytes),
        "MiB of files": round(files / 2**20),
        "adjusted Rand index": round(agreement, 3),
    }


if __name__ == "__main__":
    main()
