"""A task: its name, its kind of label, and what its loss needs to know."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from stg_ray.errors import InputError, unknown

TaskKind = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class Task:
    """One task: its name, the kind of its labels and, where known, the group it belongs to.

    Attributes:
        name: distinct among the tasks of a task set.
        kind: binary (labels 0 and 1), multiclass (0, 1, ..., C - 1) or regression (any number).
        n_classes: C; 2 for binary tasks, 1 for regressions.
        group: name of the known group, for comparison with the groups that are found.
        center, scale: standardise a regression's targets (mean and standard deviation of its training labels); 0 and 1
            for classification.
        class_weights: multiply the loss of each class's samples; None is 1 for all.
        classes: the labels of class 0, 1, ..., C - 1 as the data has them, numbers or texts; None where they are these
            numbers.
        is_scored: whether its predictions are scored; not where its labels are too few for that.

    Raises:
        InputError: another kind.

    Example:
        >>> from stg_ray import Task
        >>> Task("colour", "multiclass", n_classes=5).n_outputs
        5
        >>> Task("is a bird").n_outputs
        1
    """

    name: str
    kind: TaskKind = "binary"
    n_classes: int = 2
    group: str | None = None
    center: float = 0.0
    scale: float = 1.0
    class_weights: tuple[float, ...] | None = None
    classes: tuple[int | float | str, ...] | None = None
    is_scored: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(TaskKind):
            raise InputError(unknown(self.kind, get_args(TaskKind), "kind of task"))

    @property
    def n_outputs(self) -> int:
        """Number of outputs of a network that belong to this task."""
        return self.n_classes if self.kind == "multiclass" else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes, for JSON; `classes` and `is_scored` where they say something."""
        values = asdict(self)
        if self.classes is None:
            del values["classes"]
        if self.is_scored:
            del values["is_scored"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """Make a task from the attributes that `to_dict` returns."""
        tuples = {key: tuple(values[key]) for key in ("class_weights", "classes") if values.get(key) is not None}
        return cls(**{**values, **tuples})

    def original(self, classes: np.ndarray) -> np.ndarray:
        """Return the numbers of classes (N,) as the labels that the data has for them."""
        return classes if self.classes is None else np.array(self.classes)[classes]
