"""A K x K matrix between tasks with their names: the artifact of the affinity stage, from which groups are made.

As a file it is a Parquet table with the key column `__task__`, a column per task, and the JSON metadata key `stg_ray`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from stg_ray.artifacts.notebook import SHOWN_TASKS, html_table
from stg_ray.errors import InputError, unknown

Kind = Literal["affinity", "distance"]
"""Whether large values mean alike (affinity) or far apart (distance)."""

KEY_COLUMN = "__task__"


@dataclass(frozen=True)
class TaskMatrix:
    """A K x K matrix of how alike, or how far apart, tasks are.

    Attributes:
        tasks: names of the K tasks, those of rows and columns.
        values: (K, K); NaN for a pair of tasks without common samples. Row a, column b may differ from row b, column a.
        kind: affinity (large means alike) or distance (large means far).
        parameters: how the values were computed.
        samples: how many samples they were computed from, where that is known.
        errors: (K, K) standard errors of the values, where they are known. A file holds values or errors: those of
            affinity/NAME.parquet are in affinity/NAME.stderr.parquet.

    Example:
        >>> import numpy as np
        >>> values = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 4.5], [4.0, 4.5, 0.0]])
        >>> matrix = TaskMatrix(("cat", "dog", "car"), values, "distance", samples=500)
        >>> matrix
        TaskMatrix(distance of 3 tasks, 500 samples)
        >>> float(TaskMatrix.from_table(matrix.to_table()).values[0, 2])
        4.0

    Raises:
        InputError: the kind is neither of both, values or errors are not (K, K), or the names are not K different ones.
    """

    tasks: tuple[str, ...]
    values: np.ndarray
    kind: Kind
    parameters: dict[str, Any] = field(default_factory=dict)
    samples: int | None = None
    errors: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.asarray(self.values))  # of a frame, a tensor or a list of rows, too
        shape = self.values.shape
        if self.kind not in get_args(Kind):
            raise InputError(unknown(self.kind, get_args(Kind), "kind of matrix"))
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InputError(f"the matrix has the shape {shape}: expected a square one, with a row for each task")
        if len(self.tasks) != len(self.values):
            raise InputError(f"{len(self.tasks)} names are given for {len(self.values)} tasks: expected one for each")
        if self.errors is not None and np.shape(self.errors) != shape:
            raise InputError(f"the errors have the shape {np.shape(self.errors)}: expected {shape}, as the values have")
        check_distinct(self.tasks, "the matrix")

    def to_table(self) -> pa.Table:
        """Return the table that the matrix is written as; `errors` are left out."""
        columns = {KEY_COLUMN: pa.array(self.tasks)}
        columns |= {task: pa.array(self.values[:, t]) for t, task in enumerate(self.tasks)}
        about = {"kind": self.kind, "parameters": self.parameters, "samples": self.samples}
        return pa.table(columns).replace_schema_metadata({"stg_ray": json.dumps(about)})

    @classmethod
    def from_table(cls, table: pa.Table) -> TaskMatrix:
        """Read the matrix from its table.

        Raises:
            InputError: the table is not square or has no `stg_ray` metadata.
        """
        metadata = (table.schema.metadata or {}).get(b"stg_ray")
        if metadata is None or table.column_names[:1] != [KEY_COLUMN]:
            raise InputError(f"expected a table with the key column {KEY_COLUMN} and the metadata key stg_ray")
        tasks = tuple(table.column(KEY_COLUMN).to_pylist())
        if tuple(table.column_names[1:]) != tasks:
            raise InputError("the rows and columns of the table name different tasks")
        values = np.stack([table.column(task).to_numpy() for task in tasks], axis=1).astype(np.float64)
        return cls(tasks, values, **json.loads(metadata))

    def __repr__(self) -> str:
        return f"TaskMatrix({self._title()})"

    def _repr_html_(self) -> str:
        """Return a table of the first tasks' values for notebooks."""
        shown = self.tasks[:SHOWN_TASKS]
        more = len(self.tasks) - len(shown)
        rows = [
            [task, *("" if np.isnan(value) else f"{value:.4g}" for value in row)]
            for task, row in zip(shown, self.values[: len(shown), : len(shown)], strict=True)
        ]
        if more:
            rows.append([f"... and {more} more"])
        return html_table(self._title(), ["", *shown], rows)

    def _title(self) -> str:
        samples = "" if self.samples is None else f", {self.samples:,} samples"
        return f"{self.kind} of {len(self.tasks)} tasks{samples}"


def check_distinct(names: Sequence[str], title: str) -> None:
    """Check the names of tasks.

    Args:
        names: of the tasks.
        title: of what names them, for errors.

    Raises:
        InputError: two are the same.
    """
    if len(set(names)) != len(names):
        twice = next(name for t, name in enumerate(names) if name in names[:t])
        raise InputError(f"{title} names the task {twice!r} twice")
