"""Sample-wise loss-landscape distance of tasks (Thakur et al., arXiv 2412.04413), aligned on common samples.

d(a, b) = mean over samples labelled for both of |g_ia - g_ib|_1, the gradients taken at the profiled network, by
default scaled to unit L1 norm and for the last shared layer. No training is needed beyond the profile. At a random
initialisation tasks against the rest differ by their labels only, and this says little: use the sign there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinity.base import Partial, ratio_of_sums
from stg_ray.affinity.gradients import aligned_l1, rows_at_once
from stg_ray.affinity.start import starting_network
from stg_ray.config import AffinityConfig, Config
from stg_ray.data.parts import read_index, read_part
from stg_ray.models import TaskNetwork
from stg_ray.storage import Storage
from stg_ray.task_matrix import Kind, TaskMatrix
from stg_ray.tasks import observed


class LandscapeDistance:
    """Takes the first rows of each part: a random sample, since the rows were shuffled before they were cut."""

    kind: ClassVar[Kind] = "distance"
    units_are_parts: ClassVar[bool] = True
    about: ClassVar[str] = (
        "Distance of the tasks' per-sample gradients at one network: small where both pull the shared "
        "parameters the same way."
    )

    @classmethod
    def build(cls, run: Storage, config: Config) -> LandscapeDistance:
        return cls(run, config.affinity, starting_network(run, config))

    @classmethod
    def n_units(cls, run: Storage, config: Config) -> int:
        return read_index(run.sub("parts")).n_parts()

    def __init__(self, run: Storage, config: AffinityConfig, network: TaskNetwork) -> None:
        self.parts = run.sub("parts")
        self.config = config
        self.network = network.eval()
        self.rows_per_part = math.ceil(config.samples / read_index(self.parts).n_parts())

    def partial(self, number: int) -> Partial:
        part = read_part(self.parts, "train", number)
        inputs, labels = part.inputs[: self.rows_per_part], part.labels[: self.rows_per_part]
        n_tasks = labels.shape[1]
        total = np.zeros((n_tasks, n_tasks))
        step = rows_at_once(self.network)
        for start in range(0, len(inputs), step):
            rows = slice(start, start + step)
            distances = aligned_l1(
                self.network,
                torch.tensor(inputs[rows]),
                torch.tensor(labels[rows]),
                layers=self.config.layers,
                normalize=self.config.normalize,
            )
            present = torch.from_numpy(observed(labels[rows])).to(distances.dtype)
            masked = distances * (present[:, :, None] * present[:, None, :])
            total += masked.sum(dim=0, dtype=torch.float64).numpy()
        present_rows = observed(labels).astype(np.float64)
        return {"total": total, "count": present_rows.T @ present_rows, "samples": np.array(len(inputs))}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        distance, error, samples = ratio_of_sums(partials, "total", "count")
        return TaskMatrix(tuple(tasks), distance, cls.kind, samples=samples), error
