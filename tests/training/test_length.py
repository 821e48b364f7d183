"""The length of a training by its validation score: the rule, and that it is long enough on small sets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from stg_ray.config import MetricConfig, ModelConfig, TrainingConfig
from stg_ray.config.recipes import as_number
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.length import LOWERED_TO, Course, Length, without_validation
from stg_ray.training.trainer import Rows, Trainer
from stg_ray.training.validation import Validation

RECIPE: dict[str, Any] = {"lr": 5e-3, "weight_decay": 1e-4}
AUTO = TrainingConfig(epochs="auto", patience=3, min_steps=20, max_epochs=30, warmup=0, **RECIPE)


def few_words(seed: int = 0) -> TaskSet:
    """650 training rows with 300 sparse features, 31 labels of 1 to 15 %, each told by some of the features.

    There are 93 rows to validate on, and as many to test on as make the score of the rarest exact.
    """
    rng = np.random.default_rng(seed)
    split = np.repeat(["train", "val", "test"], [650, 93, 1500])
    rates = np.exp(rng.uniform(np.log(0.01), np.log(0.15), 31))
    labels = (rng.random((len(split), 31)) < rates).astype(np.int8)
    present = np.full((len(split), 300), 0.01)
    for t in range(31):
        present[np.ix_(labels[:, t] == 1, rng.choice(300, 6, replace=False))] = 0.45
    return TaskSet.from_arrays((rng.random(present.shape) < present).astype(np.float32), labels, split=split)


def trainer(task_set: TaskSet, settings: TrainingConfig) -> Trainer:
    index, rows = index_of(task_set), task_set.rows("train")
    batches = CommonBatches(len(rows), settings.batch_size, len(index.tasks), Draws(0, Stream.NETWORK_BATCHES))
    network = build_network(ModelConfig(trunk="mlp", width=32, dropout=0.0), index, index.tasks, 0)
    inputs, labels = torch.from_numpy(task_set.inputs[rows]), torch.from_numpy(task_set.labels[rows])
    return Trainer(network, Rows(inputs, labels, rows), batches, settings)


def score_on(task_set: TaskSet, split: str) -> Validation:
    rows = task_set.rows(split)
    return Validation(torch.from_numpy(task_set.inputs[rows]), task_set.labels[rows], np.ones(len(task_set.tasks)))


def train(made: Trainer, validation: Validation) -> Course:
    course, length = Course(), Length.of(made.settings, made.batches.n_steps)
    while not course.ended:
        course.epoch += 1
        made.epoch(course.epoch)
        course.keep_if_best(made.network, validation.score(made))
        length.after_epoch(course, made)
    assert course.best_weights is not None
    made.network.load_state_dict(course.best_weights)
    return course


@pytest.fixture
def made() -> Trainer:
    """A trainer of five steps an epoch."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(110, 3)).astype(np.float32)
    return trainer(
        TaskSet.from_arrays(inputs, (inputs > 0).astype(np.int8)), AUTO.model_copy(update={"batch_size": 16})
    )


def ends(made: Trainer, scores: list[float], seen: list[float] | None = None) -> tuple[Course, list[float]]:
    """The course of a training with these scores (then the last one for ever), and its learning rates.

    Every epoch marks the network with its number; `seen` takes the mark after the rule was asked.
    """
    length, course, rates = Length.of(made.settings, made.batches.n_steps), Course(), []
    parameter = next(made.network.parameters())
    while not course.ended:
        rates.append(made.optimization.learning_rate / as_number(made.settings.lr))
        course.epoch += 1
        with torch.no_grad():
            parameter.fill_(course.epoch)
        course.keep_if_best(made.network, scores[min(course.epoch, len(scores)) - 1])
        length.after_epoch(course, made)
        if seen is not None:
            seen.append(float(parameter.detach().flatten()[0]))
    return course, rates


