"""New tasks, each served by the group whose initialisation adapts best to some rows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.new_inputs import check_batch_size
from stg_ray.data.parts import PartIndex
from stg_ray.data.rows import MappedInputs
from stg_ray.errors import InputError
from stg_ray.meta.episodes import Episodes
from stg_ray.meta.initialisation import Initialisation, Tensors
from stg_ray.meta.learners import Learner
from stg_ray.meta.network import MetaNetwork, kind_of, learner_of, meta_network
from stg_ray.meta.routing import held_out_losses
from stg_ray.meta.units import center_and_scale
from stg_ray.models import load_weights
from stg_ray.tasks import MISSING, Task, TaskKind
from stg_ray.tasks.columns import Column, column_of
from stg_ray.tasks.containers import plain_array, without_views
from stg_ray.tasks.kinds import listed
from stg_ray.tasks.label_matrix import LARGEST
from stg_ray.tasks.precision import check_label_steps

Check = Callable[[np.ndarray | torch.Tensor], torch.Tensor | MappedInputs]
"""Returns inputs as the networks take them, or refuses them."""

BATCH_SIZE = 1024
"""Inputs that are predicted at once."""


@dataclass(frozen=True)
class Adapted:
    """A network that has adapted to a task.

    Attributes:
        group: number of the group whose initialisation it began from.
        losses: of every group, on rows of the task that its initialisation did not adapt to; the least is chosen. NaN
            where there was one group only, or a single row of a class.
        task: kind of the task; classes, or center and scale of its values.
        parameters: of the network, adapted.
    """

    group: int
    losses: tuple[float, ...]
    task: Task
    parameters: Tensors
    start: Initialisation
    check: Check

    def __repr__(self) -> str:
        return f"Adapted(to {self.task!r}, from group {self.group} of {len(self.losses)})"

    @torch.no_grad()
    def predict(self, inputs: np.ndarray | torch.Tensor, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Predict the task.

        Args:
            inputs: (N, ...) as the task set has them, not normalised; an array or a tensor.
            batch_size: inputs that are predicted at once.

        Returns:
            p(1) (N,) of a binary task; probabilities (N, C) of the classes in the ascending order of their labels; or
            values (N,) of a regression.

        Raises:
            InputError: inputs are no numbers, or have another shape than those that the networks were trained on; or
                `batch_size` is less than 1.
        """
        check_batch_size(batch_size)
        device = next(iter(self.parameters.values())).device
        blocks = self.check(inputs).split(batch_size)
        outputs = torch.cat([self.start.outputs(self.parameters, block.to(device)).cpu() for block in blocks])
        if self.task.kind == "regression":
            return (outputs[:, 0] * self.task.scale + self.task.center).numpy()
        probabilities: np.ndarray = outputs.softmax(dim=1).numpy()
        return probabilities[:, 1] if self.task.kind == "binary" else probabilities


