"""The kind of a task, told from the distinct values of its column: the one place for it.

The guide `your_data` states the rules. What may mean two things is refused with the question, and with the answers as
settings: a wrong kind would poison everything after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stg_ray.errors import InputError
from stg_ray.tasks import texts
from stg_ray.tasks.task import TaskKind

FEW = 20
"""So many distinct whole numbers are classes; more may be a quantity."""
ROWS_OF_A_CLASS = 5
"""Values that occur less often than this, on average, are no classes."""
MARKS_BELOW = (-1, -9, -99, -100, -999, -9999, -99999, -32768)
MARKS_ABOVE = (99, 255, 999, 9999, 32767, 65535, 99999)
"""Numbers that often mark what is missing. Only a lone -1 beside classes is taken for a mark without a question."""


@dataclass(frozen=True)
class Distinct:
    """The distinct values of a column.

    Attributes:
        values: (D,) in ascending order; of a column with fractions perhaps only the smallest and the largest.
        counts: (D,) rows of each, where it matters.
        n_rows: rows that have a value.
        gaps: whether other rows have none: null, None or NaN.
        is_real: whether the numbers are stored in floating point.
        is_category: whether the column's type says that these are classes.
        texts: the values as text; `values` are indices into it then.
    """

    values: np.ndarray
    counts: np.ndarray
    n_rows: int
    gaps: bool = False
    is_real: bool = False
    is_category: bool = False
    texts: tuple[str, ...] | None = None

    def has(self, *values: int) -> bool:
        """Whether these, in ascending order, are all of its values."""
        return self.texts is None and len(self.values) == len(values) and bool((self.values == values).all())


@dataclass(frozen=True)
class Meaning:
    """The meaning of a column of labels.

    Attributes:
        kind: of the task.
        classes: the values of its classes 0, 1, ..., C - 1, as they are in the column; None for a regression.
        missing: values that mark what is missing.
    """

    kind: TaskKind
    classes: tuple[int | float | str, ...] | None = None
    missing: tuple[float, ...] = ()

    @property
    def is_numbered(self) -> bool:
        """Whether there are classes and they are 0, 1, ..., C - 1 as they are (0 or 1 alone, of a binary task, too)."""
        classes = self.classes
        if classes is None:
            return False
        return classes == tuple(range(len(classes))) or (self.kind == "binary" and classes == (1,))

    @property
    def n_classes(self) -> int:
        """C; 2 for binary tasks, 1 for regressions."""
        return 2 if self.kind == "binary" else len(self.classes or (0,))


@dataclass(frozen=True)
class Habits:
    """Uses of -1 in the columns of a task set, which tell what it means in the others.

    Attributes:
        signs: whether a column has the values -1 and 1 only.
        zero_one: whether a column has the values 0 and 1 only.
        marks: whether -1 marks missing labels in a column: beside three classes or more from 0, or by a setting.
        quantities: whether a floating-point column holds many whole numbers, such as scores or counts.
    """

    signs: bool = False
    zero_one: bool = False
    marks: bool = False
    quantities: bool = False

    @classmethod
    def of(cls, every: Sequence[Distinct], marks: Sequence[Sequence[Any] | None]) -> Habits:
        """Return those of K columns, and of the marks of missing labels that settings give for some of them.

        What such a setting is about says nothing of -1 elsewhere.
        """
        columns = [column for column, own in zip(every, marks, strict=True) if own is None]
        return cls(
            signs=any(column.has(-1, 1) for column in columns),
            zero_one=any(column.has(0, 1) for column in columns),
            marks=any(-1 in own for own in marks if own is not None)
            or any(
                column.texts is None and len(column.values) > 3 and (column.values[:3] == (-1, 0, 1)).all()
                for column in columns
            ),
            quantities=any(
                column.is_real and len(column.values) > FEW and bool((column.values % 1 == 0).all()) for column in every
            ),
        )


def meaning_of(
    name: str, column: Distinct, kind: TaskKind | None, habits: Habits, *, marks_given: bool = False
) -> Meaning:
    """Tell what a column means.

    Args:
        name: of the task.
        column: its distinct values, without those that a setting calls missing.
        kind: the one that is given, if any.
        habits: of the columns of its set.
        marks_given: whether a setting says which values are missing.

    Raises:
        InputError: there is no value, they do not fit the kind that is given, or they may mean two things.
    """
    if column.n_rows == 0 or (not marks_given and kind != "regression" and column.has(-1)):
        raise InputError(
            f"task {name!r} has no label at all: remove it (of data that a configuration names, "
            "data.constant_tasks=drop does)"
        )
    if column.texts is not None:
        return _of_texts(name, column, kind, may_ask=not marks_given)
    values = column.values
    if not np.isfinite(values[[0, -1]].astype(np.float64)).all():
        raise InputError(f"task {name!r} has infinite labels: remove them, or make them missing")
    whole = bool((values % 1 == 0).all()) if column.is_real else True
    if kind == "regression" or not whole:
        if kind not in (None, "regression"):
            strange = values[values % 1 != 0][0]
            raise InputError(f"task {name!r} is {kind} and has the label {strange:g}: expected whole numbers")
        if not marks_given:
            _ask_about_extremes(name, column)
        return Meaning("regression")
    missing = () if marks_given else _marks(name, column, kind, habits)
    classes = values[~np.isin(values, missing)]
    if kind is None and len(classes) > FEW and not column.is_category:
        _check_quantity(name, column, classes, missing, asks=not marks_given)
        return Meaning("regression")
    if kind == "binary" and len(classes) > 2:
        raise InputError(f"task {name!r} is binary and has the labels {listed(classes)}: expected two values")
    if kind is None and column.is_real and len(classes) > 2 and habits.quantities:
        raise _kind_question(name, f"{len(classes)} distinct whole numbers, where columns beside it have many more")
    return Meaning(kind or ("binary" if len(classes) <= 2 else "multiclass"), tuple(map(int, classes)), missing)


def _marks(name: str, column: Distinct, kind: TaskKind | None, habits: Habits) -> tuple[float, ...]:
    """Return the values among whole numbers that mark what is missing without doubt: at most a lone -1.

    Raises:
        InputError: some may be marks and may be classes.
    """
    values = column.values
    low, others = values[0], values[1:]
    if column.has(-1, 1):
        if column.gaps or not (habits.zero_one or habits.marks):
            return ()  # the two classes of a classifier that tells signs
        answers = {"[]": "they are two classes", "[-1]": "-1 is missing"}
        raise _question(name, "the labels -1 and 1, where other tasks have 0 and 1", answers)
    if column.has(-1, 0) or column.has(-1, 0, 1):
        if kind is not None or (habits.zero_one and not habits.signs):
            return (-1.0,)
        answers = {"[-1]": "-1 is missing", "[0]": "0 is missing", "[]": "they are classes"}
        raise _question(name, f"the labels {listed(values)}", answers)
    if low == -1 and len(others) and others[0] >= 0:
        _ask_about_top(name, others)
        return (-1.0,)
    if low >= 0:
        _ask_about_top(name, values)
    elif len(values) <= FEW and values[-1] - low + 1 != len(values):
        marks = [int(value) for value in values if value in MARKS_BELOW] or [int(low)]
        if not (len(values) == 2 and -low == values[-1]):
            answers = {str(marks): "that is missing", "[]": f"they are {len(values)} classes"}
            raise _question(name, f"the labels {listed(values)}", answers)
    return ()


def _ask_about_top(name: str, values: np.ndarray) -> None:
    """Refuse classes of which the largest is a usual mark, far from the others: 0, 1 and 255."""
    top = int(values[-1])
    if top in MARKS_ABOVE and len(values) <= 2 * FEW and len(values) > 1:
        below = int(values[-2])
        if top > 2 * below + 1 and not (top == 255 and below == 0):
            answers = {f"[{top}]": f"{top} is missing", "[]": "it is a class"}
            raise _question(name, f"the labels {listed(values)}", answers)


def _check_quantity(name: str, column: Distinct, values: np.ndarray, missing: tuple[float, ...], *, asks: bool) -> None:
    """Refuse many whole numbers that may be the numbers of classes; others are a quantity: ages, counts, prices."""
    frequent = column.n_rows >= ROWS_OF_A_CLASS * len(values)
    in_a_row = values[0] in (0, 1) and values[-1] - values[0] + 1 == len(values)
    if frequent and (in_a_row or not column.is_real):
        found = f"{len(values)} distinct whole numbers from {values[0]:.0f} to {values[-1]:.0f}"
        raise _kind_question(name, found)
    if missing:
        found = f"the number -1 beside whole numbers from {values[0]:.0f} to {values[-1]:.0f}"
        raise _question(name, found, {"[-1]": "-1 is missing", "[]": "it is a value"})
    if asks:
        _ask_about_extremes(name, column)


def _ask_about_extremes(name: str, column: Distinct) -> None:
    """Refuse numbers of which the smallest or the largest is a usual mark, occurs often, and is far from the others."""
    values, counts = column.values.astype(np.float64), column.counts
    if len(values) < 3:
        return
    for mark, count, rest in ((values[0], counts[0], values[1:]), (values[-1], counts[-1], values[:-1])):
        usual = mark in (MARKS_BELOW if mark < rest[0] else MARKS_ABOVE)
        distance = max(rest[0] - mark, mark - rest[-1])
        apart = (mark < 0 <= rest[0]) or distance > 2 * (rest[-1] - rest[0])
        if usual and count > 1 and apart:
            found = f"the number {mark:g} in {int(count):,} rows, and others from {rest[0]:g} to {rest[-1]:g}"
            raise _question(name, found, {f"[{mark:g}]": f"{mark:g} is missing", "[]": "it is a value"})


def _of_texts(name: str, column: Distinct, kind: TaskKind | None, *, may_ask: bool) -> Meaning:
    """Tell what a column of text means: its distinct texts are classes."""
    assert column.texts is not None, "called for text"
    found = column.texts
    if kind == "regression":
        raise InputError(f"task {name!r} is a regression and has the label {found[0]!r}: expected numbers")
    unclear = texts.unclear(found)
    if unclear and may_ask:
        answers = {repr(unclear): "it is missing", "[]": "it is a class"}
        others = [text for text in found if text not in unclear] or ["nothing"]
        raise _question(name, f"the label {unclear[0]!r} beside {listed(others)}", answers)
    if kind is None:
        _ask_about_texts(name, column, found)
    if kind == "binary" and len(found) > 2:
        raise InputError(f"task {name!r} is binary and has the labels {listed(found)}: expected two values")
    return Meaning(kind or ("binary" if len(found) <= 2 else "multiclass"), texts.in_order(found))


def _ask_about_texts(name: str, column: Distinct, found: tuple[str, ...]) -> None:
    """Refuse texts that may be no classes, or fewer classes than there are texts."""
    setting = f"data.tasks: {{{name!r}: {{kind: multiclass}}}} (in Python kinds=)"
    if alike := texts.alike(found):
        raise InputError(
            f"task {name!r} has the labels {listed(alike)}, which differ in upper and lower case only: write them "
            f"alike, or, if they are different classes, set {setting}"
        )
    if column.is_category:
        return
    if separator := texts.separator(found):
        raise InputError(
            f"task {name!r} has the labels {listed(found, 3)}: does each row list labels, with {separator!r} between "
            f"them? Then set separator to {separator!r} where its file is named (in Python give a column of 0 and 1 "
            f"for each label); else, if these are {len(found)} classes, {setting}"
        )
    if len(found) > FEW and column.n_rows < ROWS_OF_A_CLASS * len(found):
        raise InputError(
            f"task {name!r} has {len(found):,} distinct texts in {column.n_rows:,} rows, such as {found[0]!r}: "
            f"expected classes (leave the column out, or set data.tasks: {{{name!r}: {{kind: multiclass}}}})"
        )


def _kind_question(name: str, found: str) -> InputError:
    """Return the refusal of whole numbers that may be classes and may be a quantity."""
    return InputError(
        f"task {name!r} has {found}: are they classes or a quantity? Set data.tasks: "
        f"{{{name!r}: {{kind: multiclass}}}} or {{kind: regression}} (in Python kinds=)"
    )


def _question(name: str, found: str, answers: dict[str, str]) -> InputError:
    """Return the refusal of what may mean two things, with the answers as settings."""
    *first, last = [f"{setting} if {meaning}" for setting, meaning in answers.items()]
    return InputError(
        f"task {name!r} has {found}: which are missing? Set data.tasks: {{{name!r}: {{missing: ...}}}} (in Python "
        f"missing={{{name!r}: ...}}) to {', '.join(first)} or {last}"
    )


def listed(values: Sequence[Any] | np.ndarray, shown: int = 5) -> str:
    """Return values as a short list: the first ones and how many others."""
    texts = [value if isinstance(value, str) else f"{value:g}" for value in values[:shown]]
    more = len(values) - shown
    if more > 0:
        return f"{', '.join(texts)} and {more:,} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]
