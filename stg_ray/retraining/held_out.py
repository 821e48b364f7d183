"""What networks predict for validation rows that had no say in which of their epochs was kept.

A network is kept as it was after the epoch that is best on the validation rows. Its score on these rows then is too
good: the best of many epochs is best by luck, too, and by more the fewer tasks it has, so that a plan of many small
networks would seem better than it is. So each half of the validation rows is predicted as the network was after the
epoch that the other half finds best (cross-fitting; Stone, J. R. Stat. Soc. B 1974, Cross-validatory choice and
assessment of statistical predictions). All networks share the halves, so that predictions of several can be added.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.models import OutputLayout
from stg_ray.tasks import Task

FILE = "validation.npz"
"""File of a network's folder."""


@dataclass(frozen=True)
class HeldOut:
    """A network's outputs on the validation rows of its tasks, those of each half from the epoch of the other's choice.

    Attributes:
        rows: (n,) positions of the rows among the validation rows of the run.
        outputs: (n, O) logits, and standardised values of regression tasks.
    """

    rows: np.ndarray
    outputs: np.ndarray

    def write(self, run: Storage, folder: str, file: str = FILE) -> None:
        """Write them into the folder of the network."""
        buffer = io.BytesIO()
        np.savez(buffer, rows=self.rows, outputs=self.outputs)
        run.write_bytes(f"{folder}/{file}", buffer.getvalue())

    @classmethod
    def read(cls, run: Storage, folder: str, file: str = FILE) -> HeldOut:
        """Read what `write` has written."""
        with np.load(io.BytesIO(run.read_bytes(f"{folder}/{file}"))) as arrays:
            return cls(arrays["rows"], arrays["outputs"])

    def of_all_rows(self, n_rows: int) -> np.ndarray:
        """Return outputs (n_rows, O) of all validation rows of the run, 0 where the network's tasks have no labels."""
        outputs = np.zeros((n_rows, self.outputs.shape[1]), dtype=self.outputs.dtype)
        outputs[self.rows] = self.outputs
        return outputs


def halves(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the rows (n,), given by their positions in a split, belong to each half.

    The order of rows in a split is random, so every other one makes random halves, the same for all networks.
    """
    return rows % 2 == 0, rows % 2 == 1


class Choices:
    """A training's outputs on its validation rows, those of each half from the epoch that the other half finds best.

    Args:
        rows: (n,) positions of the validation rows in their split.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.values = [-math.inf, -math.inf]
        """The best score so far on each half."""
        self.outputs: torch.Tensor | None = None
        """(n, O) as chosen so far."""

    def keep_if_best(self, outputs: torch.Tensor, scores: Sequence[float]) -> None:
        """Take over an epoch's outputs for the rows of each half if the other half's score is the best so far.

        Args:
            outputs: (n, O) of the network as it is after the epoch.
            scores: of the epoch on each half; -inf where no task has one: then the last epoch is taken.
        """
        self.outputs = torch.zeros_like(outputs) if self.outputs is None else self.outputs
        for number, (score, others) in enumerate(zip(scores, reversed(halves(self.rows)), strict=True)):
            if score > self.values[number] or score == -math.inf:
                self.values[number] = score
                self.outputs[torch.from_numpy(others)] = outputs[torch.from_numpy(others)]

    @property
    def held_out(self) -> HeldOut:
        """The outputs that were chosen."""
        assert self.outputs is not None, "at least one epoch was scored"
        return HeldOut(self.rows, self.outputs.numpy())

    def state_dict(self) -> dict[str, Any]:
        """Return what was chosen so far, from which a later process can go on."""
        return {"values": self.values, "outputs": self.outputs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.values, self.outputs = list(state["values"]), state["outputs"]


def together(
    tasks: Sequence[Task], weights: np.ndarray, networks: Iterable[tuple[Sequence[Task], HeldOut]], n_rows: int
) -> torch.Tensor:
    """Add up the outputs of several networks, as an ensemble predicts.

    Args:
        tasks: all K tasks.
        weights: (K, G) of each network in the prediction of each task.
        networks: the tasks of each of the G networks, in the order of its outputs, and these.
        n_rows: number of validation rows of the run.

    Returns:
        (n_rows, O) outputs of all tasks; those of rows without a label of a task mean nothing.
    """
    layout, number = OutputLayout(tasks), {task.name: t for t, task in enumerate(tasks)}
    total = np.zeros((n_rows, layout.n_outputs), dtype=np.float32)
    for group, (own, held_out) in enumerate(networks):
        outputs = held_out.of_all_rows(n_rows)
        for task, columns in zip(own, OutputLayout(own).columns, strict=True):
            t = number[task.name]
            total[:, layout.columns[t]] += outputs[:, columns] * np.float32(weights[t, group])
    return torch.from_numpy(total)
