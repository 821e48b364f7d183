"""Outputs of all tasks side by side in one matrix, and their losses, confidences and predictions, all tasks at once.

A binary or regression task has one column, a multi-class task one for each class. Multi-class tasks of different
sizes are computed together by a softmax over segments of columns, so a thousand heads are a few tensor operations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from stg_ray.tasks import Task


class OutputLayout(nn.Module):
    """The columns of K tasks in an output matrix of shape (batch, O); a module of buffers only, without parameters.

    The columns of a task follow those of the task before. Labels are (batch, K) floating point with NaN for missing;
    see `as_labels`.

    Attributes:
        tasks: the K tasks.
        columns: of each task, as slices.
        n_outputs: O, the number of columns.
        binary, multiclass, regression: indices of the tasks of each kind.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        widths = [task.n_outputs for task in tasks]
        starts = [sum(widths[:t]) for t in range(len(tasks))]
        self.columns = [slice(start, start + width) for start, width in zip(starts, widths, strict=True)]
        self.n_outputs = sum(widths)

        def indices(kind: str) -> torch.Tensor:
            return torch.tensor([t for t, task in enumerate(tasks) if task.kind == kind], dtype=torch.long)

        self.binary: torch.Tensor
        self.multiclass: torch.Tensor
        self.regression: torch.Tensor
        self.start: torch.Tensor
        self.segment_columns: torch.Tensor
        self.segment: torch.Tensor
        self.center: torch.Tensor
        self.scale: torch.Tensor
        self.class_start: torch.Tensor
        self.class_weight: torch.Tensor
        # Then a column is a task, and none has to be looked up: less than half of the time of the losses.
        self.all_binary = all(task.kind == "binary" for task in tasks)
        self.weighted = any(task.class_weights is not None for task in tasks)
        multiclass = indices("multiclass")
        columns = [torch.arange(starts[t], starts[t] + widths[t]) for t in multiclass.tolist()]
        segments = [torch.full((widths[t],), m) for m, t in enumerate(multiclass.tolist())]
        empty = torch.zeros(0, dtype=torch.long)
        for name, value in {
            "binary": indices("binary"),
            "multiclass": multiclass,
            "regression": indices("regression"),
            "start": torch.tensor(starts, dtype=torch.long),
            "segment_columns": torch.cat(columns) if columns else empty,
            "segment": torch.cat(segments) if segments else empty,
            # The weights of all classes of all tasks, one after the other; a regression task has one class.
            # A copy: torch.export warns of a part of a tensor.
            "class_start": torch.tensor([0] + [task.n_classes for task in tasks]).cumsum(0)[:-1].clone(),
            "class_weight": torch.tensor([w for t in tasks for w in t.class_weights or (1.0,) * t.n_classes]),
            "center": torch.tensor([task.center for task in tasks]),
            "scale": torch.tensor([task.scale for task in tasks]),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def shares(self, network: OutputLayout, weights: np.ndarray) -> tuple[list[int], list[int], torch.Tensor]:
        """Return a network's columns that count, the columns here where they go, and the weight of each.

        Args:
            network: the layout of a network of some of the tasks.
            weights: (K,) of the network for each task.
        """
        number = {task.name: t for t, task in enumerate(self.tasks)}
        sources: list[int] = []
        targets: list[int] = []
        factors: list[float] = []
        for task, columns in zip(network.tasks, network.columns, strict=True):
            t = number[task.name]
            if weights[t] > 0:
                sources += range(columns.start, columns.stop)
                targets += range(self.columns[t].start, self.columns[t].stop)
                factors += [float(weights[t])] * task.n_outputs
        return sources, targets, torch.tensor(factors)

    def losses(self, outputs: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Compute losses (batch, K): cross-entropy, or half the squared standardised error of a regression task.

        They are multiplied by the weight of the label's class, where a task has class weights, and 0 where a label is
        missing.

        Args:
            outputs: (batch, O).
            labels: (batch, K) floating point, NaN for missing.
            smoothing: share of a classification's target that is spread evenly over the task's classes (label
                smoothing; Szegedy et al., CVPR 2016).
        """
        labels = labels.to(outputs.dtype)
        present = ~torch.isnan(labels)
        target = torch.where(present, labels, torch.zeros_like(labels))
        losses = torch.zeros_like(labels)
        if self.all_binary:
            losses = _binary_entropy(outputs, target, smoothing)
        elif len(self.binary):
            entropy = _binary_entropy(outputs[:, self.start[self.binary]], target[:, self.binary], smoothing)
            losses = losses.index_copy(1, self.binary, entropy)
        if len(self.multiclass):
            losses = losses.index_copy(1, self.multiclass, -self._log_true_class(outputs, target, smoothing))
        if len(self.regression):
            error = outputs[:, self.start[self.regression]] - self._standardised(target)
            losses = losses.index_copy(1, self.regression, 0.5 * error.square())
        if self.weighted:
            losses = losses * self.weights(target)
        return losses * present

    def weights(self, target: torch.Tensor) -> torch.Tensor:
        """Return the weight (batch, K) of each label's class in the losses; 1 where a task has no class weights.

        Args:
            target: (batch, K) floating-point labels, none missing.
        """
        classes = target.long()
        classes[:, self.regression] = 0
        return self.class_weight[self.class_start + classes].to(target.dtype)

    def confidences(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute p(true label) (batch, K): 1 - |y - sigmoid(o)| of binary tasks, softmax at the true class of others.

        It is NaN where a label is missing, and for regression tasks, which have no such probability.

        Args:
            outputs: (batch, O).
            labels: (batch, K) floating point, NaN for missing.
        """
        labels = labels.to(outputs.dtype)
        target = torch.nan_to_num(labels)
        if self.all_binary:
            return torch.where(torch.isnan(labels), labels, 1 - (target - torch.sigmoid(outputs)).abs())
        confidences = torch.full_like(labels, torch.nan)
        if len(self.binary):
            probability = torch.sigmoid(outputs[:, self.start[self.binary]])
            confidences[:, self.binary] = 1 - (target[:, self.binary] - probability).abs()
        if len(self.multiclass):
            confidences[:, self.multiclass] = self._log_true_class(outputs, target).exp()
        return torch.where(torch.isnan(labels), labels, confidences)

    def predictions(self, outputs: torch.Tensor) -> list[torch.Tensor]:
        """Turn outputs (batch, O) into predictions, by task.

        Returns:
            Of each task p(positive) (batch,), class probabilities (batch, C), or values (batch,) in the labels' unit.
        """
        result = []
        for task, of_task in zip(self.tasks, self.columns, strict=True):
            columns = outputs[:, of_task]
            if task.kind == "binary":
                result.append(columns[:, 0].sigmoid())
            elif task.kind == "multiclass":
                result.append(columns.softmax(dim=1))
            else:
                result.append(columns[:, 0] * task.scale + task.center)
        return result

    def _log_true_class(self, outputs: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """log softmax at the true class (batch, M) of the M multi-class tasks, a share of it over all classes."""
        columns = outputs[:, self.segment_columns]
        index = self.segment.expand_as(columns)
        shape = (len(outputs), len(self.multiclass))
        # The maximum is subtracted for safety only and cancels: no gradient flows through it.
        top = columns.detach().new_full(shape, -torch.inf).scatter_reduce(1, index, columns.detach(), "amax")
        total = columns.new_zeros(shape).scatter_add(1, index, (columns - top.gather(1, index)).exp())
        true = self.start[self.multiclass] + target[:, self.multiclass].long()
        logits = outputs.gather(1, true)
        if smoothing:
            n_classes = columns.new_zeros(shape).scatter_add(1, index, torch.ones_like(columns))
            mean = columns.new_zeros(shape).scatter_add(1, index, columns) / n_classes
            logits = (1 - smoothing) * logits + smoothing * mean
        return logits - top - total.log()

    def _standardised(self, target: torch.Tensor) -> torch.Tensor:
        """Labels (batch, R) of the R regression tasks, in units of their spread about their center."""
        chosen = self.regression
        return (target[:, chosen] - self.center[chosen]) / self.scale[chosen]


def _binary_entropy(logits: torch.Tensor, target: torch.Tensor, smoothing: float) -> torch.Tensor:
    if smoothing:
        target = (1 - smoothing) * target + smoothing / 2
    return binary_cross_entropy_with_logits(logits, target, reduction="none")


def as_labels(labels: torch.Tensor) -> torch.Tensor:
    """Turn labels as they are stored (-1 or NaN for missing) into float32 with NaN for missing."""
    if labels.is_floating_point():
        return labels.float()
    return torch.where(labels < 0, torch.nan, labels.float())
