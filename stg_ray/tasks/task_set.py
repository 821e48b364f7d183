"""What is learned: `Task` and `TaskSet`.

Labels of all tasks stand in one matrix of shape (samples, tasks), in the smallest type that holds them. A missing
label is `MISSING` (-1) in an integer matrix and NaN in a floating-point one, so tasks may share all samples, some
or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from stg_ray.errors import InputError
from stg_ray.seeds import Stream, generator
from stg_ray.tasks.labels import MISSING, Ranges, observed, ranges_of
from stg_ray.tasks.splitting import stratified_split

TaskKind = Literal["binary", "multiclass", "regression"]

SPLITS = ("train", "val", "test")

UNUSED = -1
"""The split of a row that is not used."""

MIN_ROWS = 20
"""Fewer rows cannot be split into the three."""


@dataclass(frozen=True)
class Task:
    """One task: its name, what kind of label it has and, where known, the group it belongs to.

    `class_weights` multiply the loss of each class's samples; None is 1 for all. `center` and `scale` standardise a
    regression task's targets (mean and standard deviation of its training labels); they are 0 and 1 for classification.
    """

    name: str
    kind: TaskKind = "binary"
    n_classes: int = 2
    group: str | None = None
    center: float = 0.0
    scale: float = 1.0
    class_weights: tuple[float, ...] | None = None

    @property
    def n_outputs(self) -> int:
        """Columns of the head matrix that belong to this task."""
        return self.n_classes if self.kind == "multiclass" else 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        weights = values.get("class_weights")
        return cls(**{**values, "class_weights": None if weights is None else tuple(weights)})


@dataclass(frozen=True)
class TaskSet:
    """Inputs, labels and splits of K tasks.

    Attributes:
        inputs: (N, ...) array, whatever the trunk takes: float features (N, F), uint8 images (N, C, H, W).
        labels: (N, K) array; integer with -1 for missing, or floating point with NaN for missing.
        tasks: the K tasks, in the order of the columns of `labels`.
        split: (N,) int8 array of indices into `SPLITS`; `UNUSED` (-1) for rows that a limit left out.
        dropped: names of constant tasks that were dropped.
    """

    inputs: np.ndarray
    labels: np.ndarray
    tasks: tuple[Task, ...]
    split: np.ndarray
    dropped: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        inputs: np.ndarray,
        labels: np.ndarray,
        *,
        names: Sequence[str] | None = None,
        kinds: Sequence[TaskKind] | None = None,
        groups: Sequence[str | None] | None = None,
        class_weights: Sequence[Sequence[float] | None] | None = None,
        split: Sequence[str] | np.ndarray | None = None,
        seed: int = 0,
    ) -> TaskSet:
        """A checked task set from arrays.

        Args:
            inputs: (N, ...) numeric array.
            labels: (N, K) array; -1 (integers) or NaN (floats) where a label is missing.
            names: K distinct task names; `task_0`, ... by default.
            kinds: K kinds; by default told from the labels: integers 0/1 are binary, integers from 0 up are
                multi-class, other numbers are regression.
            groups: K names of known groups, for comparison.
            class_weights: for each task None, or a positive weight of each of its classes in the loss.
            split: N entries of "train", "val" (or "valid", "validation"), "test"; made by `seed`, stratified for rare
                labels, if not given. One without "val" has its validation rows taken from the training rows.
            seed: decides the split.

        Raises:
            InputError: anything about the arrays that would make a run fail or lie.
        """
        inputs, labels = _checked_arrays(inputs, labels)
        n_tasks = labels.shape[1]
        task_names = _checked_names(names, n_tasks)
        for what, given in (("kinds", kinds), ("groups", groups), ("class_weights", class_weights)):
            if given is not None and len(given) != n_tasks:
                raise InputError(f"there are {len(given)} {what} for {n_tasks} tasks")
        strange = sorted(set(kinds or ()) - set(get_args(TaskKind)))
        if strange:
            raise InputError(f"unknown kind of task {strange[0]!r}: expected {', '.join(get_args(TaskKind))}")
        ranges = ranges_of(labels)
        tasks = tuple(
            _task_of(
                name,
                labels[:, t],
                ranges.of(t),
                kinds[t] if kinds else None,
                (groups[t] if groups else None) or None,
                class_weights[t] if class_weights else None,
            )
            for t, name in enumerate(task_names)
        )
        labels = _compact(labels, tasks)
        codes = _split_codes(split, labels, tasks, seed)
        return cls(inputs, labels, tasks, codes)._with_target_scales()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    def rows(self, split: str) -> np.ndarray:
        """Indices of the rows of a split, in their order."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def limited(self, n_train: int | None, seed: int) -> TaskSet:
        """The task set with at most `n_train` training rows, drawn by `seed`; validation and test rows stay."""
        train = self.rows("train")
        if n_train is None or len(train) <= n_train:
            return self
        kept = generator(Stream.LIMIT, seed).choice(train, n_train, replace=False)
        split = np.where(self.split == 0, np.int8(UNUSED), self.split)
        split[kept] = 0
        return replace(self, split=split)._with_target_scales()

    def with_balanced_classes(self) -> TaskSet:
        """The task set with class weights n / (C n_c) of its training labels (as scikit-learn's "balanced"), so that
        every class of a task has the same part in its loss. Tasks with weights of their own keep them."""
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

    def without_constant_tasks(self, policy: Literal["refuse", "drop"]) -> TaskSet:
        """Refuse or drop tasks that have one value only in training rows, which cannot be learned, or in test rows,
        which cannot be measured.

        Raises:
            InputError: there are such tasks and the policy is to refuse, or there is no other.
        """
        constant: dict[int, str] = {}
        for split in ("train", "test"):
            ranges = ranges_of(self.labels, self.rows(split))
            for t, task in enumerate(self.tasks):
                found = ranges.of(t)
                if not found.low < found.high and t not in constant:
                    only = f"only the label {found.low:g}" if found.count else "no label"
                    constant[t] = f"{task.name!r} has {only} in the {split} rows"
        constant = dict(sorted(constant.items()))
        if not constant:
            return self
        if policy == "refuse":
            raise InputError(
                f"constant tasks: {'; '.join(list(constant.values())[:5])}"
                + (f"; and {len(constant) - 5} more" if len(constant) > 5 else "")
                + " (expected two values or more; remove them, or set data.constant_tasks=drop)"
            )
        kept = [t for t in range(len(self.tasks)) if t not in constant]
        if not kept:
            raise InputError(f"all {len(self.tasks)} tasks are constant: {'; '.join(list(constant.values())[:3])}")
        return replace(
            self,
            labels=np.ascontiguousarray(self.labels[:, kept]),
            tasks=tuple(self.tasks[t] for t in kept),
            dropped=tuple(self.tasks[t].name for t in constant),
        )

    def _with_target_scales(self) -> TaskSet:
        train = self.rows("train")
        tasks = list(self.tasks)
        for t, task in enumerate(tasks):
            if task.kind == "regression":
                values = self.labels[train, t].astype(np.float64)
                values = values[~np.isnan(values)]
                tasks[t] = replace(task, center=float(values.mean()), scale=float(values.std()))
        return replace(self, tasks=tuple(tasks))


