"""A task set: inputs, labels and splits of K tasks.

Labels of all tasks stand in one matrix of shape (samples, tasks), in the smallest type that holds them. A missing
label is `MISSING` (-1) in an integer matrix and NaN in a floating-point one, so tasks may share all samples, some
or none.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stg_ray.seeds import Stream, generator
from stg_ray.shown import counted
from stg_ray.tasks.checks import (
    by_column,
    checked_features,
    checked_inputs,
    checked_kinds,
    checked_limit,
    checked_shapes,
    label_columns,
    tasks_of,
)
from stg_ray.tasks.columns import Marks
from stg_ray.tasks.containers import check_same_order
from stg_ray.tasks.datasets import dataset_arrays
from stg_ray.tasks.frames import as_table, divided, is_frame, trained_array
from stg_ray.tasks.label_matrix import meanings_of
from stg_ray.tasks.labels import observed
from stg_ray.tasks.notebook import html_table
from stg_ray.tasks.rare import Needed, Policy, without_rare_tasks
from stg_ray.tasks.settings import current_settings, with_settings
from stg_ray.tasks.sparse_rows import InputRows, arrays_of
from stg_ray.tasks.splitting import SPLITS, UNUSED, split_codes
from stg_ray.tasks.task import Task, TaskKind


@dataclass(frozen=True, repr=False)
class TaskSet:
    """Inputs, labels and splits of K tasks; made by `from_arrays` or `from_frame`, which check them.

    Attributes:
        inputs: (N, ...) array, whatever the trunk takes: float32 features (N, F), uint8 images (N, C, H, W); or sparse
            rows (N, F).
        labels: (N, K) array; integer with -1 for missing, or floating point with NaN for missing.
        tasks: the K tasks, in the order of the columns of `labels`.
        split: (N,) int8 array of indices into `SPLITS`; `UNUSED` (-1) for rows that a limit left out.
        dropped: names of constant tasks that were dropped.
        features: names of the columns of inputs (N, F), where they have names.

    Example:
        >>> import numpy as np
        >>> import stg_ray as sr
        >>> rng = np.random.default_rng(0)
        >>> task_set = sr.TaskSet.from_arrays(
        ...     rng.normal(size=(100, 5)), rng.integers(0, 2, (100, 3)), names=["red", "green", "blue"]
        ... )
        >>> task_set
        TaskSet(100 samples of (5,) float32, 3 tasks: 3 binary; 70 train, 10 val, 20 test)
        >>> task_set.names
        ('red', 'green', 'blue')
    """

    inputs: InputRows
    labels: np.ndarray
    tasks: tuple[Task, ...]
    split: np.ndarray
    dropped: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None

    @classmethod
    def from_arrays(  # noqa: PLR0913  what is known of each task, by keywords
        cls,
        inputs: Any,
        labels: Any,
        *,
        names: Sequence[str] | None = None,
        kinds: Sequence[TaskKind | None] | Mapping[str, TaskKind] | None = None,
        missing: Sequence[Any] | Mapping[str, Marks] | None = None,
        groups: Sequence[str | None] | Mapping[str, str] | None = None,
        class_weights: Sequence[Sequence[float] | None] | None = None,
        split: Sequence[str] | np.ndarray | None = None,
        features: Sequence[str] | None = None,
        seed: int = 0,
    ) -> TaskSet:
        """Make a checked task set from arrays or data frames.

        Args:
            inputs: (N, ...) numeric array, or a data frame of numbers.
            labels: (N, K) array of numbers or texts; NaN, None or -1 where a label is missing. Or a data frame, or a
                mapping from names to columns, with a column of its own type for each task, as in `from_frame`.
            names: K distinct task names; the columns of a data frame, else `task_0`, ..., by default.
            kinds: K kinds, None where it is to be told from the labels, or kinds by name or pattern. By itself a column
                of two values is binary, one of few whole numbers or of texts multi-class, any other a regression: see
                the guide `your_data`.
            missing: values that mark missing labels: a list for all tasks, K lists (None: those that the guide names;
                an empty one: no value does), or lists by name or pattern, such as `{"y_*": [-999]}`.
            groups: K names of known groups, for comparison.
            class_weights: for each task None, or a positive weight of each of its classes in the loss.
            split: N entries of "train", "val" (or "valid", "validation"), "test"; made by `seed`, stratified for rare
                labels, if not given. One without "val" has its validation rows taken from the training rows.
            features: names of the F columns of inputs (N, F), by which data frames are predicted; those of a data frame
                by default.
            seed: decides the split.

        Raises:
            InputError: anything about the arrays that would make a run fail or lie.

        Example:
            >>> import numpy as np, pandas as pd
            >>> import stg_ray as sr
            >>> labels = pd.DataFrame({"bird": [True, False, None] * 10, "colour": [0, 1, 2] * 10})
            >>> task_set = sr.TaskSet.from_arrays(np.arange(60).reshape(30, 2), labels)
            >>> [(task.name, task.kind) for task in task_set.tasks]
            [('bird', 'binary'), ('colour', 'multiclass')]
            >>> task_set.labels[2]
            array([-1,  2], dtype=int8)
        """
        check_same_order(inputs=inputs, labels=labels, split=split)
        if is_frame(inputs):
            table = as_table(inputs)
            inputs, features = trained_array(table), table.column_names if features is None else features
        inputs = checked_inputs(inputs)
        named = checked_features(features, inputs.shape)
        columns, names = label_columns(labels, names)
        checked_shapes(inputs, columns.n_rows, columns.n_columns)
        told, marks = with_settings(names, by_column(kinds, names, "kinds"), by_column(missing, names, "missing"))
        checked_kinds(told)
        meanings = meanings_of(columns, names, told, marks, may_be_empty=current_settings().drops_empty)
        tasks = tasks_of(names, meanings, groups, class_weights)
        labels = columns.encoded(names, meanings, marks)
        codes = split_codes(split, labels, tasks, seed)
        return cls(inputs, labels, tasks, codes, features=named)._with_target_scales()

    @classmethod
    def from_frame(  # noqa: PLR0913  what is known of each task, by keywords
        cls,
        frame: Any,
        *,
        labels: str | Sequence[str],
        features: str | Sequence[str] | None = None,
        kinds: Mapping[str, TaskKind] | None = None,
        missing: Sequence[int | float | str] | Mapping[str, Marks] | None = None,
        groups: Mapping[str, str] | None = None,
        split: str | Sequence[str] | np.ndarray | None = None,
        seed: int = 0,
    ) -> TaskSet:
        """Make a checked task set from one data frame (pandas, polars, pyarrow).

        Args:
            frame: N rows. Columns of labels may be of numbers, booleans, texts or categories, with null (or NaN, or -1
                beside classes) where a label is missing; those of features are numbers without gaps.
            labels: the columns of labels, by name or by pattern such as `y_*`; their names become the tasks' names.
            features: the columns of inputs, likewise; all others, if not given.
            kinds: kinds of tasks, by column or pattern, where they are not to be told from the labels.
            missing: values that mark missing labels: for all tasks, or by column or pattern; see `from_arrays`.
            groups: known groups of tasks, by column or pattern, for comparison.
            split: a column, or N entries: see `from_arrays`.
            seed: decides the split, where none is given.

        Raises:
            InputError: a column that is not there, or is both input and label, and as for `from_arrays`.

        Example:
            >>> import numpy as np
            >>> import pandas as pd
            >>> import stg_ray as sr
            >>> rng = np.random.default_rng(0)
            >>> frame = pd.DataFrame(rng.normal(size=(50, 4)), columns=["age", "height", "y_sum", "y_up"])
            >>> frame["y_up"] = frame["y_up"] > 0
            >>> task_set = sr.TaskSet.from_frame(frame, labels="y_*")
            >>> task_set
            TaskSet(50 samples of (2,) float32, 2 tasks: 1 binary, 1 regression; 35 train, 5 val, 10 test)
            >>> task_set.names
            ('y_sum', 'y_up')
        """
        check_same_order(frame=frame, split=split)
        inputs, label_table, split = divided(as_table(frame), labels, features, split)
        return cls.from_arrays(inputs, label_table, kinds=kinds, missing=missing, groups=groups, split=split, seed=seed)

    @classmethod
    def from_dataset(cls, dataset: Any, **options: Any) -> TaskSet:
        """Make a checked task set from a `torch.utils.data.Dataset`, or a mapping from train, val and test to these.

        Args:
            dataset: items are pairs of an input and its labels: K numbers or texts, or these by the name of the task.
            options: further arguments of `from_arrays`, such as `names`.

        Raises:
            InputError: items that are no such pairs or differ in shape, and as for `from_arrays`.

        Example:
            >>> import stg_ray as sr
            >>> sr.TaskSet.from_dataset([(row, {"odd": row % 2, "high": row > 15}) for row in range(30)]).names
            ('odd', 'high')
        """
        inputs, labels, names, split = dataset_arrays(dataset)
        return cls.from_arrays(inputs, labels, **({"names": names, "split": split} | options))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the K tasks."""
        return tuple(task.name for task in self.tasks)

    @property
    def digest(self) -> str:
        """SHA-256 of inputs, labels, tasks and split, by which a run knows its task set again (see `data.stage`)."""
        digest = hashlib.sha256(json.dumps([task.to_dict() for task in self.tasks], sort_keys=True).encode())
        for array in (*arrays_of(self.inputs), self.labels, self.split):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def rows(self, split: str) -> np.ndarray:
        """Return the indices of the rows of a split (train, val or test), in their order."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def limited(self, n_train: int | None, seed: int) -> TaskSet:
        """Keep at most `n_train` training rows, from 1, drawn by `seed`; validation and test rows stay."""
        train = self.rows("train")
        if n_train is None or len(train) <= checked_limit(n_train):
            return self
        kept = generator(Stream.LIMIT, seed).choice(train, n_train, replace=False)
        split = np.where(self.split == 0, np.int8(UNUSED), self.split)
        split[kept] = 0
        return replace(self, split=split)._with_target_scales()

    def with_balanced_classes(self) -> TaskSet:
        """Give every class of a task the same part in its loss; tasks that have class weights keep them.

        The weights are n / (C n_c) of the training labels, as scikit-learn's "balanced".
        """
        train = self.rows("train")
        tasks = list(self.tasks)
        for t, task in enumerate(tasks):
            if task.kind == "regression" or task.class_weights is not None:
                continue
            column = self.labels[train, t]
            counts = np.bincount(column[observed(column)].astype(np.int64), minlength=task.n_classes)
            weights = counts.sum() / (task.n_classes * np.maximum(counts, 1))
            tasks[t] = replace(task, class_weights=tuple(np.where(counts > 0, weights, 1.0).tolist()))
        return replace(self, tasks=tuple(tasks))

    def without_constant_tasks(self, policy: Policy, needed: Needed = 1) -> TaskSet:
        """Refuse or drop tasks that have one value only in the training rows, or in the test rows.

        The former cannot be learned, the latter cannot be measured.

        Args:
            policy: refuse, drop, or unscored: tasks that can be learned are trained and not scored.
            needed: labels beside the most frequent one that a task needs, in both or by split; see
                `tasks.rare.without_rare_tasks`.

        Raises:
            InputError: there are such tasks and the policy is to refuse, or there is no other.
        """
        return without_rare_tasks(self, policy, needed)

    def with_new_split(self, seed: int) -> TaskSet:
        """Split all rows anew by seed, stratified for rare labels."""
        split = split_codes(None, self.labels, self.tasks, seed)
        return replace(self, split=split)._with_target_scales()

    def _with_target_scales(self) -> TaskSet:
        train = self.rows("train")
        tasks = list(self.tasks)
        for t, task in enumerate(tasks):
            if task.kind == "regression":
                values = self.labels[train, t].astype(np.float64)
                values = values[~np.isnan(values)]
                if len(values) == 0:
                    continue  # it is refused or dropped by name
                tasks[t] = replace(task, center=float(values.mean()), scale=float(values.std()))
        return replace(self, tasks=tuple(tasks))

    def __repr__(self) -> str:
        inputs = f"{len(self.inputs):,} samples of {self.inputs.shape[1:]} {self.inputs.dtype}"
        return f"TaskSet({inputs}, {counted(len(self.tasks), 'task')}: {self.kinds_text}; {self.rows_text})"

    def _repr_html_(self) -> str:
        return html_table(self)

    @property
    def kinds_text(self) -> str:
        """How many tasks there are of each kind, in words."""
        return ", ".join(f"{count:,} {kind}" for kind, count in sorted(Counter(t.kind for t in self.tasks).items()))

    @property
    def rows_text(self) -> str:
        """How many rows each split has, in words."""
        return ", ".join(f"{len(self.rows(split)):,} {split}" for split in SPLITS)