def test_the_rate_is_lowered_at_plateaus_from_the_best_network_and_training_ends_at_the_third(made: Trainer) -> None:
    assert made.batches.n_steps == 5
    course, rates = ends(made, [0.1, 0.2, 0.9, 0.3, 0.3, 0.4, 0.5])
    assert (course.ended, course.best_epoch, course.epoch) == ("plateau", 3, 12)
    assert rates == pytest.approx([1] * 6 + [LOWERED_TO] * 3 + [LOWERED_TO**2] * 3)
    seen: list[float] = []
    ends(made, [0.9] + [0.1] * 5, seen)
    assert seen == [1, 2, 3, 1, 5, 6, 1, 8, 9, 10], "the value that marks the first epoch comes back at a plateau"


def test_it_ends_neither_before_the_least_number_of_steps_nor_after_the_most_epochs(made: Trainer) -> None:
    made.settings = AUTO.model_copy(update={"min_steps": 100, "batch_size": 16})
    assert ends(made, [0.5])[0].epoch >= 100 / 5
    made.settings = AUTO.model_copy(update={"max_epochs": 7})
    always_better = ends(made, np.linspace(0, 1, 50).tolist())[0]
    assert (always_better.epoch, always_better.ended, always_better.best_epoch) == (7, "max_epochs", 7)


def test_a_number_is_a_number(made: Trainer) -> None:
    made.settings = TrainingConfig(epochs=9, **RECIPE)
    course, rates = ends(made, [0.9, 0.1])
    assert (course.epoch, course.ended, course.best_epoch) == (9, "number", 1)
    assert rates == pytest.approx([rates[0]] * 9)


def test_short_epochs_need_more_patience() -> None:
    assert Length.of(TrainingConfig(min_steps=300, patience=5), 100).patience == 5
    assert Length.of(TrainingConfig(min_steps=300, patience=5), 3).patience == 20


def test_without_a_score_the_number_of_steps_is_fixed() -> None:
    settings = without_validation(AUTO, n_steps=5)
    assert settings.epochs == math.ceil(4 * 20 / 5)
    assert Length.of(settings, 5) == Length(16, 16, None)
    assert without_validation(AUTO, n_steps=1).epochs == 30, "not beyond max_epochs"
    task_set = few_words()
    assert score_on(task_set, "val").has_score(task_set.tasks)
    blank = score_on(task_set, "val")
    blank.labels[:] = 0
    assert not blank.has_score(task_set.tasks)
    assert blank.score(trainer(task_set, AUTO)) == -math.inf


def test_the_score_is_of_the_metric_that_was_chosen() -> None:
    task_set = few_words()
    made, by_default = trainer(task_set, AUTO), score_on(task_set, "test")
    chosen = replace(by_default, metric=MetricConfig(binary="roc_auc"))
    outputs = made.network.layout.predictions(made.evaluate(by_default.inputs))
    columns = list(zip(outputs, by_default.labels.T, strict=True))
    for validation, expected in ((by_default, sk.average_precision_score), (chosen, sk.roc_auc_score)):
        scores = [expected(labels, prediction.numpy()) for prediction, labels in columns]
        assert validation.score(made) == pytest.approx(np.mean(scores))


@pytest.mark.slow
def test_a_small_set_is_trained_as_well_as_by_ten_times_the_epochs() -> None:
    task_set = few_words()
    made = trainer(task_set, TrainingConfig(**RECIPE))
    course = train(made, score_on(task_set, "val"))
    assert course.ended == "plateau"
    found = score_on(task_set, "test").score(made)
    long = trainer(task_set, TrainingConfig(epochs=10 * course.epoch, **RECIPE))
    best, validation = (-math.inf, 0.0), score_on(task_set, "val")
    for epoch in range(1, 10 * course.epoch + 1):
        long.epoch(epoch)
        if epoch % 25 == 0:
            best = max(best, (validation.score(long), score_on(task_set, "test").score(long)))
    six = trainer(task_set, TrainingConfig(epochs=6, **RECIPE))
    train(six, validation)
    assert found >= 0.95 * best[1]
    assert score_on(task_set, "test").score(six) < 0.6 * found, "the epochs that were the default"
