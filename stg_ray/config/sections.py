"""The configuration of a run: one pydantic model per section, YAML in and out.

Every key has a default, so no file is needed. A preset's own defaults lie under the user's keys, these under `--set`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from stg_ray.config.data import Auto, Count, DataConfig, Section
from stg_ray.config.fingerprints import fingerprint_values
from stg_ray.errors import unknown

WHERE_IT_RUNS = ("workers", "gpus", "max_failures", "max_retries")
"""Keys that do not decide what is computed, but for rounding, dropout, and batch norm over each worker's rows."""

TRAININGS = ("profile", "retrain")
"""The sections that say how networks are trained."""

BY_DEVICE = ("precision", "memory_format")
"""Keys of a training whose `auto` is resolved once, by the devices there are."""

Positive = Annotated[float, Field(gt=0)]
Affinity = Literal[
    "data_map", "confidence_correlation", "landscape", "logit_correlation", "label_correlation", "tag", "random"
]
PlanName = Literal[
    "ours",
    "ours_soft",
    "all_in_one",
    "all_in_one_equal_cost",
    "all_in_one_ensemble",
    "random",
    "single_task",
    "known",
]

PROFILED = "_profiled"
"""Ends the name of a plan whose networks start from the profile, where the plan is trained from scratch too."""


class ModelConfig(Section):
    """The trunk that tasks share."""

    trunk: str = "auto"
    """linear, mlp, cnn, resnet18, resnet34, resnet50, or `module:function` of yours, called with the shape of one
    input; auto: cnn for images, else mlp."""
    width: Count = 128
    """Units of a hidden layer of the mlp, and features out of linear, mlp and cnn."""
    depth: Count = 2
    """Layers of the mlp."""
    weights: str | None = None
    """Where the trunk starts: a checkpoint of the trunk or of a network of a run (a path or URI that every node
    reaches), or pretrained for torchvision's weights of a resnet; at random if not given."""

    @field_validator("trunk")
    @classmethod
    def _known_trunk(cls, trunk: str) -> str:
        known = ("auto", "linear", "mlp", "cnn", "resnet18", "resnet34", "resnet50")
        if trunk not in known and ":" not in trunk:
            raise ValueError(unknown(trunk, known, "trunk") + ", or module:function of yours")
        return trunk


class TrainingConfig(Section):
    """One training run on the sum of the tasks' losses."""

    epochs: Count = 6
    batch_size: Count = 64
    optimizer: Literal["adamw", "adam", "nadam", "sgd"] = "adamw"
    """sgd has a (Nesterov) momentum of 0.9."""
    lr: Positive = 5e-3
    """The largest learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rate after the warm-up: down to zero at the last step, or constant."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps over which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip: Positive | None = None
    """Largest norm of a step's gradient; longer ones are scaled down to it."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """auto is resolved before the first training, by what is faster on the devices there are (on CPUs for trunks of
    this size), and kept in config.yaml."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """auto: channels_last for trunks with convolutions."""
    compile: bool = False
    """torch.compile the network; needs a C++ compiler on CPUs."""
    flip: bool = False
    """Flip every image left to right with probability 1/2, drawn anew in every epoch."""
    crop: Annotated[int, Field(ge=0)] = 0
    """Shift every image by up to so many pixels in each direction, drawn anew in every epoch; zeros come in."""


class ProfileConfig(TrainingConfig):
    """The all-task run that records the data maps. `batch_size` counts over all workers."""

    workers: Count | Auto | tuple[Count, Count] = "auto"
    """Ray Train workers; auto: one per GPU, else one per CPU; [LEAST, MOST]: as many of them as there is room for, more
    or fewer as nodes come and go."""
    snapshots: Count = 1
    """Snapshots of the data maps, at evenly spaced epochs with the last among them; they are cumulative, and the last
    alone told the tasks of CIFAR-100 apart better than four together."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Restarts from the last epoch after workers died."""


