"""A small table of features and labels, written as Parquet and read as a task set."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.tasks import TaskSet

N = 60
ROWS = np.arange(N)
X = {"x_a": np.linspace(-1, 1, N), "x_b": ROWS.astype(float)}
Y = {"y_1": (ROWS % 2).astype(np.int64), "y_2": (ROWS // 2 % 2).astype(np.int64)}


def load(root: Path, source: str = "parquet", **columns: Any) -> TaskSet:
    """Read the task set of files below `root`; `columns` are the keys of the source."""
    return load_task_set(load_config({"data": {source: columns, "root": str(root)}}).data, seed=0)


def png(pixels: np.ndarray) -> bytes:
    """An image file of pixels (H, W) or (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def written(folder: Path, columns: Any, name: str = "mine.parquet") -> Path:
    """Write columns, or a table, as a Parquet file below `folder`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path)
    return path


def assert_same_but_for_rounding(now: pa.Table, then: pa.Table) -> None:
    """The same columns; numbers as far as processors agree, on another of which one table may have been made."""
    assert now.schema.equals(then.schema)
    for name, a, b in zip(now.column_names, now.columns, then.columns, strict=True):
        if pa.types.is_floating(a.type):
            np.testing.assert_allclose(a.to_numpy(), b.to_numpy(), rtol=1e-6, err_msg=name)
        else:
            assert a.equals(b), name
