"""A small run of digits that is slow until a fault has struck, what of it is finished at a moment, and what it left.

Its trunk waits in every pass until a file `struck` lies beside its module, so that a fault always strikes amid a stage
and the rest is quick; what is computed does not depend on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.data_maps.state import DataMapState
from tests.support.processes import PATIENCE, Program

TRUNK = """
import time
from pathlib import Path

import torch

STRUCK = Path(__file__).parent / "struck"


class Slow(torch.nn.Module):
    def forward(self, inputs):
        if not STRUCK.exists():
            time.sleep(0.03 if self.training else 1.5)
        return inputs


def slow(input_shape):
    return torch.nn.Sequential(Slow(), torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.ReLU())
"""

SETTINGS = (
    *("--set", "model.trunk=slow_trunk:slow", "--set", "profile.epochs=5", "--set", "profile.workers=2"),
    # The landscape's passes are those that the trunk makes slow.
    *("--set", "affinity.methods=[data_map, landscape]", "--set", "affinity.samples=512"),
    *("--set", "retrain.epochs=5", "--set", "retrain.seeds=1"),
    *("--set", "retrain.plans=[ours]"),
)


@dataclass(frozen=True)
class Stage:
    """A stage under a fault.

    Attributes:
        actor: how its processes are called.
        work: what is finished in a run directory: names, and what must stay as it is.
    """

    name: str
    actor: str
    work: Callable[[Path], dict[str, float]]


def epochs_of_profile(run: Path) -> dict[str, float]:
    """The seconds of every epoch but the last, whose checkpoint may not be there yet; trained again they differ."""
    try:
        table = RunDir(run).read_parquet("profile/metrics.parquet").to_pandas()
    except OSError:
        return {}
    seconds = table.groupby("epoch")["seconds"].first()
    return {f"epoch {epoch}": value for epoch, value in seconds.items() if epoch < len(seconds)}


def partials(run: Path) -> dict[str, float]:
    """When the sums of every unit were written."""
    return {str(file): file.stat().st_mtime for file in run.glob("affinity/partials/landscape/0*.arrow")}


def networks(run: Path) -> dict[str, float]:
    """When the networks that are finished were written."""
    return {str(file): file.stat().st_mtime for file in run.glob(".networks/*/network.json")}


def epochs_of_networks(run: Path) -> dict[str, int]:
    """The last epoch that each unfinished network has kept."""
    found = {}
    for file in run.glob(".networks/*/checkpoint.pt"):
        try:
            found[file.parent.name] = torch.load(file, weights_only=True)["state"]["epoch"]
        except (OSError, EOFError):
            continue
    return found


STAGES = {
    "profile": Stage("profile", "ray::RayTrainWorker", epochs_of_profile),
    "affinity": Stage("affinity", "ray::AffinityActor", partials),
    "retrain": Stage("retrain", "ray::ImplicitFunc", networks),
}


class Disturbed:
    """A run of one stage that a fault meets.

    Args:
        reference: an undisturbed run.
        folder: of the logs and the trunk.
        within: of the run directory; else it is in `folder`.
        there: how the cluster is named; a Ray of its own if empty.
    """

    def __init__(
        self,
        stage: str,
        reference: Path,
        folder: Path,
        there: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        within: Path | None = None,
    ) -> None:
        self.stage, self.reference, self.folder = STAGES[stage], reference, folder
        self.run, self.there, self.env = (within or folder) / "run", there, env
        self.n_programs = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "slow_trunk.py").write_text(TRUNK)
        shutil.copytree(reference, self.run, symlinks=True, dirs_exist_ok=True)
        run = RunDir(self.run)
        run.forget_from(stage)
        for left in (".ray", ".networks", "affinity/partials"):
            run.delete(left)
        if stage == "profile":
            run.delete("profile")
        self.finished: dict[str, float] = {}
        self.epochs: dict[str, int] = {}

    def start(self, until: str | None = None) -> Program:
        self.n_programs += 1
        until = until or ("group" if self.stage.name == "affinity" else self.stage.name)
        arguments = ("run", "digits", *SETTINGS, "--out", str(self.run), "--until", until, *self.there)
        log = self.folder / f"log-{self.n_programs}"
        return Program(*arguments, log=log, env=self.env, cwd=self.folder)

    def wait_until_amid(self, program: Program) -> None:
        """Until some of the stage's work is done, and some not."""
        program.wait_until(lambda: self._far_enough())
        self.finished, self.epochs = self.stage.work(self.run), epochs_of_networks(self.run)

    def _far_enough(self) -> bool:
        if self.stage.name == "retrain":
            return sum(epoch >= 2 for epoch in epochs_of_networks(self.run).values()) >= 2
        return len(self.stage.work(self.run)) >= 2

    def struck(self) -> None:
        """The fault has struck: from now on the trunk is quick."""
        assert not (self.run / ".stages" / f"{self.stage.name}.json").exists(), "too late: the stage was done"
        (self.folder / "struck").touch()

    def processes(self, program: Program) -> list[psutil.Process]:
        """The stage's processes on a Ray of the program's own."""
        program.watch()
        return [p for p in program.seen if p.is_running() and p.name().startswith(self.stage.actor[:15])]

    def end(self, program: Program, timeout: float = PATIENCE) -> int:
        """Wait for the end, and see that nothing that was finished is done again; the exit code."""
        deadline = time.monotonic() + timeout
        while program.process.poll() is None:
            assert time.monotonic() < deadline, f"still running after {timeout} s:\n{program.output}"
            self.check_nothing_is_lost()
            program.watch()
            time.sleep(0.05)
        self.check_nothing_is_lost()
        return program.process.returncode

    def check_nothing_is_lost(self) -> None:
        now = self.stage.work(self.run)
        changed = {name for name in self.finished.keys() & now.keys() if self.finished[name] != now[name]}
        assert not changed, f"done again: {changed}"
        epochs = epochs_of_networks(self.run)
        assert all(epoch >= self.epochs.get(name, 0) for name, epoch in epochs.items()), (self.epochs, epochs)

    def assert_same_result(self, stage: str | None = None) -> None:
        """Of the stage, or of another."""
        run, reference = RunDir(self.run), RunDir(self.reference)
        stage = stage or self.stage.name
        if stage == "profile":
            folder = f"profile/data_map/epoch-{5:04d}"
            assert run.list(folder) == reference.list(folder)
            for name in reference.list(folder):
                states = [DataMapState.from_batch(own.read_arrow(f"{folder}/{name}")) for own in (run, reference)]
                for key in ("count", "mean", "m2"):
                    a, b = (getattr(state, key) for state in states)
                    assert np.array_equal(a, b, equal_nan=True), f"{key} of {name}"
            assert len(epochs_of_profile(self.run)) == 4
        elif stage == "affinity":
            assert run.read_bytes("groups.json") == reference.read_bytes("groups.json")
            for name in ("data_map", "landscape"):
                a, b = (own.read_parquet(f"affinity/{name}.parquet").to_pandas() for own in (run, reference))
                assert a.equals(b), name
        else:
            a, b = (own.read_parquet("results.parquet").to_pandas() for own in (run, reference))
            assert a.equals(b)
            assert len(networks(self.run)) == 4


def make_reference(folder: Path) -> Path:
    """The run without a fault, on a Ray of its own."""
    (folder / "slow_trunk.py").write_text(TRUNK)
    (folder / "struck").touch()
    arguments = ("run", "digits", *SETTINGS, "--until", "retrain", "--out", str(folder / "run"))
    program = Program(*arguments, log=folder / "log", cwd=folder)
    assert program.wait() == 0, program.output
    assert Storage(folder / "run").exists("results.parquet")
    return folder / "run"


def fill(file: Path) -> None:
    """Take all the room of a file system."""
    with file.open("wb") as filler:
        while True:
            try:
                os.write(filler.fileno(), b"x" * 65536)
            except OSError:
                return


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that can be read, but not written to, while the block runs: it is mounted on itself, read-only."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        deadline = time.monotonic() + 10
        while subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], capture_output=True).returncode:
            assert time.monotonic() < deadline, f"{folder} is written to all the time"
            time.sleep(0.01)  # a file that is open for writing keeps it busy
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