class AffinityConfig(Section):
    """How alike the tasks are."""

    methods: list[Affinity] = ["data_map", "landscape"]
    samples: Count | Auto = 2048
    """Training rows whose per-sample gradients the landscape takes, spread evenly over the parts; auto: 256 rows of one
    part after the other, until the groups no longer change."""
    sampling: Literal["stratified", "random", "variability"] = "stratified"
    """Which rows: stratified, so that the classes of all tasks are represented as evenly as possible; or those whose
    confidence varied most over the epochs of the profile."""
    statistic: Literal["auto", "aligned", "pooled", "sign"] = "auto"
    """aligned: distances of gradients at the same sample; pooled: between different samples, and sign: agreement of
    their signs over all samples, both for tasks that share none; auto: aligned where half of the pairs of tasks or more
    share samples, at the profiled network, else sign."""
    start: str = "profiled"
    """Where gradients are taken: at the profiled network; initial, at its initialisation with one head for all tasks;
    or a checkpoint of yours, of the network or of its trunk (a path or URI that every node reaches)."""
    layers: Literal["last", "all"] | list[str] = "last"
    """Shared parameters whose gradients are compared: the last layer of the trunk with a weight matrix, all, or names
    of modules and parameters, with wildcards. On four sets all of them told known groups apart a little better than the
    last layer (adjusted Rand index +0.00 to +0.03; jobs/bench/affinity_defaults.py): they cost next to nothing in an
    MLP, and some hundred times as much in a CNN."""
    normalize: bool = False
    """Scale each per-sample gradient to unit L1 norm first. It makes every sample count the same; without it those that
    are not learned yet count more, which told the tasks of CIFAR-100 apart better."""
    coordinates: Count | None = None
    """Compare so many random coordinates of the layers whose distances have no closed form; the error is printed."""
    precision: Literal["float32", "float64"] = "float32"
    """Of the gradients; sums are in float64."""
    tag_every: Count = 10
    """Steps of its training between two looks of tag at the tasks' effect on each other."""
    gpus: Annotated[float, Field(ge=0, le=1)] = 0.5
    """GPU of one actor, where there are GPUs; 0: CPUs only, on nodes with GPUs and without."""
    max_retries: Annotated[int, Field(ge=0)] = 3
    """Tries again of a part whose actor died."""

    @property
    def starts_from_checkpoint(self) -> bool:
        return self.start not in ("profiled", "initial")

    @field_validator("methods")
    @classmethod
    def _some_method(cls, methods: list[str]) -> list[str]:
        return _distinct(methods, "methods", may_be_empty=False)

    @model_validator(mode="after")
    def _coordinates_of_distances(self) -> AffinityConfig:
        if self.coordinates is not None and self.statistic == "sign":
            raise ValueError("affinity.coordinates estimates distances: the sign statistic takes every coordinate")
        return self


class BudgetConfig(Section):
    """What the groups of `method: budget` must keep. A network of s tasks costs `network_cost` + s `task_cost`."""

    networks: Count | None = None
    cost: Positive | None = None
    """Total cost of all networks, at most."""
    network_cost: Annotated[float, Field(ge=0)] = 1.0
    task_cost: Annotated[float, Field(ge=0)] = 0.0
    min_size: Count = 1
    max_size: Count | None = None
    together: list[list[str]] = []
    """Lists of tasks of which a network has all or none."""
    apart: list[list[str]] = []
    """Lists of tasks of which a network has one at most."""
    overlap: bool = False
    """Whether a task may help in networks that do not serve it."""


class GroupingConfig(Section):
    """From affinities to groups."""

    method: Literal[
        "spectral", "louvain", "agglomerative", "kmeans", "fuzzy_c_means", "mixture", "gat", "sdp", "points", "budget"
    ] = "spectral"
    """points clusters the points of the data maps; all others start from the affinities. gat and sdp
    need extra packages: stg_ray[gat], stg_ray[sdp]."""
    groups: Count | Auto = "auto"
    """Number of groups; auto chooses between `min_groups` and `max_groups`."""
    min_groups: Count = 1
    """Fewest groups that auto may choose; from 2 on, whether there is any structure is not asked."""
    max_groups: Count | None = None
    """Most groups that auto may choose; a third of the tasks, at most 32 or twice their root, if not given."""
    criterion: Literal["silhouette", "eigengap", "bic", "stability"] = "silhouette"
    """By which auto chooses."""
    neighbours: Count | Literal["auto", "all"] = "auto"
    """Edges of each task in the task graph, to the tasks most like it; auto: 4, or the logarithm of their number."""
    overlap_above: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A task is trained in groups that do not serve it, too, where its membership is this or more."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Weight of each affinity and file in the sum; 1 where not given. Data maps and landscape alike were best on
    CIFAR-100, and within 0.05 of the best adjusted Rand index elsewhere (jobs/bench/affinity_defaults.py). With 0 an
    affinity is computed and shown beside the others."""
    files: dict[str, str] = {}
    """Affinities of your own by name: K x K in Parquet as in affinity/, or CSV with the tasks in first row and column,
    which holds affinities (large means alike)."""
    budget: BudgetConfig | None = None

    @model_validator(mode="after")
    def _numbers_that_agree(self) -> GroupingConfig:
        if (self.budget is not None) != (self.method == "budget"):
            raise ValueError("grouping.budget and grouping.method=budget belong together: give both or neither")
        if self.method == "budget" and self.groups != "auto":
            raise ValueError("grouping.method=budget takes budget.networks: leave groups at auto")
        if self.method == "points" and (self.weights or self.files):
            raise ValueError("grouping.method=points looks at the data maps only: leave grouping.weights and files out")
        if self.max_groups is not None and self.max_groups < self.min_groups:
            raise ValueError(f"min_groups is {self.min_groups}, more than max_groups, {self.max_groups}")
        return self


class RetrainConfig(TrainingConfig):
    """The networks of the groups, and of the baselines they are measured against."""

    plans: list[PlanName] = ["ours", "all_in_one", "all_in_one_equal_cost", "random"]
    """all_in_one_equal_cost has as many epochs as the networks of ours together; all_in_one_ensemble is as many
    networks of all tasks as ours has, which predict together."""
    start: Literal["scratch", "profiled", "both"] = "scratch"
    """Where the networks start: as they are initialised, or from the profiled network, trunk and heads; both trains
    every plan twice, PLAN and PLAN_profiled, for comparison."""
    profiled_lr: Positive = 0.2
    """The largest learning rate of networks that start from the profile, as a share of `lr`: they are fine-tuned."""
    seeds: Count = 1
    """Trainings of every network, with consecutive seeds."""
    random_groups: Count = 2
    """Draws of random groups of the same sizes as ours."""
    membership_above: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The networks of ours_soft have the tasks whose membership in the group is this or more: others hardly count in
    its loss, and would cost time."""
    workers: Count = 1
    """Workers that train one network together, with equal shares of every batch; more than one are of Ray Train."""
    gpus: Annotated[float, Field(gt=0, le=1)] = 1.0
    """GPU of one worker, where there are GPUs; 0.25 trains four networks on each at a time."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Restarts of one trial."""

    @field_validator("plans")
    @classmethod
    def _distinct_plans(cls, plans: list[str]) -> list[str]:
        return _distinct(plans, "plans", may_be_empty=True)


