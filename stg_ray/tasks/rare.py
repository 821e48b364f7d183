"""Tasks with too few labels in some split: they cannot be learned, or cannot be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from stg_ray.errors import InputError, unknown
from stg_ray.tasks.labels import observed, ranges_of
from stg_ray.tasks.splitting import SPLITS

if TYPE_CHECKING:
    from stg_ray.tasks.task import Task
    from stg_ray.tasks.task_set import TaskSet

Policy = Literal["refuse", "drop", "unscored"]
Needed = int | Mapping[Literal["train", "val", "test"], int]
"""Labels other than the most frequent one that a task needs in the training and test rows, or in each split by name."""

SHOWN_TASKS = 5
"""Tasks that a message names."""
BLOCK_COLUMNS = 64


def without_rare_tasks(task_set: TaskSet, policy: Policy, needed: Needed = 1) -> TaskSet:
    """Refuse or drop tasks with too few labels in a split, or train them without scoring them.

    Args:
        task_set: K tasks.
        policy: refuse; drop; or unscored: those that vary in the training rows are trained, and others dropped.
        needed: labels of a task other than its most frequent one (of a binary task: of the rarer class) that it needs
            in the training and in the test rows, or in the splits that are named. One, so that there are two values.

    Raises:
        InputError: there is no such policy; there are such tasks and it is to refuse, or no other is left.
    """
    if policy not in get_args(Policy):
        raise InputError(unknown(policy, get_args(Policy), "policy for constant tasks"))
    of_splits = {"train": needed, "test": needed} if isinstance(needed, int) else needed.items()
    by_split: dict[str, int] = {"train": 1, "test": 1} | dict(of_splits)
    rare = _rare_tasks(task_set, by_split)
    unlearnable = set(_rare_in(task_set, "train", 1)) if policy == "unscored" else set()
    if not rare:
        return task_set
    n_tasks = len(task_set.tasks)
    if policy == "refuse":
        constant = max(by_split.values()) == 1
        expected = "two values or more" if constant else "more labels, data.min_positives"
        which = "constant" if constant else "constant or rare"
        raise InputError(
            f"{which} tasks, {len(rare)} of {n_tasks}: {_first(list(rare.values()), '; ')} (expected {expected}; "
            f"remove them{_ways_out(task_set, rare, by_split)})"
        )
    dropped = sorted(rare if policy == "drop" else unlearnable)
    if len(dropped) == n_tasks:
        raise InputError(f"all {n_tasks} tasks are constant: {'; '.join(list(rare.values())[:3])}")
    tasks = [replace(task, is_scored=task.is_scored and t not in rare) for t, task in enumerate(task_set.tasks)]
    kept = [t for t in range(n_tasks) if t not in dropped]
    if not any(tasks[t].is_scored for t in kept):
        raise InputError(f"no task of {n_tasks} can be scored: {'; '.join(list(rare.values())[:3])}")
    return replace(
        task_set,
        labels=np.ascontiguousarray(task_set.labels[:, kept]) if dropped else task_set.labels,
        tasks=tuple(tasks[t] for t in kept),
        dropped=(*task_set.dropped, *(tasks[t].name for t in dropped)),
    )


def _ways_out(task_set: TaskSet, rare: Mapping[int, str], needed: Mapping[str, int]) -> str:
    """Return the settings that help, beside removing the tasks, each with what it does for them."""
    ways = []
    if len(rare) < len(task_set.tasks):
        ways.append("data.constant_tasks=drop")
        learned = len(rare) - len(_rare_in(task_set, "train", 1).keys() & rare.keys())
        if learned:
            of_them = "them" if learned == len(rare) else f"the {learned} that vary in the train rows"
            ways.append(f"data.constant_tasks=unscored to train {of_them} all the same")
    helped = len(rare) - len(_rare_tasks(task_set.with_new_split(0), needed).keys() & rare.keys())
    if helped:
        for_them = "" if helped == len(rare) else f", for the {helped} with enough labels in all rows"
        ways.append(f"data.split=stratified where a split was given{for_them}")
    return "".join(f", or set {way}" for way in ways)


def first_names(names: Sequence[str], shown: int = SHOWN_TASKS) -> str:
    """Return the first few names, and how many others there are."""
    return _first(names, ", ", shown)


def _first(texts: Sequence[str], separator: str, shown: int = SHOWN_TASKS) -> str:
    more = f"{separator}and {len(texts) - shown:,} more" if len(texts) > shown else ""
    return separator.join(texts[:shown]) + more


def _rare_tasks(task_set: TaskSet, needed: Mapping[str, int]) -> dict[int, str]:
    """Return the tasks with too few labels in some split, and why, by number."""
    rare: dict[int, str] = {}
    for split in SPLITS:
        least = needed.get(split, 0)
        if least > 0:
            rare = _rare_in(task_set, split, least) | rare
    return dict(sorted(rare.items()))


def _rare_in(task_set: TaskSet, split: str, least: int) -> dict[int, str]:
    """Return the tasks with fewer labels beside the most frequent one in a split, and why, by number."""
    rows = task_set.rows(split)
    ranges = ranges_of(task_set.labels, rows)
    rare: dict[int, str] = {}
    for t, task in enumerate(task_set.tasks):
        column = ranges.of(t)
        if not column.low < column.high:
            only = f"only the label {shown_label(task, column.low)}" if column.count else "no label"
            blank = ", and none in others: if no label means no, write it" if 0 < column.count < len(rows) else ""
            rare[t] = f"{task.name!r} has {only} in the {split} rows{blank}"
    if least > 1:
        for t, count in enumerate(minorities(task_set.labels, task_set.tasks, rows)):
            if count < least and t not in rare:
                what = "labels" if task_set.tasks[t].kind == "regression" else "rarer labels"
                rare[t] = f"{task_set.tasks[t].name!r} has {count} {what} in the {split} rows, fewer than {least}"
    return dict(sorted(rare.items()))


def minorities(labels: np.ndarray, tasks: Sequence[Task], rows: np.ndarray) -> list[int]:
    """Count the labels of each task in some rows, without those of its most frequent class; of a regression all."""
    counts: list[int] = []
    for start in range(0, len(tasks), BLOCK_COLUMNS):
        block = np.ascontiguousarray(labels[rows, start : start + BLOCK_COLUMNS].T)
        for task, column in zip(tasks[start : start + BLOCK_COLUMNS], block, strict=True):
            present = column[observed(column)]
            most = 0 if task.kind == "regression" else np.bincount(present.astype(np.int64), minlength=1).max()
            counts.append(len(present) - int(most))
    return counts


def shown_label(task: Task, label: float) -> str:
    """Return a label as the data has it."""
    value = label if task.classes is None else task.classes[int(label)]
    return value if isinstance(value, str) else f"{value:g}"
