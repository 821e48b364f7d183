"""The section of a configuration about grouping: the clustering, the number of groups, and a budget for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stg_ray.config.data import Auto, Count, Section
from stg_ray.config.fingerprints import since
from stg_ray.config.methods import GROUPING_METHODS
from stg_ray.config.training import Positive


class BudgetConfig(Section):
    """Limits on the groups of `method: budget`. A network of s tasks costs `network_cost` + s `task_cost`."""

    networks: Count | None = None
    """Largest number of networks; by default it is not limited."""
    cost: Positive | None = None
    """Largest total cost of all networks; by default it is not limited."""
    network_cost: Annotated[float, Field(ge=0)] = 1.0
    """Cost of a network, whatever its tasks."""
    task_cost: Annotated[float, Field(ge=0)] = 0.0
    """Cost of each task of a network."""
    min_size: Count = 1
    """Smallest number of tasks in a network."""
    max_size: Count | None = None
    """Largest number of tasks in a network; by default it is not limited."""
    together: list[list[str]] = []
    """Lists of tasks of which every network has all or none."""
    apart: list[list[str]] = []
    """Lists of tasks of which every network has at most one."""
    overlap: bool = False
    """Whether a task may help in networks that do not serve it."""
    networks_per_task: Annotated[Count | None, since("0.2")] = None
    """Largest number of networks that a task is in, where they may overlap; by default it is not limited."""
    objective: Annotated[Literal["tasks", "groups"], since("0.2")] = "tasks"
    """What is maximised: tasks, the mean over the tasks of their mean affinity to the others of the network that serves
    them; or groups, the sum over the networks of the affinities between their tasks, divided by their number (Wang et
    al. 2024), with the values that the affinities have: meant for transfer_gain, where less than 0 is harm."""


class GroupingConfig(Section):
    """The grouping of the tasks by their affinities."""

    method: str = "spectral"
    """Method by which tasks are grouped: budget selects the groups with the best scores within `grouping.budget`,
    points clusters the points of the data maps, auxiliary groups each main task with those that `stg-ray auxiliary`
    has found to help it, all others cluster the tasks by their affinities. gat and sdp need extra packages:
    stg_ray[gat], stg_ray[sdp]. Also the name that an installed package gives to a clusterer, or
    `module:Class` of yours (in Python also the class)."""
    groups: Count | Auto = "auto"
    """Number of groups; auto chooses between `min_groups` and `max_groups`."""
    min_groups: Count = 1
    """Smallest number of groups that auto may choose; from 2 on, auto does not test whether there is any structure."""
    max_groups: Count | None = None
    """Largest number of groups that auto may choose; by default a third of the number K of tasks, but no more than 32
    or 2 sqrt(K), whichever is larger; where that many are best, numbers up to twice as many are tried, too."""
    criterion: Literal["silhouette", "eigengap", "bic", "stability"] = "silhouette"
    """Criterion by which auto chooses the number of groups: the mean silhouette of the tasks; the eigengap, the fall
    after that many eigenvalues of the affinity; bic, the Bayesian information criterion of a Gaussian mixture; or the
    stability of the groups when the affinities are resampled."""
    neighbours: Count | Literal["auto", "all"] = "auto"
    """Number of edges of each task in the task graph, to the tasks most like it; auto: the logarithm of the number of
    tasks, but at least 4."""
    overlap_above: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Smallest membership at which a task is also trained in a group that does not serve it; by default no task is.
    Groups that have the same tasks then are one."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Weight of each affinity and file in the sum; 1 where not given. Equal weights of data maps and landscape were
    best on CIFAR-100, and within 0.05 of the best adjusted Rand index elsewhere (jobs/bench/affinity_defaults.py). An
    affinity of weight 0 is computed and shown, but does not count."""
    files: dict[str, str] = {}
    """Files with further affinities, by name: K x K, in Parquet of a run's affinity/, or in Parquet or CSV of yours
    with the tasks in the first row and column, where large values mean alike."""
    budget: BudgetConfig | None = None
    """Limits on the groups of `method: budget`, which the plan `searched` keeps too, and what is deployed."""

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, method: Any) -> Any:
        return GROUPING_METHODS.name_of(method)

    @model_validator(mode="after")
    def _numbers_that_agree(self) -> GroupingConfig:
        if (self.budget is not None) != (self.method == "budget"):
            raise ValueError("grouping.budget and grouping.method=budget belong together: give both or neither")
        if self.method == "budget" and self.groups != "auto":
            raise ValueError("grouping.method=budget takes budget.networks: leave groups at auto")
        if self.method == "points" and (self.weights or self.files):
            raise ValueError("grouping.method=points looks at the data maps only: leave grouping.weights and files out")
        if self.method == "auxiliary" and (self.groups != "auto" or self.weights or self.files):
            raise ValueError(
                "grouping.method=auxiliary makes a group of each main task, by trainings: leave groups, weights and "
                "files out"
            )
        if self.max_groups is not None and self.max_groups < self.min_groups:
            raise ValueError(f"min_groups is {self.min_groups}, more than max_groups, {self.max_groups}")
        return self
