"""Test rows whose inputs were trained on are counted."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from stg_ray.data.parts import PartIndex, index_of
from stg_ray.data.repeats import repeated_share
from stg_ray.tasks import TaskSet

RNG = np.random.default_rng(0)
N = 400
SPLIT = np.array(["train"] * 200 + ["val"] * 100 + ["test"] * 100)
LABELS = RNG.integers(0, 2, (N, 2))


@pytest.mark.parametrize("kind", ["features", "images", "sparse"])
def test_repeated_rows_are_counted(kind: str) -> None:
    inputs = RNG.normal(size=(N, 5))
    if kind == "images":
        inputs = RNG.integers(0, 256, (N, 3, 8, 8)).astype(np.uint8)
    elif kind == "sparse":
        inputs = scipy.sparse.random_array((N, 2000), density=0.01, rng=RNG).tocsr()
    assert index_of(TaskSet.from_arrays(inputs, LABELS, split=SPLIT)).repeated_share is None
    rows = np.arange(N)
    rows[300:325] = RNG.choice(200, 25)
    rows[325:330] = 250, 251, 252, 253, 254  # of the validation rows
    index = index_of(TaskSet.from_arrays(inputs[rows], LABELS, split=SPLIT))
    assert index.repeated_share == 0.25
    assert PartIndex.from_dict(index.to_dict()) == index


def test_whole_numbers_in_few_columns_repeat_by_themselves() -> None:
    train, test = np.arange(200), np.arange(300, 400)
    few, many = (RNG.integers(0, 2, (N, n)).astype(np.float32) for n in (5, 30))
    assert repeated_share(few, train, test) is None
    many[300:310] = many[:10]
    assert repeated_share(many, train, test) == 0.1
