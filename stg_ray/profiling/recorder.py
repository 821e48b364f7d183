"""The shard of a profile's worker, and the data-map states that it records of its rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import Part, PartIndex, part_name
from stg_ray.data_maps.state import DataMapState


@dataclass(frozen=True)
class Shard:
    """The training parts of one worker.

    Attributes:
        numbers: of its parts: every world-th from its rank on.
        rows_by_rank: rows of every worker, from which all of them derive the same steps.
    """

    numbers: list[int]
    rows_by_rank: list[int]

    @classmethod
    def of(cls, index: PartIndex, rank: int, world: int) -> Shard:
        """Return the shard of a rank among `world` workers."""
        rows = index.rows["train"]
        return cls(list(range(rank, len(rows), world)), [sum(rows[r::world]) for r in range(world)])


class Recorder:
    """Data-map states of a worker's rows: those of the epochs before, and the confidences of the epoch in flight.

    Attributes:
        state: of all rows (n, K) up to the last finished epoch.
        current: (n, K) confidences of the epoch in flight, NaN where a label is missing.
    """

    def __init__(self, index: PartIndex, shard: Shard, data: Part) -> None:
        self.numbers = shard.numbers
        self.samples = data.samples
        bounds = np.cumsum([0] + [index.rows["train"][number] for number in shard.numbers])
        self.rows = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        self.state = DataMapState.empty(len(data), len(index.tasks))
        self.current = np.full((len(data), len(index.tasks)), np.nan, dtype=np.float32)
        self.visits = np.zeros(len(data), np.int32)
        self.on_their_way: tuple[np.ndarray, torch.Tensor, torch.cuda.Event] | None = None

    def record(self, rows: np.ndarray, confidences: torch.Tensor) -> None:
        """Take the confidences (b, K) of a batch; a sample's visits are counted, not assumed.

        Those on a GPU are copied from it while the batch's backward pass runs, and looked at with the next batch.
        """
        self.visits[rows] += 1
        if not confidences.is_cuda:
            self.current[rows] = confidences.numpy()
            return
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        on_cpu = confidences.to("cpu", non_blocking=True)
        copied.record(torch.cuda.current_stream(confidences.device))
        self._arrive()
        self.on_their_way = rows, on_cpu, copied

    def _arrive(self) -> None:
        """Wait for the confidences that a GPU is about to copy."""
        if self.on_their_way is not None:
            rows, confidences, copied = self.on_their_way
            copied.synchronize()
            self.current[rows] = confidences.numpy()
            self.on_their_way = None

    def confidence_sums(self) -> torch.Tensor:
        """Return the (K,) float64 sums of the confidences of the epoch in flight over this worker's labels."""
        self._arrive()
        return torch.from_numpy(np.nan_to_num(self.current).sum(axis=0, dtype=np.float64))

    def finish_epoch(self) -> None:
        """Merge the epoch in flight into the states, and begin another."""
        self._arrive()
        for rows in self.rows:  # a part at a time: the merge works in float64
            merged = self.state[rows].merge(DataMapState.of_visit(self.current[rows], self.visits[rows]))
            self.state.count[rows], self.state.mean[rows], self.state.m2[rows] = merged.count, merged.mean, merged.m2
        self.visits[:] = 0

    def save(self, storage: Storage, folder: str = "") -> None:
        """Write the states, a file for each part."""
        for number, rows in zip(self.numbers, self.rows, strict=True):
            batch = self.state[rows].to_batch(self.samples[rows])
            storage.write_arrow(f"{folder}{part_name('train', number)}.arrow", batch)

    def load(self, storage: Storage) -> None:
        """Read the states that `save` wrote, whichever workers wrote them."""
        states = [
            DataMapState.from_batch(storage.read_arrow(f"{part_name('train', number)}.arrow"))
            for number in self.numbers
        ]
        self.state = DataMapState(
            *(np.concatenate([getattr(state, key) for state in states]) for key in ("count", "mean", "m2"))
        )
