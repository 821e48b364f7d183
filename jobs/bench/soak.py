"""Random kills: whatever process of a run dies and whenever, the same command ends with the same groups.

A small run of digits is started again and again. At random moments one of its processes, the program itself, one of its
workers or of Ray's own, is killed by SIGKILL. A program that ends so, or that gives up after more deaths than it is
allowed, is started again by the same command, until the run is done; its groups and its results are compared with those
of an undisturbed run.

    python -m jobs.bench.soak [--minutes 30] [--seed 0] [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from jobs.bench.measure import show

SETTINGS = ("data.limit=400", "profile.epochs=8", "profile.workers=2", "retrain.epochs=4", "retrain.plans=[ours]",
            "retrain.seeds=1")  # fmt: skip
KILLS_OF_A_RUN = 4
"""Then it is left alone, so that it ends."""
LONGEST_SECONDS = 300.0


def start(folder: Path, chosen: Sequence[str]) -> psutil.Popen:
    """Start a run of digits with these settings, whose output is added to a log beside its directory."""
    settings = [word for setting in chosen for word in ("--set", setting)]
    command = [sys.executable, "-m", "stg_ray", "run", "digits", *settings, "--out", str(folder)]
    with (folder.parent / f"{folder.name}.log").open("a") as log:
        return psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def kind_of(process: psutil.Process, program: psutil.Process) -> str:
    """Describe what was killed."""
    if process == program:
        return "program"
    name = process.name()
    if name.startswith("ray::"):
        return "idle worker" if name == "ray::IDLE" else "working worker"
    return name.removesuffix("_server") if name in ("raylet", "gcs_server") else "other of Ray's"


def one_run(folder: Path, random_: random.Random, most: int, mean_seconds: float) -> tuple[Counter[str], int, bool]:
    """Run to the end under a number of kills: what was killed, how often the command was given, whether it ended
    in time."""
    killed: Counter[str] = Counter()
    began, n_starts = time.monotonic(), 0
    seen: set[psutil.Process] = set()
    try:
        while True:
            program, n_starts = start(folder, SETTINGS), n_starts + 1
            strike = time.monotonic() + random_.expovariate(1 / mean_seconds)
            while program.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    family = [psutil.Process(program.pid), *program.children(recursive=True)]
                    seen.update(family)
                    if time.monotonic() > strike and killed.total() < most:
                        victim = random_.choice(family)
                        kind = kind_of(victim, family[0])
                        victim.kill()
                        killed[kind] += 1
                        strike = time.monotonic() + random_.expovariate(1 / mean_seconds)
                if time.monotonic() - began > LONGEST_SECONDS:
                    return killed, n_starts, False
                time.sleep(0.1)
            if program.returncode == 0:
                return killed, n_starts, True
    finally:
        for process in seen:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one minute")
    options = parser.parse_args()
    seconds = 60.0 if options.quick else 60 * options.minutes
    random_ = random.Random(options.seed)
    killed: Counter[str] = Counter()
    n_runs = n_starts = n_wrong = n_hung = 0
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        began = time.monotonic()
        _, _, ended = one_run(folder / "reference", random_, most=0, mean_seconds=1.0)
        undisturbed = time.monotonic() - began
        if not ended:
            raise SystemExit(f"the undisturbed run did not end within {LONGEST_SECONDS:.0f} s")
        files = ("groups.json", "results.parquet")
        expected = {file: (folder / "reference" / file).read_bytes() for file in files}
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            own = folder / f"run-{n_runs}"
            kills, starts, ended = one_run(own, random_, most=KILLS_OF_A_RUN, mean_seconds=undisturbed / 4)
            killed, n_runs, n_starts = killed + kills, n_runs + 1, n_starts + starts
            n_hung += not ended
            wrong = ended and any((own / file).read_bytes() != expected[file] for file in files)
            n_wrong += wrong
            if wrong or not ended:
                print((folder / f"run-{n_runs - 1}.log").read_text(), file=sys.stderr)
    result = {
        "minutes": round(seconds / 60, 1),
        "runs": n_runs,
        "commands": n_starts,
        "killed": dict(killed),
        "wrong": n_wrong,
        "hung": n_hung,
        "undisturbed_seconds": round(undisturbed, 1),
    }
    show(
        "random kills",
        [
            ("runs to their end", str(n_runs - n_hung), str(n_runs)),
            ("commands that were given", str(n_starts), ""),
            ("processes killed", f"{killed.total()}: {json.dumps(dict(killed))}", ""),
            ("runs with other groups or results", str(n_wrong), "0"),
        ],
        result,
    )
    sys.exit(1 if n_wrong or n_hung else 0)


if __name__ == "__main__":
    main()