def _checked_arrays(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    for what, array in (("inputs", inputs), ("labels", labels)):
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{what} have the type {array.dtype}: expected numbers in one array of equal rows "
                "(ragged rows and text must be converted first)"
            )
    if labels.ndim != 2 or inputs.ndim < 2 or len(inputs) != len(labels):
        raise InputError(
            f"inputs have the shape {inputs.shape} and labels {labels.shape}: expected (N, ...) and (N, K), one row "
            "of labels for each input"
        )
    if labels.shape[1] == 0:
        raise InputError("labels have no column: expected one for each task")
    if inputs.dtype.kind == "f":
        bad = ~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1)
        if bad.any():
            raise InputError(
                f"inputs have NaN or infinite values in {int(bad.sum())} rows, the first is row "
                f"{int(bad.argmax())}: fill or remove them"
            )
        inputs = inputs.astype(np.float32, copy=False)
    elif inputs.dtype != np.uint8:
        inputs = inputs.astype(np.float32)
    return inputs, labels


def _checked_names(names: Sequence[str] | None, n_tasks: int) -> list[str]:
    if names is None:
        return [f"task_{t}" for t in range(n_tasks)]
    names = [str(name) for name in names]
    if len(names) != n_tasks:
        raise InputError(f"there are {len(names)} task names for {n_tasks} columns of labels")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"task names must be distinct, found more than once: {', '.join(map(repr, twice[:5]))}")
    if "__task__" in names or "" in names:
        raise InputError("a task may not be named '__task__' (the key column of the tables) nor have an empty name")
    return names


