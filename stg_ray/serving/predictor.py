"""Predictions by the trained networks of a plan, which serve all tasks together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.storage import Storage
from stg_ray.card import CARD, Origin, check_place, model_card
from stg_ray.data.new_inputs import check_batch_size, checked_inputs
from stg_ray.data.parts import PartIndex
from stg_ray.data.rows import MappedInputs
from stg_ray.errors import InputError, one_line
from stg_ray.export import export_networks
from stg_ray.meta.adapting import Adapted, Adapter
from stg_ray.models import AsGiven, OutputLayout, TaskNetwork
from stg_ray.shown import counted
from stg_ray.tasks.containers import check_same_order
from stg_ray.training.compute import PLAIN, Compute
from stg_ray.training.evaluation import Inputs

BATCH_SIZE = 1024
"""Inputs that are predicted at once."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of all K tasks for N inputs; `predictions["task"]` is that of one task.

    Attributes:
        by_task: by the task's name p(positive) (N,), class probabilities (N, C), or values (N,) in the labels' unit.
        array: (N, O) predictions side by side, in the order of the tasks: (N, K) where no task is multi-class.
        columns: the columns of `array` that belong to each task.
    """

    by_task: dict[str, np.ndarray]
    array: np.ndarray
    columns: dict[str, slice]

    def __getitem__(self, task: str) -> np.ndarray:
        """Return the prediction of a task, as in `by_task`."""
        return self.by_task[task]

    def __repr__(self) -> str:
        return f"Predictions({counted(len(self.by_task), 'task')}, {counted(len(self.array), 'input')})"


class Predictor:
    """The networks of a plan, one for each group, which predict all K tasks together; `load` returns it.

    Args:
        index: of the parts that the networks were trained on: tasks, shape and normalisation of the inputs.
        groups: the plan.
        networks: of each group, with its weights; they are moved to the device and put into evaluation mode.
        compute: where and in which precision they predict.
        input_dtype: of the inputs as the task set has them, which exported networks take.
        serves_by: the way of serving that `predict` takes where none is asked for.
        origin: the run that the networks come from, which their model card tells of.

    Attributes:
        tasks: names of all K tasks, in the order of the task set.
        serves_by: the way in which `predict` and an export serve: argmax, by one network a task; ensemble, by all that
            have it.
        serving: the group that serves each task by itself, as argmax takes it.
        groups: the plan: `groups.serving` has the group that serves each task, `groups.membership` the memberships.
        networks: the trained network of each group.
        layout: the columns of all K tasks in `outputs`.
        adapter: where the networks are initialisations (`retrain.learner`), which adapt before they predict.
        image_size: to which images that are given by their paths are cropped and scaled, as those of the run were.

    Example:
        >>> import stg_ray as sr
        >>> predictor = sr.load("runs/tiny")
        >>> predictor
        Predictor(4 tasks, 2 networks, serves by argmax)
        >>> predictions = predictor.predict(np.zeros((3, 5)))  # (N, ...) as the task set has them
        >>> predictions["a1"].shape  # p(positive)
        (3,)
        >>> predictions.columns["b2"]  # of predictions.array
        slice(3, 4, None)
        >>> predictor.export("exported")  # a .pt2 file for each network, and serving.json
    """

    def __init__(
        self,
        index: PartIndex,
        groups: Groups,
        networks: Sequence[TaskNetwork],
        *,
        compute: Compute = PLAIN,
        input_dtype: torch.dtype = torch.float32,
        serves_by: Serving = "argmax",
        origin: Origin | None = None,
    ) -> None:
        self.serves_by, self.origin = serves_by, origin
        self.adapter: Adapter | None = None
        self.image_size: int | None = None
        self.index, self.groups, self.compute, self.input_dtype = index, groups, compute, input_dtype
        self.networks = [network.eval() for network in networks]
        for network in self.networks:
            compute.place(network)
        self.layout = OutputLayout(index.tasks)

    def __repr__(self) -> str:
        networks = counted(len(self.networks), "network")
        return f"Predictor({counted(len(self.tasks), 'task')}, {networks}, serves by {self.serves_by})"

    @property
    def tasks(self) -> list[str]:
        """Names of all K tasks, in the order of the task set."""
        return self.index.names

    @property
    def serving(self) -> dict[str, int]:
        """The group that serves each task by itself, as argmax takes it."""
        return self.groups.serving

    def predict(self, inputs: Any, *, serving: Serving | None = None, batch_size: int = BATCH_SIZE) -> Predictions:
        """Predict all tasks.

        Args:
            inputs: (N, ...) as the task set has them, not normalised; an array or a tensor, or a data frame, whose
                columns are taken by the names of the features (by position where the task set had none). Images may
                be given by their paths, and are read as those of the run were.
            serving: argmax takes each task from the network of the group that serves it; ensemble sums the outputs
                (logits) of all networks that have the task, weighted by its memberships; by default `serves_by`, the
                way in which the plan was scored (see `load`).
            batch_size: inputs that are predicted at once.

        Warns:
            UserWarning: inputs are far from those that the networks were trained on, or hardly vary beside them.

        Raises:
            InputError: there is no such way of serving; inputs are no numbers, lack a feature, are not finite, or have
                another shape than those that the networks were trained on; are not from 0 to 255 where these were
                bytes, or no ids where these were ids; `batch_size` is less than 1.
        """
        self._check_heads()
        check_batch_size(batch_size)
        ids, checked = self._looks_up, self._checked(inputs)
        try:
            outputs = self.outputs(checked, serving=serving, batch_size=batch_size)
        except (IndexError, RuntimeError) as error:  # of an embedding, of one_hot
            if not ids:
                raise
            raise InputError(f"a trunk has no entry for one of the ids in the inputs ({one_line(error)})") from error
        by_task = {
            task.name: values.numpy()
            for task, values in zip(self.index.tasks, self.layout.predictions(outputs), strict=True)
        }
        flat = [values[:, None] if values.ndim == 1 else values for values in by_task.values()]
        columns = dict(zip(self.tasks, self.layout.columns, strict=True))
        return Predictions(by_task, np.concatenate(flat, axis=1), columns)

    def adapt(self, inputs: Any, labels: Any) -> Adapted:
        """Adapt to a task, new or not, by the group whose initialisation does so best: networks of a meta-learner only.

        Each initialisation adapts to half of the rows, is judged by the others, and the other way round; the one with
        the smallest loss then adapts to all rows. Values of a regression are standardised by what these rows and the
        tasks of the run together say of their unit.

        Args:
            inputs: (n, ...) rows of the task, as in `predict`.
            labels: (n,) its labels, none of them missing: 0 and 1 of a binary task; `meta.ways` numbers or texts of a
                multi-class task; any numbers of a regression. An array, a tensor, a list or a column of a data frame,
                whose index has no row at another place than that of inputs in a data frame.

        Returns:
            The adapted network: `predict(inputs)`, and the `group` that it is of.

        Raises:
            InputError: the networks are no initialisations, labels are missing, or the rows and labels do not fit each
                other or the tasks of the run.
        """
        if self.adapter is None:
            raise InputError("these networks were trained to predict (retrain.learner=joint): call predict")
        check_same_order(inputs=inputs, labels=labels)
        return self.adapter.adapt(self._checked(inputs), labels, self._checked)

    @property
    def _looks_up(self) -> bool:
        """Whether inputs are ids that the networks look up."""
        return any(isinstance(network.normalize, AsGiven) and network.normalize.whole for network in self.networks)

    def _checked(self, inputs: Any) -> torch.Tensor | MappedInputs:
        return checked_inputs(inputs, self.index, self.input_dtype, ids=self._looks_up, image_size=self.image_size)

    def _check_heads(self) -> None:
        if self.adapter is not None:
            raise InputError(
                f"these networks are initialisations (retrain.learner={self.adapter.title}), which predict nothing "
                "before they adapt: call adapt of the predictor with rows of one task and their labels"
            )

    @torch.no_grad()
    def outputs(self, inputs: Inputs, *, serving: Serving | None = None, batch_size: int = BATCH_SIZE) -> torch.Tensor:
        """Compute outputs (N, O) of all tasks, on the CPU, before they become probabilities.

        Args:
            inputs: (N, ...) raw inputs, not checked.
            serving: as in `predict`.
            batch_size: inputs that are computed at once.

        Returns:
            (N, O) logits, and standardised values of regression tasks, in the columns of `layout`.
        """
        self._check_heads()
        weights = self.groups.serving_weights(self.serves_by if serving is None else serving)
        shares = [self.layout.shares(network.layout, weights[:, group]) for group, network in enumerate(self.networks)]
        blocks = []
        for block in inputs.split(batch_size):
            batch = self.compute.batch(block)
            total = torch.zeros(len(block), self.layout.n_outputs)
            for network, (sources, targets, factors) in zip(self.networks, shares, strict=True):
                if targets:
                    total[:, targets] += self.compute.forward(network, batch).cpu()[:, sources] * factors
            blocks.append(total)
        return torch.cat(blocks) if blocks else torch.zeros(0, self.layout.n_outputs)

    def export(self, folder: str | os.PathLike[str], *, safetensors: bool = False) -> None:
        """Write every network as a torch.export program, which runs without stg_ray, for batches of any size.

        `group-G.pt2` takes raw inputs (N, ...) and returns outputs (N, O): logits, or standardised values of regression
        tasks. `serving.json` has the columns of each task, the way of serving that `predict` takes (`served_by`), the
        network that serves each task in the one way, argmax, the weights of the networks in the other, ensemble, how a
        regression's output becomes a value (times scale, plus center), and the names of the features, where they have
        some. `README.md` is a model card, with code that predicts as `predict` does. An earlier export is replaced.

        Args:
            folder: a path or a URI.
            safetensors: write the weights of every network beside it, as `group-G.safetensors`, too.

        Raises:
            InputError: the package safetensors is not installed, or the folder cannot be written to, or has another
                README.md than an export's.
            StgRayError: torch.export cannot trace the trunk.
        """
        self._check_heads()
        check_place(Storage(folder))
        export_networks(
            self.networks, self.index, self.groups, self.serves_by, self.input_dtype, folder, safetensors=safetensors
        )
        card = model_card(self.index, self.groups, self.serves_by, self.origin)
        Storage(folder).write_bytes(CARD, card.encode())
