"""Rows of parts that stay in their files, shared by all processes of a machine.

Trials that run on one machine read the same inputs. Each maps the parts' files into memory and gathers its batches from
there, so the system's page cache holds the inputs once, whatever the number of trials; inputs that do not fit into
memory are read from disk again. Where the parts are on an object store, each node keeps a copy in a temporary folder.
"""

from __future__ import annotations

import getpass
import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import PartIndex, part_name, read_part
from stg_ray.errors import InputError
from stg_ray.tasks import observed
from stg_ray.tasks.sparse_rows import InputRows, SparseRows

DENSE_BYTES = 2**27
"""Of sparse inputs that are made dense together."""

BYTES_IN_MEMORY = 2**21
"""Dense inputs up to this size are read into memory as one array, for each network: a batch of rows of 16 files takes
up to 25 times as long to gather, which is much of a small network's step."""

UNUSED_SECONDS = 7 * 24 * 3600.0
"""Copies of parts on a node that were not used for this long are deleted."""


class MappedInputs:
    """Some rows of several mapped arrays, as one tensor of inputs; indexing and splitting it copies rows.

    Args:
        arrays: (n_i, ...) arrays, one after the other.
        rows: (n,) indices of the rows among all rows of the arrays.
    """

    def __init__(self, arrays: Sequence[InputRows], rows: np.ndarray) -> None:
        self.arrays, self.rows = arrays, rows
        self.starts = np.cumsum([0] + [len(array) for array in arrays])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: torch.Tensor | slice) -> torch.Tensor:
        """Return a copy of the inputs (b, ...) at b positions."""
        rows = self.rows[index if isinstance(index, slice) else np.asarray(index)]
        if len(self.arrays) == 1 and isinstance(self.arrays[0], np.ndarray):
            return torch.from_numpy(np.take(self.arrays[0], rows, axis=0))
        batch = np.empty((len(rows), *self.arrays[0].shape[1:]), dtype=self.arrays[0].dtype)
        number = np.searchsorted(self.starts, rows, side="right") - 1
        order = np.argsort(number, kind="stable")
        bounds = np.searchsorted(number[order], np.arange(len(self.arrays) + 1))
        for part in np.unique(number).tolist():
            in_part = order[bounds[part] : bounds[part + 1]]
            batch[in_part] = self.arrays[part][rows[in_part] - self.starts[part]]
        return torch.from_numpy(batch)

    def near(self) -> MappedInputs:
        """Return the same rows in memory, as one array, where they are dense and few (`BYTES_IN_MEMORY`)."""
        first = self.arrays[0]
        if not isinstance(first, np.ndarray):
            return self
        bytes_of_a_row = first.itemsize * math.prod(first.shape[1:])
        if len(self) * bytes_of_a_row > BYTES_IN_MEMORY:
            return self
        return MappedInputs([self[:].numpy()], np.arange(len(self)))

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all rows in their order, `size` at a time; one empty block if there are no rows."""
        if isinstance(self.arrays[0], SparseRows):
            size = max(1, min(size, DENSE_BYTES // (4 * self.arrays[0].n_columns)))
        return (self[slice(start, start + size)] for start in range(0, max(1, len(self)), size))


def as_inputs(inputs: InputRows) -> torch.Tensor | MappedInputs:
    """Return inputs (n, ...) as a tensor, or, if they are sparse, as what becomes dense where it is indexed."""
    if isinstance(inputs, SparseRows):
        return MappedInputs([inputs], np.arange(len(inputs)))
    return torch.from_numpy(inputs)


class TaskRows:
    """The rows of a split that have a label for at least one of k tasks.

    Args:
        columns: indices of the k tasks.
        fold: which of the training rows are exchanged for the validation rows (see `rows_of_fold`).

    Attributes:
        rows: (n,) their positions in the split.
        samples: (n,) row numbers in the task set.
        inputs: inputs of these rows, mapped.
        labels: (n, k) labels, as stored.
    """

    def __init__(self, parts: Storage, index: PartIndex, split: str, columns: Sequence[int], fold: int = 0) -> None:
        exchanged = fold > 0 and split != "test"
        mapped = [
            read_part(on_this_node(parts, index, each), each, number)
            for each in (("train", "val") if exchanged else (split,))
            for number in range(index.n_parts(each))
        ]
        labels = np.concatenate([part.labels[:, columns] for part in mapped])
        order = np.arange(len(labels))
        if exchanged:
            order = rows_of_fold(fold, split, index.n_samples("train"), index.n_samples("val"))
        self.rows = np.flatnonzero(observed(labels[order]).any(axis=1))
        chosen = order[self.rows]
        self.samples = np.concatenate([part.samples for part in mapped])[chosen]
        self.inputs = MappedInputs([part.inputs for part in mapped], chosen).near()
        self.labels = np.ascontiguousarray(labels[chosen])

    def __len__(self) -> int:
        return len(self.samples)


def rows_of_fold(fold: int, split: str, n_train: int, n_val: int) -> np.ndarray:
    """Return the rows of a split, among all training rows followed by all validation rows.

    In fold f > 0 the f-th block of n_val training rows is validated on, and the validation rows are trained on; rows
    are in random order, so the blocks are random. Fold 0 is the split as it was made.

    Args:
        split: train or val.

    Example:
        >>> rows_of_fold(2, "val", n_train=6, n_val=2), rows_of_fold(2, "train", n_train=6, n_val=2)
        (array([2, 3]), array([0, 1, 4, 5, 6, 7]))
    """
    validated = np.arange(n_val) + (n_train if fold == 0 else (fold - 1) * n_val)
    return validated if split == "val" else np.setdiff1d(np.arange(n_train + n_val), validated)


def on_this_node(parts: Storage, index: PartIndex, split: str) -> Storage:
    """Return the storage from which this node maps the parts of a split.

    That is the storage itself, or, for an object store, a copy in the node's temporary folder, which is filled once and
    used by every trial of the same parts. Copies that nobody has used for `UNUSED_SECONDS` are deleted.

    Raises:
        InputError: the temporary folder for such copies belongs to another user.
    """
    if parts.is_local:
        return parts
    names = [f"{part_name(split, number)}.arrow" for number in range(index.n_parts(split))]
    copies = _folder_of_copies()
    local = Storage(copies / _version(parts, names))
    Path(local.root).mkdir(exist_ok=True)
    for name in names:
        if not local.exists(name):  # written whole or not at all; two trials at once write the same
            local.write_bytes(name, parts.read_bytes(name))
    os.utime(local.root)
    for folder in copies.iterdir():
        with suppress(OSError):  # another process may delete it, too
            if time.time() - folder.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(folder)
    return local


def _version(parts: Storage, names: Sequence[str]) -> str:
    """Identify what is in the parts now: another run may have been begun at the same place with other labels."""
    infos = parts.fs.get_file_info([parts.path(name) for name in names])
    known = "".join(f"{info.path} {info.size} {info.mtime_ns}\n" for info in infos)
    return hashlib.sha256(parts.uri.encode() + parts.read_bytes("index.json") + known.encode()).hexdigest()[:16]


def _folder_of_copies() -> Path:
    folder = Path(tempfile.gettempdir()) / f"stg_ray-{_user()}"
    folder.mkdir(mode=0o700, exist_ok=True, parents=True)
    if folder.stat().st_uid != os.getuid():  # who owns it could exchange what is trained on
        raise InputError(f"{folder} belongs to another user: set TMPDIR to a folder of yours")
    return folder


def _user() -> str:
    """Return the name of this user, or the number where the system has no name for it, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
