"""Same seeds, same bytes? Two checkouts of stg_ray run the same configurations, and their artifacts are compared.

    python -m jobs.bench.same_results BEFORE AFTER [--quick] [--keep FOLDER]

BEFORE and AFTER are checkouts (`git worktree add ../before COMMIT`). Compared byte for byte (Parquet files by their
tables) are the parts, data maps, profiled network, affinities with their errors and resamplings, groups, plans and
results; what holds times (costs, metrics, the page) is left out. The sets are digits as the preset has it, digits with
every affinity and plan from both starts, and a set read from Parquet with missing labels, a regression and a
multi-class task, in parts of its own size.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from sklearn.datasets import load_digits

from jobs.bench.measure import show

COMPARED = (
    "groups.json",
    "results.parquet",
    "failures.json",
    "parts/*",
    "plans/*",
    "affinity/*",
    "profile/data_map/*/*",
    "profile/network.pt",
    "profile/points.arrow",
    "profile/regions.parquet",
    "profile/suspects.parquet",
)

PLANS = ["ours", "ours_soft", "all_in_one", "all_in_one_equal_cost", "all_in_one_ensemble", "random", "single_task"]
METHODS = ["data_map", "confidence_correlation", "landscape", "logit_correlation", "label_correlation", "tag", "random"]
PLAIN = {"precision": "float32"}  # `auto` is decided by a timing

CONFIGS: dict[str, dict[str, Any]] = {
    "digits": {"data": {"preset": "digits"}, "profile": PLAIN, "retrain": PLAIN},
    "digits, every affinity and plan": {
        "data": {"preset": "digits", "class_weights": "balanced"},
        "seed": 3,
        "profile": {"epochs": 4, "snapshots": 2, "flip": True, "crop": 1, **PLAIN},
        "affinity": {"methods": METHODS, "samples": "auto", "layers": "all", "coordinates": 100},
        "grouping": {"weights": {"random": 0, "tag": 0.5}, "overlap_above": 0.2},
        "retrain": {"epochs": 3, "plans": PLANS, "start": "both", "flip": True, **PLAIN},
    },
    "parquet": {
        "data": {"parquet": {"files": "digits.parquet", "features": ["x_*"], "labels": ["y_*"]}, "part_rows": 200},
        "profile": {"epochs": 4, "workers": 1, **PLAIN},
        "affinity": {"methods": ["landscape", "label_correlation"], "statistic": "sign", "samples": 512},
        "grouping": {"method": "louvain", "min_groups": 2, "criterion": "stability"},
        "retrain": {"epochs": 3, "seeds": 2, "plans": PLANS, **PLAIN},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--quick", action="store_true", help="the smallest configuration only")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the runs here; those that are there are taken"
    )
    arguments = parser.parse_args()
    names = ["parquet"] if arguments.quick else list(CONFIGS)
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        folder = (arguments.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        write_parquet(folder / "digits.parquet")
        rows, result = [], {}
        for name in names:
            sides = [run(name, checkout, folder / side) for side, checkout in vars(arguments).items() if side in SIDES]
            different = sorted(file for file in sides[0] | sides[1] if sides[0].get(file) != sides[1].get(file))
            found = f"{len(sides[0]) - len(different)} of {len(sides[0])} files"
            rows.append((f"{name}: the same bytes", found, "all"))
            rows += [(f"{name}: differs", file, "") for file in different]
            result[name] = {"files": len(sides[0]), "different": different}
    show("Same results?", rows, {"benchmark": "same_results", "quick": arguments.quick, "sets": result})
    sys.exit(any(own["different"] for own in result.values()))


SIDES = ("before", "after")


def run(name: str, checkout: Path, folder: Path) -> dict[str, str]:
    """Digests of the compared files of a run by a checkout, by their names."""
    folder.mkdir(exist_ok=True)
    title = name.replace(", ", "-").replace(" ", "_")
    config, out = folder / f"{title}.yaml", folder / title
    config.write_text(yaml.safe_dump(CONFIGS[name]))
    env = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "STG_RAY_DATA": str(folder.parent)}
    command = [sys.executable, "-m", "stg_ray", "run", str(config), "--out", str(out)]
    subprocess.run(command, env=env, cwd=folder, check=True)
    files = sorted(file for pattern in COMPARED for file in out.glob(pattern) if file.is_file())
    return {str(file.relative_to(out)): hashlib.sha256(contents(file)).hexdigest() for file in files}


def contents(file: Path) -> bytes:
    """The bytes of a file; of a Parquet file those of its table, for 0.2 added checksums to the pages."""
    if file.suffix != ".parquet":
        return file.read_bytes()
    table = pq.read_table(file)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def write_parquet(file: Path) -> None:
    """Digits as columns: ten binary tasks with a tenth of the labels missing, which digit, and how much ink."""
    bunch = load_digits()
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x_{f:02d}": bunch.data[:, f].astype(np.float32) for f in range(64)}
    for digit in range(10):
        columns[f"y_is_{digit}"] = pa.array(
            (bunch.target == digit).astype(np.int8), mask=rng.random(len(bunch.target)) < 0.1
        )
    columns["y_ink"] = bunch.data.sum(axis=1)
    columns["y_many"] = (bunch.target % 2).astype(np.float64)
    pq.write_table(pa.table(columns), file)


if __name__ == "__main__":
    main()
