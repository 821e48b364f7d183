"""The section of a configuration about meta-learning, and what the learners of initialisations exclude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stg_ray.config.data import Count
from stg_ray.config.section import Section
from stg_ray.config.training import OF_AUTO, Positive, TrainingConfig

if TYPE_CHECKING:
    from stg_ray.config.sections import Config

PLANS = ("ours", "all_in_one", "all_in_one_equal_cost", "random", "single_task", "known")
"""Plans whose networks may be initialisations: they have no heads of the tasks, and no outputs to be averaged."""

OF_BATCHES = {"batch_size", "precision", "memory_format"}
"""Settings of joint trainings, which initialisations do not have."""


class MetaConfig(Section):
    """The networks of the plans as initialisations that adapt to a task in a few steps on a few rows: where
    `retrain.learner` is maml, anil or reptile. Their steps are of episodes, in float32 and without dropout:
    `retrain.batch_size`, `precision` and `memory_format` are for joint training."""

    steps: Count = 1
    """Number of steps by which a network adapts to a task, in training, for scores, and where it is served."""
    rate: Positive = 0.1
    """Learning rate of these steps."""
    learn_rates: bool = False
    """Whether the rates are learned, one for each parameter tensor, from `rate` on (maml, anil)."""
    first_order: bool = False
    """Whether the gradients of the steps are taken for constants, which is faster (maml, anil)."""
    ways: Annotated[int, Field(ge=2)] = 5
    """Number of classes in an episode of a multi-class task; a binary task has both of its own."""
    shots: Count = 5
    """Number of rows of each class (of a regression in all) that a network adapts to in an episode."""
    queries: Count = 5
    """Number of other rows of each class (of a regression in all) by which it is judged."""
    episodes: Count = 8
    """Number of episodes in a training step, each of one task; all tasks of a network are as frequent."""
    profile_epochs: Count = 5
    """Number of epochs in which all tasks learn one initialisation, at which they are then compared: where
    `affinity.start` is meta."""
    steps_per_epoch: Count = 50
    """Number of training steps that count as an epoch."""
    scored: Annotated[int, Field(ge=2)] = 50
    """Number of episodes that a task's score is of, the same for all networks: their rows to adapt to are training
    rows, those to be judged by of the split that is scored. Where a class has fewer than `queries` of them, all of its
    rows are taken."""


def of_initialisations(retrain: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values of the `retrain` section that decide an initialisation of a given length."""
    keys = {"learner", *TrainingConfig.model_fields} - {"epochs", *OF_AUTO, *OF_BATCHES}
    return {key: value for key, value in retrain.items() if key in keys}


def check_learner(config: Config) -> None:
    """Refuse settings that a learner of initialisations does not have.

    Raises:
        ValueError: one of them is set.
    """
    retrain, learner = config.retrain, config.retrain.learner
    if learner == "joint":
        if config.affinity.start == "meta":
            raise ValueError(
                "affinity.start=meta is where an initialisation begins that retrain.learner trains, which is joint: "
                "expected maml, anil or reptile"
            )
        return
    beside = f"retrain.learner={learner} trains initialisations"
    if stray := [plan for plan in retrain.plans if plan not in PLANS]:
        raise ValueError(
            f"{beside}, and the plan {stray[0]} needs networks with heads of the tasks: leave it out of retrain.plans, "
            f"which may have {', '.join(PLANS)}"
        )
    wanted: dict[str, tuple[object, object]] = {
        "retrain.start": (retrain.start, "scratch"),
        "retrain.workers": (retrain.workers, 1),
        "retrain.flip": (retrain.flip, False),
        "retrain.crop": (retrain.crop, 0),
        "retrain.label_smoothing": (retrain.label_smoothing, 0),
        "retrain.compile": (retrain.compile, False),
        "retrain.forecast": ("auto" if retrain.forecast == "never" else retrain.forecast, "auto"),
        "tune.trials": (config.tune.trials, 0),
    }
    for key, (value, only) in wanted.items():
        if value != only:
            raise ValueError(f"{beside}, and these are not trained with {key}={value}: set it to {only}")
    if learner == "reptile" and (config.meta.learn_rates or config.meta.first_order):
        key = "learn_rates" if config.meta.learn_rates else "first_order"
        raise ValueError(f"reptile takes no gradient through its steps: leave meta.{key} out, or take maml or anil")
