"""Task sets with a main task for `auxiliary`: planted ones, and tox21."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import stg_ray as sr

TWINS, OTHERS = ("twin 1", "twin 2"), tuple(f"other {i}" for i in range(1, 6))


def planted(seed: int, rows: int = 1500, labelled: float = 0.06) -> sr.TaskSet:
    """Return a main task with few training labels, two tasks that share its function, and five that do not.

    Every function is a product of two directions of the inputs, which a linear model does not see, and has noise.

    Args:
        seed: of the inputs, the functions and the noise.
        rows: in all splits together; 60 % are for training.
        labelled: share of the training rows that have a label of the main task.
    """
    rng = np.random.default_rng([8, seed])
    inputs = rng.normal(size=(rows, 20)).astype(np.float32)
    along = inputs @ np.linalg.qr(rng.normal(size=(20, 12)))[0]
    functions = along[:, ::2] * along[:, 1::2]
    scores = functions[:, [0, 0, 0, 1, 2, 3, 4, 5]] + 0.2 * rng.normal(size=(rows, 8))
    labels = (scores > 0).astype(np.float32)
    split = rng.choice(["train", "val", "test"], rows, p=[0.6, 0.2, 0.2])
    labels[(split == "train") & (rng.random(rows) >= labelled), 0] = np.nan
    return sr.TaskSet.from_arrays(inputs, labels, names=["main", *TWINS, *OTHERS], split=split, seed=seed)


def tox21(root: str) -> sr.TaskSet:
    """Return the twelve assays of tox21 on Morgan fingerprints, with their own splits.

    Args:
        root: folder that holds molecules/tox21.parquet.
    """
    table = pq.read_table(Path(root) / "molecules" / "tox21.parquet")
    tasks = json.loads((table.schema.metadata or {})[b"tasks"])
    packed = np.stack([np.frombuffer(row, np.uint8) for row in table["fp_morgan2_2048"].to_pylist()])
    inputs = np.unpackbits(packed, axis=1, bitorder="little").astype(np.float32)
    labels = np.stack([table[f"y_{task}"].to_numpy(zero_copy_only=False).astype(np.float32) for task in tasks], axis=1)
    return sr.TaskSet.from_arrays(inputs, labels, names=tasks, split=np.array(table["split"].to_pylist()))
