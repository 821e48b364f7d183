"""All tasks' losses and confidences at once equal one task after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import example as example_of
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from stg_ray.models.outputs import OutputLayout, as_labels
from stg_ray.tasks import Task

KINDS = st.lists(
    st.one_of(st.just(("binary", 2)), st.tuples(st.just("multiclass"), st.integers(2, 5)), st.just(("regression", 1))),
    min_size=1,
    max_size=6,
)


def example(kinds: list[tuple[str, int]], seed: int) -> tuple[OutputLayout, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    tasks = [
        Task(f"t{t}", kind, n_classes, center=2.0 * (kind == "regression"), scale=3.0 if kind == "regression" else 1.0)
        for t, (kind, n_classes) in enumerate(kinds)
    ]
    layout = OutputLayout(tasks)
    outputs = torch.tensor(rng.normal(size=(8, layout.n_outputs)) * 5)
    columns = [
        rng.normal(size=8) if task.kind == "regression" else rng.integers(0, task.n_classes, 8) for task in tasks
    ]
    labels = np.stack(columns, axis=1).astype(np.float64)
    labels[rng.random(labels.shape) < 0.3] = np.nan
    return layout, outputs, torch.tensor(labels)


@example_of(kinds=[("binary", 2)] * 3, seed=0)  # a way of their own
@given(kinds=KINDS, seed=st.integers(0, 1000))
def test_losses_and_confidences_task_by_task(kinds: list[tuple[str, int]], seed: int) -> None:
    layout, outputs, labels = example(kinds, seed)
    losses, confidences = layout.losses(outputs, labels), layout.confidences(outputs, labels)
    predictions = layout.predictions(outputs)
    for t, (task, own) in enumerate(zip(layout.tasks, layout.columns, strict=True)):
        for i in range(len(labels)):
            y = labels[i, t]
            if torch.isnan(y):
                assert losses[i, t] == 0
                assert torch.isnan(confidences[i, t])
                continue
            o = outputs[i, own]
            if task.kind == "binary":
                loss = binary_cross_entropy_with_logits(o[0], y)
                p = o[0].sigmoid() if y == 1 else 1 - o[0].sigmoid()
            elif task.kind == "multiclass":
                loss = cross_entropy(o[None], y.long()[None])
                p = o.softmax(0)[y.long()]
            else:
                loss = 0.5 * ((y - 2.0) / 3.0 - o[0]) ** 2
                p = torch.tensor(torch.nan)
                torch.testing.assert_close(predictions[t][i], o[0] * 3.0 + 2.0)
            torch.testing.assert_close(losses[i, t], loss)
            torch.testing.assert_close(confidences[i, t], p.double(), equal_nan=True, rtol=1e-9, atol=1e-12)


def test_smoothed_losses_are_those_of_torch() -> None:
    for kinds in (
        [("binary", 2), ("multiclass", 4), ("regression", 1), ("multiclass", 3)],
        [("binary", 2), ("binary", 2)],
    ):
        layout, outputs, labels = example(kinds, 1)
        labels = torch.nan_to_num(labels)
        plain, smoothed = layout.losses(outputs, labels), layout.losses(outputs, labels, 0.2)
        for t, (kind, _) in enumerate(kinds):
            logits, classes = outputs[:, layout.columns[t]], labels[:, t]
            if kind == "binary":
                expected = binary_cross_entropy_with_logits(logits[:, 0], 0.8 * classes + 0.1, reduction="none")
            elif kind == "multiclass":
                expected = cross_entropy(logits, classes.long(), reduction="none", label_smoothing=0.2)
            else:
                expected = plain[:, t]  # a regression has no classes
            torch.testing.assert_close(smoothed[:, t], expected)


def test_a_missing_label_has_no_gradient() -> None:
    layout, outputs, labels = example([("binary", 2), ("multiclass", 3), ("regression", 1)], 0)
    outputs.requires_grad_()
    (gradient,) = torch.autograd.grad(layout.losses(outputs, labels).sum(), outputs)
    for t, own in enumerate(layout.columns):
        missing = torch.isnan(labels[:, t])
        assert (gradient[missing][:, own] == 0).all()
        assert (gradient[~missing][:, own] != 0).any(dim=1).all()


def test_stored_labels_become_floating_point_with_nan() -> None:
    labels = as_labels(torch.tensor([[0, -1], [2, 1]], dtype=torch.int8))
    assert labels.dtype == torch.float32
    assert torch.isnan(labels).tolist() == [[False, True], [False, False]]


@given(kinds=KINDS, seed=st.integers(0, 1000))
def test_class_weights_multiply_the_losses_of_their_class(kinds: list[tuple[str, int]], seed: int) -> None:
    layout, outputs, labels = example(kinds, seed)
    rng = np.random.default_rng(seed)
    weights = [
        tuple(rng.uniform(0.1, 5, task.n_classes).tolist())
        if task.kind != "regression" and rng.random() < 0.7
        else None
        for task in layout.tasks
    ]
    tasks = [replace(task, class_weights=own) for task, own in zip(layout.tasks, weights, strict=True)]
    factors = torch.ones_like(labels)
    for t, own in enumerate(weights):
        for i in range(len(labels)):
            if own is not None and not torch.isnan(labels[i, t]):
                factors[i, t] = own[int(labels[i, t])]
    torch.testing.assert_close(
        OutputLayout(tasks).losses(outputs, labels), layout.losses(outputs, labels) * factors, rtol=1e-6, atol=0
    )
