"""A K x K matrix between tasks, its names and what it means: the artifact that affinities leave and groups start from.

As a file: a Parquet table with the key column `__task__` and one column per task, and the JSON metadata key `stg_ray`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from stg_ray.errors import InputError

Kind = Literal["affinity", "distance"]

KEY_COLUMN = "__task__"


@dataclass(frozen=True)
class TaskMatrix:
    """Values (K, K) between `tasks`; `kind` says whether large means alike (affinity) or far (distance).

    A pair of tasks without common samples is NaN. `errors` are the values' standard errors, where they are known; a
    file holds either.
    """

    tasks: tuple[str, ...]
    values: np.ndarray
    kind: Kind
    parameters: dict[str, Any] = field(default_factory=dict)
    samples: int | None = None
    errors: np.ndarray | None = None

    def to_table(self) -> pa.Table:
        columns = {KEY_COLUMN: pa.array(self.tasks)}
        columns |= {task: pa.array(self.values[:, t]) for t, task in enumerate(self.tasks)}
        about = {"kind": self.kind, "parameters": self.parameters, "samples": self.samples}
        return pa.table(columns).replace_schema_metadata({"stg_ray": json.dumps(about)})

    @classmethod
    def from_table(cls, table: pa.Table) -> TaskMatrix:
        """The matrix of such a table.

        Raises:
            InputError: it is not square or has no `stg_ray` metadata.
        """
        metadata = (table.schema.metadata or {}).get(b"stg_ray")
        if metadata is None or table.column_names[:1] != [KEY_COLUMN]:
            raise InputError(f"expected a table with the key column {KEY_COLUMN} and the metadata key stg_ray")
        tasks = tuple(table.column(KEY_COLUMN).to_pylist())
        if tuple(table.column_names[1:]) != tasks:
            raise InputError("the rows and columns of the table name different tasks")
        values = np.stack([table.column(task).to_numpy() for task in tasks], axis=1).astype(np.float64)
        return cls(tasks, values, **json.loads(metadata))
