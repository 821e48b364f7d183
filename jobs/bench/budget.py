"""Where the seconds of `stg-ray run digits` go, on a quiet machine and on a busy one.

    python -m jobs.bench.budget [--rounds N] [--busy] [--quick]

The command is run as a user gives it, in turn with workers that are forked and with workers that Ray starts
(`STG_RAY_NO_FORKS=1`), and the medians are shown. A part begins when its predecessor's line is printed:

    start       imports of the program and of the fork server, the start of Ray
    profile     its epochs (training), and what is around them: controller and worker, checkpoints, data maps
    affinity    comparing, with the start of its actors
    retrain     training of its networks, on as many CPUs at once as the machine has, and what is around it
    end         report, page, end of Ray

--busy runs two processes beside it that compute all the time. What is neither training nor comparing is the rest.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from jobs.bench.measure import show

SIDES: dict[str, dict[str, str]] = {"forked": {}, "as Ray starts them": {"STG_RAY_NO_FORKS": "1"}}
LINES = {"parts": "start", "profile": "profile", "affinity": "affinity", "group": "group", "retrain": "retrain"}
"""The part that ends when a stage's line is printed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each side")
    parser.add_argument("--busy", action="store_true", help="beside two processes that compute")
    parser.add_argument("--quick", action="store_true", help="once, to see that it works")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    others = [multiprocessing.Process(target=compute, daemon=True) for _ in range(2 if arguments.busy else 0)]
    for other in others:
        other.start()
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, variables in SIDES.items():
            with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder:
                runs[side].append(seconds_of(Path(folder) / "run", variables))
    for other in others:
        other.kill()
    found = {
        side: {part: round(statistics.median(run[part] for run in own), 2) for part in own[0]}
        for side, own in runs.items()
    }
    ours, rays = found.values()
    rows = [(part, f"{ours[part]:.1f} s", f"{rays[part]:.1f} s, workers as Ray starts them") for part in ours]
    load = "busy" if arguments.busy else "quiet"
    result = {"benchmark": "budget", "machine": load, "cpus": os.cpu_count(), "rounds": rounds, "seconds": found}
    show(f"stg-ray run digits, {load} machine", rows, result)


def compute() -> None:
    """Use a CPU."""
    while True:
        sum(range(1000))


def seconds_of(out: Path, variables: dict[str, str]) -> dict[str, float]:
    """Run it once; the seconds of its parts."""
    command = [sys.executable, "-m", "stg_ray", "run", "digits", "--out", str(out)]
    environment = os.environ | variables | {"PYTHONUNBUFFERED": "1"}
    began = last = time.monotonic()
    parts: dict[str, float] = {}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            now = time.monotonic()
            stage = line.split(" ", 1)[0]
            if "done in" in line and stage in LINES:
                parts[LINES[stage]], last = now - last, now
    if program.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with exit code {program.returncode}")
    ended = time.monotonic()
    epochs = pq.read_table(out / "profile" / "metrics.parquet", columns=["epoch", "seconds"]).to_pandas()
    networks = [json.loads(path.read_text())["seconds"] for path in out.glob(".networks/*/network.json")]
    training = {
        "profile: training": float(epochs.drop_duplicates("epoch")["seconds"].sum()),
        "retrain: training": sum(networks) / (os.cpu_count() or 1),
    }
    total = ended - began
    return (
        parts
        | {"end": ended - last}
        | training
        | {"total": total, "neither training nor comparing": total - sum(training.values()) - parts["affinity"]}
    )


if __name__ == "__main__":
    main()
