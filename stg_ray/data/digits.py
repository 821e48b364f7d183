"""scikit-learn's handwritten digits as 15 tasks, after the 15-task experiment of STG-MTL (Sherif et al.)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stg_ray.tasks import TaskSet


def digits(root: Path, seed: int) -> TaskSet:
    """1,797 real images of 8x8 as 15 binary tasks.

    The ten digits one against the rest; odd; at least five; has a closed loop (0, 6, 8, 9); the same said the other way
    round; and random labels, which no grouping should put among meaningful tasks. `root` is not needed: the images
    come with scikit-learn.
    """
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
