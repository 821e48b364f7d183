"""The parts: a task set laid out once as numbered Arrow files, the units of work, retry and resume.

    parts/index.json            tasks, shape of an input, normalisation, the parts of each split with their rows
    parts/train-00003.arrow     columns sample (row of the task set), inputs and labels (fixed-shape tensors); of sparse
                                inputs, columns and values (lists) instead of inputs

Training rows are shuffled by seed before they are cut into parts of equal size (to one row), so any part, and the
first rows of every part, are a random sample of the training rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from stg_ray.artifacts.storage import Storage, tensor_array, tensor_column
from stg_ray.data.overlap import common_pairs, common_share
from stg_ray.data.repeats import repeated_share
from stg_ray.data.statistics import CONSTANT, blocks, common_std, input_statistics, whole_range
from stg_ray.errors import InputError
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import SPLITS, Task, TaskSet, observed
from stg_ray.tasks.rare import minorities
from stg_ray.tasks.sparse_rows import InputRows, SparseRows, joined

MIN_PARTS = 16
"""Parts by default; of more rows twice as many, or four times, and so on, which workers share evenly."""
MIN_PART_ROWS, MAX_PART_ROWS = 1024, 8192
"""Rows of a part where there are more than `MIN_PARTS`: the affinities of fewer would take a core little longer than
they cost the driver, and a part of more is too much to hold (jobs/bench/scaling.py)."""
MOST_BYTES_OF_SUMS = 2**30
"""Of an affinity, in all parts, as far as `MAX_PART_ROWS` allows: they are written, and read again by the driver."""
BYTES_OF_A_SUM = 24
"""Of a pair of tasks: its sum, sum of squares and number of samples."""

N_COLUMNS = b"n_columns"
"""Key of the metadata of a part's file with the number of columns of sparse inputs."""

NormalizeMode = Literal["auto", "none", "standard"]
"""Whether networks standardise their inputs: `data.normalize`."""


