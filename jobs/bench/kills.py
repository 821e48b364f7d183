"""SIGKILLs of the program in every stage of a run: the same command ends with the same bytes, and nothing is left.

A small run of digits is killed again and again, at a random moment of the stage whose turn it is, and started again
by the same command. After each kill the processes that the program had started, and the files in shared memory that
they had open, must be gone within seconds. What the run leaves in the end is compared with an undisturbed run.

    python -m jobs.bench.kills [--kills 40] [--seed 0] [--quick]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from jobs.bench.measure import show
from jobs.bench.soak import start

SETTINGS = (
    *("data.limit=300", "profile.epochs=4", "profile.workers=1", "profile.precision=float32", "affinity.samples=128"),
    *("retrain.epochs=3", "retrain.seeds=1", "retrain.precision=float32", "retrain.plans=[ours, all_in_one]"),
)
SHARES = {"parts": 5, "profile": 8, "affinity": 7, "group": 5, "retrain": 10, "report": 5}
"""Of forty kills, those in each stage; one that comes too late falls into the next."""
COMPARED = ("groups.json", "results.parquet", "affinity/*.parquet", "profile/data_map/**/*", "plans/*.json")
GONE_SECONDS = 30.0
"""A busy machine may take some to end what it has been told to end."""
LONGEST_SECONDS = 300.0


def stage_of(folder: Path) -> str | None:
    """The stage that is at work, by the marks in the run directory."""
    for stage in SHARES:
        if not (folder / ".stages" / f"{stage}.json").exists():
            return stage if (folder / ".stages" / f"{stage}.begun.json").exists() else None
    return None


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(file for pattern in COMPARED for file in folder.glob(pattern) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def family_of(program: psutil.Popen) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return list(program.children(recursive=True))
    return []


def shared_files(processes: list[psutil.Process]) -> set[Path]:
    """The files in shared memory that processes have open or mapped, and that have a name."""
    found = set()
    for process in processes:
        with suppress(OSError):
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            found |= {Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if "/dev/shm/" in line}
    return {path for path in found if path.exists()}


class Killed:
    """What was killed, and what it left behind."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self.left: list[str] = []
        self.n_starts = self.n_hung = 0
        self.slowest = 0.0

    def strike(self, program: psutil.Popen, stage: str) -> None:
        family = family_of(program)
        shared = shared_files(family)
        program.kill()
        program.wait()
        began = time.monotonic()
        _, alive = psutil.wait_procs(family, timeout=GONE_SECONDS)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.kills[stage] += 1
        self.left += [f"{process.pid} {process.name()}" for process in alive]
        self.left += [str(path) for path in shared if path.exists()]

    def run(self, folder: Path, seconds: dict[str, float], wanted: Counter[str], rng: random.Random) -> bool:
        """Run to the end, under the kills that are wanted in each stage; whether it ended in time."""
        while True:
            program, self.n_starts = start(folder, SETTINGS), self.n_starts + 1
            began, strike_at = time.monotonic(), None
            while program.poll() is None:
                stage = stage_of(folder)
                if stage is not None and strike_at is None and wanted[stage] > self.kills[stage]:
                    strike_at = time.monotonic() + rng.uniform(0, 0.8) * seconds.get(stage, 0.1)
                if strike_at is not None and time.monotonic() >= strike_at:
                    self.strike(program, stage or "between stages")
                    break
                if time.monotonic() - began > LONGEST_SECONDS:
                    self.strike(program, "hung")
                    self.n_hung += 1
                    return False
                time.sleep(0.005)
            if program.returncode == 0:
                return True
            if program.returncode != -9:
                self.left.append(f"the program ended with {program.returncode}: see {folder}.log")
                return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="six kills")
    options = parser.parse_args()
    most = 6 if options.quick else options.kills
    killed, rng = Killed(), random.Random(options.seed)
    n_runs = n_wrong = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        began = time.monotonic()
        if not killed.run(folder / "reference", {}, Counter(), rng):
            raise SystemExit((folder / "reference.log").read_text())
        undisturbed = time.monotonic() - began
        expected = contents(folder / "reference")
        seconds = {"profile": 0.2 * undisturbed, "affinity": 0.15 * undisturbed, "retrain": 0.3 * undisturbed}
        while killed.kills.total() < most and time.monotonic() - began < most * 60:
            shares = {stage: max(1, round(share * most / 40)) for stage, share in SHARES.items()}
            own = folder / f"run-{n_runs}"
            ended = killed.run(own, seconds, Counter(shares), rng)
            n_runs += 1
            seconds = {stage: 0.5 * last for stage, last in seconds.items()}  # of a run that was faster than its kills
            different = ended and contents(own) != expected
            n_wrong += bool(different)
            if different or not ended:
                print((folder / f"{own.name}.log").read_text(), file=sys.stderr)
                break
    result = {
        "kills": killed.kills.total(),
        "by_stage": dict(killed.kills),
        "runs": n_runs,
        "commands": killed.n_starts,
        "files": len(expected),
        "wrong": n_wrong,
        "hung": killed.n_hung,
        "left": killed.left,
        "slowest_to_be_gone": round(killed.slowest, 1),
        "undisturbed_seconds": round(undisturbed, 1),
    }
    rows = [
        ("SIGKILLs of the program", f"{killed.kills.total()}: {dict(killed.kills)}", str(most)),
        ("runs whose bytes differ", f"{n_wrong} of {n_runs}", "0"),
        ("processes and shared files left", str(len(killed.left)), "0"),
        ("longest until all processes were gone", f"{killed.slowest:.1f} s", ""),
    ]
    show("kills in every stage", rows, result)
    sys.exit(1 if n_wrong or killed.n_hung or killed.left else 0)


if __name__ == "__main__":
    main()
