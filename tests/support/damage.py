"""Damage to files, as disks, people and programs do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stg_ray.artifacts.contents import contents_of
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.retraining.held_out import HeldOut
from stg_ray.retraining.kept import RESULTS, digest_of, files_of

Damage = Callable[[Path], None]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """One bit, in a file of the same size and, as a failing disk leaves it, of the same time."""
    flip_at(file, file.stat().st_size // 2)


def flip_at(file: Path, place: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    replace(file, bytes(data))


def empty(file: Path) -> None:
    """All bytes zero, as after a power cut."""
    replace(file, bytes(file.stat().st_size))


def exchange(file: Path) -> None:
    """Another whole file of its kind, of the same run."""
    like = [own for own in sorted(file.parent.parent.rglob(f"*{file.suffix}")) if own.is_file()]
    other = next((own for own in like if own.read_bytes() != file.read_bytes()), None)
    replace(file, b"of another kind" if other is None else other.read_bytes())


def replace(file: Path, data: bytes) -> None:
    """As another file: links to it stay as they were."""
    file.unlink()
    file.write_bytes(data)


EVERY: list[Damage] = [truncate, flip, empty, exchange, Path.unlink]


def as_finished_now(run: RunDir, folder: str) -> None:
    """Make the folder of a network that an older version trained what this version leaves."""
    about = run.read_json(f"{folder}/network.json")
    HeldOut(np.arange(2), np.zeros((2, len(about["tasks"])), np.float32)).write(run, folder)
    about |= {"results": RESULTS, "files": contents_of(run, files_of(folder))}
    run.write_json(f"{folder}/network.json", about | {"digest": digest_of(about)})