@dataclass(frozen=True)
class Adapter:
    """The initialisations of a plan.

    Attributes:
        networks: of each group.
        learner: by which they adapt.
        kind: of their tasks.
        title: the learner's name, for messages.
        tasks: of the run.
    """

    networks: Sequence[MetaNetwork]
    learner: Learner
    kind: TaskKind
    title: str
    tasks: tuple[Task, ...]

    def adapt(self, inputs: torch.Tensor | MappedInputs, labels: Any, check: Check) -> Adapted:
        """Adapt to a task by the initialisation that does so best, judged on rows of it that it did not adapt to.

        Args:
            inputs: (n, ...), checked.
            labels: (n,) in any container of a task set's labels, none of them missing.
            check: of later inputs.

        Raises:
            InputError: labels are missing or do not fit the kind of the tasks, or there are too few rows of a class to
                choose among several groups.
        """
        task, targets = self._task_of(labels, len(inputs))
        device = next(self.networks[0].parameters()).device
        rows, own = inputs[torch.arange(len(targets))].to(device), torch.from_numpy(targets).to(device)
        episode = Episodes(rows[None], own[None], rows[None, :0], own[None, :0])
        group, losses = 0, [np.nan] * len(self.networks)
        if len(self.networks) > 1:
            losses = [float(held_out_losses(each.start, self.learner, episode)) for each in self.networks]
            group = int(np.argmin(losses))
        start = self.networks[group].start
        found = self.learner.adapt(start, rows, own, episode.loss)
        return Adapted(group, tuple(losses), task, found, start, check)

    def _task_of(self, labels: Any, n_rows: int) -> tuple[Task, np.ndarray]:
        """The task that labels are of, and the (n,) targets of its network: classes from 0, or standardised values."""
        column = _labels_of(labels, n_rows, self.kind)
        least = 1 if len(self.networks) == 1 else 2  # to adapt to, and to be judged by
        if self.kind == "regression":
            values = column.values.astype(np.float64)
            if column.texts is not None or n_rows < least or not (np.abs(values) <= LARGEST).all():
                raise InputError(
                    f"the tasks are regressions: expected at least {least} numbers as labels, up to {LARGEST:.1e}"
                )
            check_label_steps("new", values)
            center, scale = center_and_scale(values, self.tasks)
            task = Task("new", "regression", n_classes=1, center=center, scale=scale)
            return task, ((values - center) / scale).astype(np.float32)
        codes, targets, counts = np.unique(column.values, return_inverse=True, return_counts=True)
        classes = codes.tolist() if column.texts is None else [column.texts[code] for code in codes]
        ways = episode_classes(self.networks[0])
        if len(classes) != ways or (self.kind == "binary" and not np.isin(classes, (0, 1)).all()):
            wanted = "the labels 0 and 1" if self.kind == "binary" else f"{ways} classes, as in training (meta.ways)"
            noun = "class" if len(classes) == 1 else "classes"
            found = f" ({listed(classes)})" if classes else ""
            raise InputError(f"the rows have labels of {len(classes)} {noun}{found}: expected {wanted}")
        if counts.min() < least:
            raise InputError(
                f"class {classes[counts.argmin()]!s} has one row, which does not tell which of {len(self.networks)} "
                "groups suits the task: give 2 or more of each class"
            )
        task = Task("new", self.kind, n_classes=ways, classes=tuple(classes))
        return task, targets.astype(np.int64)


def _labels_of(labels: Any, n_rows: int, kind: TaskKind) -> Column:
    """Return labels (n,) in any container by the rules of a task set's, none of them missing."""
    labels = plain_array(without_views(labels))
    shape = labels.shape if hasattr(labels, "shape") else (len(labels),) if hasattr(labels, "__len__") else ()
    if tuple(shape) != (n_rows,):
        raise InputError(f"labels have the shape {tuple(shape)}: expected one for each of {n_rows} rows of a task")
    column = column_of("new", labels).without(None)
    present = column.present
    if kind != "regression" and column.texts is None and bool((present & (column.values == 0)).any()):
        present = present & (column.values != MISSING)  # beside classes from 0 up, as in a task set
    if gaps := np.flatnonzero(~present).tolist():
        raise InputError(
            f"labels are missing in {len(gaps)} of {n_rows} rows, the first is row {gaps[0]}: give labelled rows only"
        )
    return column


def episode_classes(network: MetaNetwork) -> int:
    """Return the number of classes that a network tells apart in an episode."""
    return network.network.layout.n_outputs


def load_adapter(run: Storage, config: Config, index: PartIndex, folders: Sequence[str]) -> Adapter:
    """Load the initialisations of a plan from the folders of its groups in a run."""
    kind = kind_of(index.tasks, config.retrain.learner)
    # Where the trunk started does not matter any more.
    config = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
    networks = [meta_network(config, index, kind, config.seed) for _ in folders]
    for network, folder in zip(networks, folders, strict=True):
        network.load_state_dict(load_weights(run, f"{folder}/network.pt"))
    return Adapter(networks, learner_of(config), kind, config.retrain.learner, index.tasks)