def _task_of(
    name: str,
    column: np.ndarray,
    found: Ranges,
    kind: TaskKind | None,
    group: str | None,
    class_weights: Sequence[float] | None,
) -> Task:
    if found.count == 0:
        raise InputError(f"task {name!r} has no label at all: remove it")
    if not np.isfinite([found.low, found.high]).all():
        raise InputError(f"task {name!r}: labels are infinite in row {int(np.isinf(column).argmax())}")
    if kind is None:
        # A floating-point column may hold classes only because NaN marks its missing labels.
        if found.whole and found.low >= 0 and found.high <= 1:
            kind = "binary"
        elif found.whole and found.low >= 0 and column.dtype.kind in "biu":
            kind = "multiclass"
        else:
            kind = "regression"
    if kind == "regression":
        if column.dtype.kind in "iu":
            raise InputError(f"task {name!r}: regression labels must be floating point (missing ones NaN)")
        if class_weights is not None:
            raise InputError(f"task {name!r} is a regression and has class weights: expected none")
        return Task(name, "regression", 1, group)
    if not found.whole or found.low < 0 or (kind == "binary" and found.high > 1):
        expected = "0 or 1" if kind == "binary" else "whole numbers from 0"
        values = column[observed(column)].astype(np.float64)
        strange = values[(values % 1 != 0) | (values < 0) | ((kind == "binary") & (values > 1))]
        raise InputError(
            f"task {name!r} is {kind} and has the label {strange[0]:g}: expected {expected}, -1 if missing"
        )
    n_classes = 2 if kind == "binary" else int(found.high) + 1
    if class_weights is not None:
        weights = np.asarray(class_weights, dtype=np.float64)
        if weights.shape != (n_classes,) or not (np.isfinite(weights) & (weights > 0)).all():
            raise InputError(
                f"task {name!r} has the class weights {weights.tolist()}: expected {n_classes} positive numbers"
            )
        return Task(name, kind, n_classes, group, class_weights=tuple(weights.tolist()))
    return Task(name, kind, n_classes, group)


def _compact(labels: np.ndarray, tasks: tuple[Task, ...]) -> np.ndarray:
    """Labels in the smallest type that holds them; NaN becomes -1 where all tasks are classification."""
    if any(task.kind == "regression" for task in tasks):
        if labels.dtype.kind != "f":
            labels = np.where(observed(labels), labels, np.nan)
        return np.ascontiguousarray(labels, dtype=np.float32)
    largest = max(task.n_classes for task in tasks) - 1
    dtype = next(t for t in (np.int8, np.int16, np.int32) if largest <= np.iinfo(t).max)
    if labels.dtype.kind == "f":
        labels = np.where(np.isnan(labels), MISSING, labels)
    return np.ascontiguousarray(labels, dtype=dtype)


def _split_codes(
    split: Sequence[str] | np.ndarray | None, labels: np.ndarray, tasks: tuple[Task, ...], seed: int
) -> np.ndarray:
    classification = [t for t, task in enumerate(tasks) if task.kind != "regression"]
    strata = labels if len(classification) == len(tasks) else labels[:, classification]
    if len(labels) < MIN_ROWS:
        raise InputError(f"there are {len(labels)} rows: expected at least {MIN_ROWS}, to train, validate and test on")
    if split is None:
        return stratified_split(strata, (0.7, 0.1, 0.2), seed)
    names = np.asarray(split).astype(str)
    names[np.isin(names, ("valid", "validation"))] = "val"
    if names.shape != (len(labels),):
        raise InputError(f"split has the shape {names.shape}: expected one entry for each of {len(labels)} rows")
    unknown = sorted(set(names) - set(SPLITS))
    if unknown:
        raise InputError(f"split has the unknown entry {str(unknown[0])!r}: expected {', '.join(SPLITS)}")
    codes = np.select([names == s for s in SPLITS], range(3)).astype(np.int8)
    for needed in ("train", "test"):
        if not (codes == SPLITS.index(needed)).any():
            raise InputError(f"split has no {needed!r} row: expected 'train' and 'test' rows, and 'val' if you like")
    if not (codes == 1).any():
        train = np.flatnonzero(codes == 0)
        codes[train] = stratified_split(strata, (0.9, 0.1, 0.0), seed, rows=train)
    return codes
