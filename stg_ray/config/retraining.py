"""The section of a configuration about the networks of the plans."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stg_ray.config.data import Count
from stg_ray.config.fingerprints import since
from stg_ray.config.section import distinct
from stg_ray.config.training import Positive, TrainingConfig

PlanName = Literal[
    "ours",
    "searched",
    "ours_soft",
    "ours_and_all",
    "branches",
    "all_in_one",
    "all_in_one_equal_cost",
    "all_in_one_ensemble",
    "random",
    "single_task",
    "known",
    "greedy",
]

LearnerName = Literal["joint", "maml", "anil", "reptile"]

MAX_DRAWS = 1000
"""Trainings of a network, and draws of random groups: more tell nothing more, and fill the disk."""


class RetrainConfig(TrainingConfig):
    """The networks of the groups, and of the baselines that they are compared with."""

    plans: list[PlanName] = ["ours", "all_in_one", "all_in_one_equal_cost", "random"]
    """Plans to train; none are trained if the list is empty. all_in_one_equal_cost sees as many rows as the networks of
    ours together; all_in_one_ensemble is as many networks of all tasks as ours has, which predict together, and the
    first 2, 4, 8, ... of them, up to half, are plans, too, as fewer may do; where ours are a single group, equal cost
    and ensemble take the size of two networks; searched takes the groups that a search finds by short trainings
    (section `search`); ours_soft weights the losses by membership; ours_and_all averages each network of ours with one
    of all tasks; branches is one network whose lower layers all tasks share and whose upper ones each of our groups has
    of its own; known takes the known groups of the task set; greedy is an ensemble that is selected from the networks
    of all other plans."""
    learner: Annotated[LearnerName, since("0.2")] = "joint"
    """What the networks learn: joint, to predict their tasks; maml, anil and reptile, an initialisation that adapts to
    each of their tasks in a few steps on a few rows (section `meta`; [meta-learning](meta_learning.md))."""
    start: Literal["scratch", "profiled", "both"] = "scratch"
    """Starting point of the networks: their initialization (scratch), or the trunk and heads of the profiled network;
    both trains every plan twice, as PLAN and PLAN_profiled, for comparison."""
    profiled_lr: Positive = 0.2
    """Largest learning rate of networks that start from the profile, as a share of `lr`: they are fine-tuned."""
    seeds: Annotated[int, Field(ge=1, le=MAX_DRAWS)] = 1
    """Number of trainings of every network, with consecutive seeds."""
    folds: Annotated[int, Field(ge=1, le=MAX_DRAWS), since("0.2")] = 1
    """Number of trainings, one seed after the other, each of which has validation rows of its own: the first those of
    the split, every other as many of the training rows, in exchange for them. So `folds: 5, seeds: 5` compares plans on
    five times as many rows, where a set is small. The groups and the search are those of the split, and networks start
    from scratch: the profile has seen the training rows."""
    random_groups: Annotated[int, Field(ge=1, le=MAX_DRAWS)] = 2
    """Number of draws of random groups of the same sizes as ours, which keep `grouping.budget` too, as far as that is
    found in a thousand draws."""
    membership_above: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Smallest membership at which a task is in a group's network of ours_soft: other tasks would hardly count in its
    loss, but cost time."""
    shared_layers: Annotated[float, Field(gt=0, lt=1), since("0.2")] = 0.5
    """Share of the trunk's layers that our groups have in common in the plan branches, the lowest of them."""
    freeze_shared: Annotated[bool, since("0.2")] = False
    """Whether these stay as they are in the profiled network, where branches starts from it."""
    forecast: Annotated[Literal["auto", "tell", "stop", "never"], since("0.2")] = "auto"
    """Whether the run says, after half of the first training of ours, of all_in_one and of random groups, what grouping
    is expected to bring; it costs no training. stop: where nothing is expected, the plans of groups end there, and only
    those that do not look at the tasks are trained; auto: it is said where the trainings will take more than about two
    minutes, or a search needs it (`search.start`)."""
    networks: Annotated[Count | None, since("0.2")] = None
    """Largest number of networks that the plan greedy serves; by default as many as ours has, and at least 2."""
    stacked: Annotated[Literal["auto", "never"], since("0.2")] = "auto"
    """Whether small networks (linear trunks and MLPs) that start alike are trained in step, several in one trial, by
    products that are batched over networks; never: each has a trial of its own."""
    workers: Count = 1
    """Number of workers that train one network together, with equal shares of every batch; more than one use Ray
    Train."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Number of restarts of a trial."""
    loggers: Annotated[list[Literal["mlflow", "wandb"]], since("0.2")] = []
    """Where networks are logged to while they train, beside TensorBoard: MLflow, Weights & Biases (extras of these
    names). Their own environment variables say where that is, such as MLFLOW_TRACKING_URI and WANDB_MODE."""

    @field_validator("loggers")
    @classmethod
    def _distinct_loggers(cls, loggers: list[str]) -> list[str]:
        return distinct(loggers, "loggers", may_be_empty=True)

    @field_validator("plans")
    @classmethod
    def _distinct_plans(cls, plans: list[str]) -> list[str]:
        return distinct(plans, "plans", may_be_empty=True)

    @field_validator("plans")
    @classmethod
    def _something_to_select_from(cls, plans: list[str]) -> list[str]:
        if plans == ["greedy"]:
            raise ValueError("greedy selects from the networks of other plans: name some")
        return plans

    @model_validator(mode="after")
    def _something_to_freeze(self) -> RetrainConfig:
        if self.freeze_shared and self.start == "scratch":
            raise ValueError(
                "freeze_shared keeps layers as they are in the profile, and retrain.start=scratch: set it to profiled, "
                "or both"
            )
        return self

    @model_validator(mode="after")
    def _folds_of_trainings(self) -> RetrainConfig:
        if self.folds > self.seeds:
            raise ValueError(
                f"folds={self.folds} and seeds={self.seeds}: every training has one fold, so set seeds to {self.folds} "
                "or more"
            )
        if self.folds > 1 and self.start != "scratch":
            raise ValueError(
                f"folds={self.folds} and start={self.start}: the profile was trained on rows that the other folds are "
                "validated on; set start to scratch, or folds to 1"
            )
        return self

    @model_validator(mode="after")
    def _cost_of_ours(self) -> RetrainConfig:
        if self.epochs == "auto" and "all_in_one_equal_cost" in self.plans and "ours" not in self.plans:
            raise ValueError(
                "all_in_one_equal_cost has the epochs of ours, which is not among retrain.plans: add ours, or set "
                "retrain.epochs to a number"
            )
        return self
