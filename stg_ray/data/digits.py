"""scikit-learn's handwritten digits as 15 tasks, after the 15-task experiment of STG-MTL (Sherif et al. 2023)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stg_ray.tasks import TaskSet


def digits(root: Path, seed: int) -> TaskSet:
    """Load 1,797 real images of 8x8 with 15 binary tasks.

    The ten digits, each against the rest; odd; at least five; closed loop (0, 6, 8, 9), and its negation; and random
    labels, which no grouping should put among meaningful tasks.

    Args:
        root: the data root, which every preset is called with; these images come with scikit-learn.
        seed: seed of the split.
    """
    del root
    from sklearn.datasets import load_digits

    bunch = load_digits()
    digit = bunch.target
    loop = np.isin(digit, (0, 6, 8, 9))
    columns = {f"digit {d}": digit == d for d in range(10)}
    columns |= {"odd": digit % 2 == 1, "at least five": digit >= 5, "closed loop": loop, "no closed loop": ~loop}
    columns["random labels"] = np.random.default_rng(61).integers(0, 2, len(digit)) == 1
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    return TaskSet.from_arrays(
        images, np.stack(list(columns.values()), axis=1).astype(np.int8), names=list(columns), seed=seed
    )