@dataclass(frozen=True)
class Part:
    """Some rows of a split.

    Attributes:
        samples: (n,) row numbers in the task set.
        inputs: (n, ...) inputs, perhaps sparse.
        labels: (n, K) labels.
    """

    samples: np.ndarray
    inputs: InputRows
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class PartIndex:
    """Facts about the parts that are known without reading them.

    Attributes:
        tasks: the K tasks.
        input_shape: shape of one input.
        input_mean: mean of the training rows, for normalization: per channel for images, else per feature.
        input_std: standard deviation of the training rows, likewise.
        labels_per_sample: mean number of labels of a training row (K where none is missing).
        common_pairs: share of the pairs of tasks that have training rows labelled for both.
        rows: number of rows of each part, by split.
        whole: least and largest input where all are whole numbers that may be ids (of tokens, of categories); None for
            images, for 0 and 1, and for all other numbers.
        normalize: whether networks standardise their inputs.
        common_share: median over pairs of tasks of the share of the smaller one's training rows that are labelled for
            both; None where no label is missing.
        rarer_in_test: number of test labels of each task beside those of its most frequent class; of a regression, of
            all its test labels. None in indices of version 0.1.
        common_std: root of the mean variance of the features, by which networks divide all of them where each is 0 or 1
            and `normalize` is auto: a rare one would be stretched most. None elsewhere.
        features: names of the columns of inputs (N, F), where they have names. None in indices of version 0.1.
        repeated_share: share of the test rows whose inputs are those of a training row. None where there are none, and
            in indices of version 0.1.
    """

    tasks: tuple[Task, ...]
    input_shape: tuple[int, ...]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    labels_per_sample: float
    common_pairs: float
    rows: dict[str, list[int]]
    whole: tuple[int, int] | None = None
    normalize: NormalizeMode = "auto"
    common_share: float | None = None
    rarer_in_test: tuple[int, ...] | None = None
    common_std: float | None = None
    features: tuple[str, ...] | None = None
    repeated_share: float | None = None

    @property
    def input_scale(self) -> tuple[float, ...]:
        """What networks divide their inputs by, per channel of images, else per feature."""
        if self.common_std is None:
            return self.input_std
        return tuple(self.common_std if std != CONSTANT else CONSTANT for std in self.input_std)

    @property
    def names(self) -> list[str]:
        """Names of the K tasks."""
        return [task.name for task in self.tasks]

    def n_parts(self, split: str = "train") -> int:
        """Return the number of parts of a split."""
        return len(self.rows[split])

    def n_samples(self, split: str = "train") -> int:
        """Return the number of rows of a split."""
        return sum(self.rows[split])

    def rows_at_most(self, n_tasks: int, split: str = "train") -> int:
        """Return how many rows of a split have a label of one of so many tasks, at most: all, if none is missing.

        Of tasks that have as many labels as the mean task; those of training rows tell.
        """
        rows = self.n_samples(split)
        return min(rows, math.ceil(rows * n_tasks * self.labels_per_sample / len(self.tasks)))

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of index.json; those that came after version 0.1 only where they say something."""
        values = {**self.__dict__, "tasks": [task.to_dict() for task in self.tasks]}
        later = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        return {key: value for key, value in values.items() if key not in later or value != later[key]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PartIndex:
        """Return the index with the contents of an index.json.

        Raises:
            InputError: the shape of an input is none.
        """
        if not all(type(size) is int and size > 0 for size in values["input_shape"]):
            raise InputError(f"index.json has the input shape {values['input_shape']!r}: expected whole numbers")
        keys = ("input_shape", "input_mean", "input_std", "whole", "rarer_in_test", "features")
        tuples = {key: tuple(values[key]) for key in keys if key in values}
        return cls(**{**values, **tuples, "tasks": tuple(map(Task.from_dict, values["tasks"]))})


def part_name(split: str, number: int) -> str:
    """Return the name of a part, such as train-00003."""
    return f"{split}-{number:05d}"


def write_parts(
    task_set: TaskSet,
    storage: Storage,
    *,
    part_rows: int | None = None,
    seed: int = 0,
    normalize: NormalizeMode = "auto",
) -> PartIndex:
    """Lay a task set out in `storage`.

    The index is written last: without it, parts are incomplete.

    Args:
        part_rows: as in `index_of`.
        seed: seed of the order of the rows.
        normalize: as in `index_of`.
    """
    storage.delete("index.json")
    index = index_of(task_set, part_rows=part_rows, normalize=normalize)
    for split in SPLITS:
        for number, piece in enumerate(part_rows_of(task_set, index, split, seed)):
            storage.write_arrow(f"{part_name(split, number)}.arrow", _to_batch(task_set, piece))
    storage.write_json("index.json", index.to_dict())
    return index


def index_of(task_set: TaskSet, *, part_rows: int | None = None, normalize: NormalizeMode = "auto") -> PartIndex:
    """Compute the index of the parts of a task set.

    Args:
        part_rows: largest number of rows of a part; by default there are 16, 32, 64, ... parts, as many as have 1,024
            rows, or more where they would have over 8,192. Fewer where their sums are large, of many tasks.
        normalize: whether networks standardise the inputs.
    """
    train = task_set.rows("train")
    mean, std = input_statistics(task_set.inputs, train)
    labels = sum(int(observed(task_set.labels[block]).sum()) for block in blocks(train))
    return PartIndex(
        tasks=task_set.tasks,
        input_shape=tuple(task_set.inputs.shape[1:]),
        input_mean=mean,
        input_std=std,
        labels_per_sample=labels / len(train),
        common_pairs=common_pairs(task_set.labels, train),
        rows={split: part_sizes(len(task_set.rows(split)), len(task_set.tasks), part_rows) for split in SPLITS},
        whole=whole_range(task_set.inputs, np.flatnonzero(task_set.split >= 0)),
        normalize=normalize,
        common_share=common_share(task_set.labels, train),
        rarer_in_test=tuple(minorities(task_set.labels, task_set.tasks, task_set.rows("test"))),
        common_std=common_std(task_set.inputs, train, std) if normalize == "auto" else None,
        features=task_set.features,
        repeated_share=repeated_share(task_set.inputs, train, task_set.rows("test")),
    )


def part_sizes(n_rows: int, n_tasks: int, part_rows: int | None = None) -> list[int]:
    """Return the number of rows of each part of a split, as `index_of` lays them out."""
    n_parts = MIN_PARTS
    most = min(n_rows // MIN_PART_ROWS, MOST_BYTES_OF_SUMS // (BYTES_OF_A_SUM * n_tasks**2))
    while 2 * n_parts <= most or n_parts * MAX_PART_ROWS < n_rows:
        n_parts *= 2
    if part_rows is not None or n_parts == MIN_PARTS:  # of few rows there are fewer parts, not smaller ones
        n_parts = math.ceil(n_rows / (part_rows or max(1, math.ceil(n_rows / MIN_PARTS))))
    return [n_rows // n_parts + (number < n_rows % n_parts) for number in range(n_parts)]


def part_rows_of(task_set: TaskSet, index: PartIndex, split: str, seed: int) -> list[np.ndarray]:
    """Return the rows of the task set that each part of a split holds, shuffled by seed."""
    rows = generator(Stream.PARTS, seed, SPLITS.index(split)).permutation(task_set.rows(split))
    return np.split(rows, np.cumsum(index.rows[split])[:-1]) if len(rows) else []


def read_index(storage: Storage) -> PartIndex:
    """Read the index of the parts in `storage`."""
    return PartIndex.from_dict(storage.read_json("index.json"))


def read_part(storage: Storage, split: str, number: int) -> Part:
    """Read the arrays of a part; views of the mapped file where the storage is local."""
    batch = storage.read_arrow(f"{part_name(split, number)}.arrow")
    return Part(batch.column("sample").to_numpy(), _inputs_of(batch), tensor_array(batch.column("labels")))


def read_split(storage: Storage, index: PartIndex, split: str, numbers: Sequence[int] | None = None) -> Part:
    """Read several parts of a split (by default all of them), in this order, copied into one array each."""
    chosen = range(index.n_parts(split)) if numbers is None else numbers
    return concatenated([read_part(storage, split, number) for number in chosen])


def read_task_set(storage: Storage) -> TaskSet:
    """Read the task set that is laid out in `storage`: its rows in the order of the parts, without those left out."""
    index = read_index(storage)
    places = [(split, number) for split in SPLITS for number in range(index.n_parts(split))]
    whole = concatenated([read_part(storage, split, number) for split, number in places])
    codes = np.repeat(np.arange(len(SPLITS), dtype=np.int8), [index.n_samples(split) for split in SPLITS])
    return TaskSet(whole.inputs, whole.labels, index.tasks, codes, features=index.features)


def concatenated(parts: Sequence[Part]) -> Part:
    """Return the rows of several parts, one after the other, copied."""
    sparse = [part.inputs for part in parts if isinstance(part.inputs, SparseRows)]
    inputs = joined(sparse) if sparse else np.concatenate([part.inputs[:] for part in parts])
    samples, labels = (np.concatenate([getattr(part, key) for part in parts]) for key in ("samples", "labels"))
    return Part(samples, inputs, labels)


def _to_batch(task_set: TaskSet, rows: np.ndarray) -> pa.RecordBatch:
    sample, labels = pa.array(rows.astype(np.int64)), tensor_column(task_set.labels[rows])
    if not isinstance(task_set.inputs, SparseRows):
        return pa.record_batch({"sample": sample, "inputs": tensor_column(task_set.inputs[rows]), "labels": labels})
    part = task_set.inputs.take(rows)
    lists = {
        key: pa.LargeListArray.from_arrays(pa.array(part.starts), pa.array(array))
        for key, array in (("columns", part.columns), ("values", part.values))
    }
    batch = pa.record_batch({"sample": sample, **lists, "labels": labels})
    return batch.replace_schema_metadata({N_COLUMNS: str(part.n_columns)})


def _inputs_of(batch: pa.RecordBatch) -> InputRows:
    """Return the inputs of a part's file, without a copy where it is mapped."""
    if "inputs" in batch.schema.names:
        return tensor_array(batch.column("inputs"))
    columns, values = batch.column("columns"), batch.column("values")
    return SparseRows(
        columns.offsets.to_numpy(),
        columns.values.to_numpy(),
        values.values.to_numpy(),
        int(batch.schema.metadata[N_COLUMNS]),
    )