class Config(Section):
    seed: Annotated[int, Field(ge=0)] = 0
    data: DataConfig
    model: ModelConfig = ModelConfig()
    profile: ProfileConfig = ProfileConfig()
    affinity: AffinityConfig = AffinityConfig()
    grouping: GroupingConfig = GroupingConfig()
    retrain: RetrainConfig = RetrainConfig()

    @model_validator(mode="after")
    def _weights_of_methods(self) -> Config:
        names = [*self.affinity.methods, *self.grouping.files]
        _distinct(names, "affinities (affinity.methods and grouping.files)", may_be_empty=False)
        stray = [name for name in self.grouping.weights if name not in names]
        if stray:
            raise ValueError(f"grouping.weights names {stray[0]!r}, which is not among affinity.methods")
        if all(self.grouping.weights.get(name, 1.0) == 0 for name in names):
            raise ValueError("grouping.weights are all zero: at least one affinity must count")
        return self

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)

    def fingerprint(self, sections: Iterable[str]) -> str:
        """Hash of some sections. Where it runs (workers, restarts) is left out: it does not decide what is computed."""
        covered = fingerprint_values(self, exclude=WHERE_IT_RUNS)
        values = {name: covered[name] for name in set(sections) & set(covered)}
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)  # YAML has dates
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def has_auto(self) -> bool:
        """Whether a setting is still left to the devices that train."""
        return any(getattr(getattr(self, name), key) == "auto" for name in TRAININGS for key in BY_DEVICE)

    def resolved_as(self, other: Config) -> Config:
        """This configuration with `auto` in the settings that are resolved once replaced by what `other` has there."""
        sections = {}
        for name in TRAININGS:
            mine, theirs = getattr(self, name), getattr(other, name)
            auto = {key: getattr(theirs, key) for key in BY_DEVICE if getattr(mine, key) == "auto"}
            sections[name] = mine.model_copy(update=auto)
        return self.model_copy(update=sections)

    def differences(self, other: Config) -> list[str]:
        """Keys whose values differ in what `fingerprint` covers, as `section.key: mine, now theirs`."""
        mine, theirs = self.model_dump(), other.model_dump()
        found = []
        for section, value in mine.items():
            if self.fingerprint([section]) == other.fingerprint([section]):
                continue
            if not isinstance(value, dict):
                found.append(f"{section} is {value!r}, now {theirs[section]!r}")
                continue
            found += [
                f"{section}.{key} is {v!r}, now {theirs[section][key]!r}"
                for key, v in value.items()
                if v != theirs[section][key] and key not in WHERE_IT_RUNS
            ]
        return found


def _distinct(names: list[Any], what: str, *, may_be_empty: bool) -> list[Any]:
    if len(set(names)) != len(names):
        raise ValueError(f"{what} are named more than once")
    if not names and not may_be_empty:
        raise ValueError(f"{what} are empty")
    return names
