"""The data maps of a run in its directory: one array that is read on demand, or a pyarrow dataset."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from stg_ray.artifacts.contents import Contents, damaged_file
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.parts import part_name, read_index
from stg_ray.data_maps.histogram import PointHistogram, point_counts
from stg_ray.data_maps.state import DataMapState
from stg_ray.errors import InputError
from stg_ray.shown import counted


class DataMap:
    """A snapshot of a run's data maps: mean confidence and variability of N training samples and K tasks.

    `np.asarray(data_map)`, or `data_map[rows]` for some, gives (n, K, 2) float32 values (NaN where a label is missing);
    only the parts that hold these rows are read. Row r is the sample `samples[r]`.

    Args:
        run: the run directory, a path or a URI.
        epoch: which snapshot; the last one if not given.

    Attributes:
        epochs: epochs of the snapshots that the run has.
        epoch: that of this one.
        tasks: names of the K tasks.
        shape: (N, K, 2).

    Raises:
        InputError: there is no such snapshot, or (also later, when they are read) files of it are damaged.

    Example:
        >>> import stg_ray as sr
        >>> data_map = sr.DataMap("runs/tiny")
        >>> data_map
        DataMap('...runs/tiny', epoch 3 of [2, 3], 112 samples, 4 tasks)
        >>> confidence, variability = np.moveaxis(data_map[:100], -1, 0)
        >>> confidence.shape
        (100, 4)
    """

    def __init__(self, run: str, epoch: int | None = None) -> None:
        self.storage = RunDir(run)
        self.epochs = [int(name.removeprefix("epoch-")) for name in self.storage.list("profile/data_map")]
        if not self.epochs:
            raise InputError(f"{run} has no data map: finish its profile first, with stg-ray run or sr.run")
        if epoch is not None and epoch not in self.epochs:
            known = ", ".join(map(str, self.epochs))
            raise InputError(f"{run} has no data map of epoch {epoch}: there are {known}")
        self.epoch = epoch or self.epochs[-1]
        self.storage.check_file("parts", "parts/index.json")
        index = read_index(self.storage.sub("parts"))
        self.tasks = tuple(index.names)
        self.bounds = np.cumsum([0, *index.rows["train"]])
        self.shape = (int(self.bounds[-1]), len(self.tasks), 2)

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def samples(self) -> np.ndarray:
        """(N,) numbers of the samples in the task set."""
        return np.concatenate([self._batch(p).column("sample").to_numpy() for p in range(len(self.bounds) - 1)])

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        wanted = np.atleast_1d(np.arange(len(self))[rows])
        values = np.empty((len(wanted), *self.shape[1:]), np.float32)
        part_of = np.searchsorted(self.bounds, wanted, side="right") - 1
        for part in np.unique(part_of):
            places = np.flatnonzero(part_of == part)
            state = DataMapState.from_batch(self._batch(int(part)))
            at = wanted[places] - self.bounds[part]
            values[places, :, 0], values[places, :, 1] = state.mean[at], state.variability[at]
        return values[0] if isinstance(rows, int | np.integer) else values

    def __repr__(self) -> str:
        n, n_tasks, _ = self.shape
        snapshot = f"epoch {self.epoch} of {self.epochs}"
        return f"DataMap({self.storage.uri!r}, {snapshot}, {n:,} samples, {counted(n_tasks, 'task')})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)

    def histogram(self) -> PointHistogram:
        """Count each task's samples by confidence and variability, from one part after the other."""
        parts = (DataMapState.from_batch(self._batch(part)) for part in range(len(self.bounds) - 1))
        return PointHistogram(self.tasks, sum(map(point_counts, parts), np.zeros(())))

    def dataset(self) -> pa.dataset.Dataset:
        """Return the states (columns sample, count, mean, m2) as a pyarrow dataset."""
        self.storage.check_file("profile", f"profile/data_map/epoch-{self.epoch:04d}")
        paths = [self.storage.path(self._file(part)) for part in range(len(self.bounds) - 1)]
        return pa.dataset.dataset(paths, format="ipc", filesystem=self.storage.fs)

    def _file(self, part: int) -> str:
        return f"profile/data_map/epoch-{self.epoch:04d}/{part_name('train', part)}.arrow"

    def _batch(self, part: int) -> pa.RecordBatch:
        file = self._file(part)
        if file in self._noted and damaged_file(self.storage, {file: self._noted[file]}):
            self.storage.check_file("profile", file)
        return self.storage.read_arrow(file)

    @cached_property
    def _noted(self) -> Contents:
        return self.storage.recorded("profile", "profile/data_map")
