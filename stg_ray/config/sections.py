"""The configuration of a run, and its section about affinities.

Every key but the task set has a default. A preset's defaults come first; a file's keys override them, and `--set` both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from stg_ray.config.data import Auto, Count, DataConfig, Section
from stg_ray.config.differences import differences_of
from stg_ray.config.fingerprints import fingerprint_values, since
from stg_ray.config.grouping import GroupingConfig
from stg_ray.config.meta import MetaConfig, check_learner, of_initialisations
from stg_ray.config.methods import AFFINITY_METHODS
from stg_ray.config.metric import MetricConfig
from stg_ray.config.recipes import BY_TRUNK
from stg_ray.config.retraining import RetrainConfig
from stg_ray.config.search import SearchConfig
from stg_ray.config.secrets import without_secrets
from stg_ray.config.section import distinct
from stg_ray.config.training import ModelConfig, Positive, ProfileConfig
from stg_ray.config.tuning import TuneConfig
from stg_ray.stages import STAGES

WHERE_IT_RUNS = ("workers", "gpus", "max_failures", "max_retries", "trunk_file", "loggers", "stacked")
"""Keys that do not decide the results, except for rounding, dropout, and batch norm over each worker's rows."""

MAX_SEED = 10**12
"""torch's own seeds are made of the run's, of epoch and rank, and must fit into 64 bits."""

TRAININGS = ("profile", "retrain")
"""The sections that are a `TrainingConfig`."""

AUTO = "auto"
"""What stands alone in `affinity.methods` where they are left to the tasks."""

EPOCHS_OF_0_1 = 6
"""Default of `epochs` in version 0.1."""

BY_DEVICE = ("precision", "memory_format")
"""Keys of a training whose `auto` is resolved once, by the available devices."""

BY_SIZE = ("gpus",)
"""Keys of a training whose `auto` is resolved once, by the size of the network of all tasks."""

RESOLVED: dict[str, tuple[str, ...]] = {
    name: (*keys, *((*BY_DEVICE, *BY_SIZE) if name in TRAININGS else ())) for name, keys in BY_TRUNK.items()
}
"""Keys whose `auto` is resolved before the first training and kept, by section."""


class AffinityConfig(Section):
    """The affinities of the tasks: how alike they are, by which methods."""

    methods: list[str] = [AUTO]
    """Affinities to compute; auto: confidence_adjusted and logit_adjusted, the latter alone where one task is a
    regression, and landscape where tasks share no samples, settled when the parts are laid out, and kept.
    confidence_adjusted compares the confidences in the tasks' data maps, logit_adjusted the network's outputs, both
    adjusted for base rates, so that rare tasks are not alike for being rare; confidence_correlation and
    logit_correlation are the same without the adjustment; data_map compares the data maps by distance (Sherif et al.),
    landscape the per-sample gradients (Thakur et al.), gradient_cosine the mean gradients, head_cosine the weights of
    the heads, label_correlation the labels; tag and transfer_gain measure the tasks' effect on each other (Fifty et al.
    2021, Wang et al. 2024), etap estimates it to first order (arXiv 2602.18591), in the profile (profile.looks) or in a
    training of their own; grad_tag estimates what training with each other would give (Li et al. 2024); random is a
    baseline that ignores the tasks. Version 0.1 took data_map and landscape by default (jobs/bench/rarity.py compares
    them). Also the name that an installed package gives to an affinity, or `module:Class` of yours (in Python also the
    class)."""
    samples: Count | Auto = 2048
    """Number of training rows whose gradients are compared, spread evenly over the parts, or over as many of them as
    have 64; auto: 256 rows of one part after the other, until the groups no longer change (landscape), or 256 rows of
    each, of 64 parts at most."""
    sampling: Literal["stratified", "random", "variability"] = "stratified"
    """Choice of these rows: stratified represents the classes of all tasks as evenly as possible, random draws them,
    variability takes the rows whose confidence varied most over the epochs of the profile."""
    statistic: Literal["auto", "aligned", "pooled", "sign"] = "auto"
    """Comparison of gradients: aligned takes distances at the same sample; for tasks that share no samples, pooled
    takes distances between different samples, and sign the agreement of signs over all samples. auto: aligned where at
    least half of the pairs of tasks share samples, unless `start` is initial or meta; else sign."""
    start: str = "profiled"
    """Network at which gradients are taken: profiled, the profiled one; initial, its initialization with one head for
    all tasks; meta, an initialisation that all tasks learned together, shortly (`meta.profile_epochs`); or the path or
    URI of a checkpoint of the network or of its trunk, which every node must reach."""
    layers: Literal["last", "all"] | list[str] = "last"
    """Shared parameters whose gradients are compared: last, the last layer of the trunk with a weight matrix; all; or
    names of modules and parameters, with wildcards. On four sets, all layers told known groups apart a little better
    than the last one (adjusted Rand index +0.00 to +0.03; jobs/bench/affinity_defaults.py); they cost next to nothing
    in an MLP, and some hundred times as much in a CNN."""
    normalize: bool = False
    """Whether each per-sample gradient is scaled to unit L1 norm, so that every sample counts the same. Without it,
    samples that are not learned yet count more, which told the tasks of CIFAR-100 apart better."""
    coordinates: Count | None = None
    """Number of random coordinates that estimate the distances in layers without a closed form, which is faster; the
    run prints the error of the estimate. By default all coordinates are compared."""
    precision: Literal["float32", "float64"] = "float32"
    """Precision of the gradients; their sums are in float64."""
    tag_every: Count = 10
    """Number of steps, in the trainings of tag, transfer_gain and etap, from one measurement of the tasks' effect on
    each other to the next."""
    grad_tag_dimension: Annotated[Count, since("0.2")] = 100
    """Number of random directions of the shared parameters in which grad_tag takes the network to be linear."""
    grad_tag_size: Annotated[Annotated[int, Field(ge=2)] | Auto, since("0.2")] = "auto"
    """Number of tasks in a random subset of grad_tag's; auto: the root of the number of all tasks, but at least 3."""
    grad_tag_meetings: Annotated[Count, since("0.2")] = 10
    """Number of grad_tag's subsets in which two tasks meet, on average."""
    grad_tag_ridge: Annotated[Positive, since("0.2")] = 1.0
    """Weight of the penalty on the steps of grad_tag, in units of the mean curvature of a subset's loss."""
    gpus: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a GPU for each actor, where there are GPUs; 0: all nodes use their CPUs only."""
    max_retries: Annotated[int, Field(ge=0)] = 3
    """Number of times that a part is computed again after its actor died."""

    @property
    def leaves_methods(self) -> bool:
        """Whether the methods are left to the tasks."""
        return self.methods == [AUTO]

    @property
    def starts_from_checkpoint(self) -> bool:
        """Whether gradients are taken at a checkpoint of the user's."""
        return self.start not in ("profiled", "initial", "meta")

    @property
    def has_one_head(self) -> bool:
        """Whether all tasks have the same head where gradients are taken, unless it is in a checkpoint."""
        return self.start in ("initial", "meta")

    @field_validator("layers")
    @classmethod
    def _some_layer(cls, layers: str | list[str]) -> str | list[str]:
        if not layers:
            raise ValueError("no layer is named: expected last, all, or names of modules and parameters")
        return layers

    @field_validator("methods", mode="before")
    @classmethod
    def _methods_by_name(cls, methods: Any) -> Any:
        methods = [AUTO] if methods == AUTO else methods
        return [AFFINITY_METHODS.name_of(method) for method in methods] if isinstance(methods, list) else methods

    @field_validator("methods")
    @classmethod
    def _some_method(cls, methods: list[str]) -> list[str]:
        if AUTO in methods and methods != [AUTO]:
            raise ValueError("auto stands for the methods that suit the tasks: give it alone, or name methods")
        return distinct(methods, "methods", may_be_empty=False)

    @model_validator(mode="after")
    def _coordinates_of_distances(self) -> AffinityConfig:
        if self.coordinates is not None and self.statistic == "sign":
            raise ValueError("affinity.coordinates estimates distances: the sign statistic takes every coordinate")
        return self


class Config(Section):
    """The configuration of a run. It is immutable; `load_config` makes one.

    Example:
        >>> from stg_ray import load_config
        >>> config = load_config("digits", ["profile.epochs=3"])
        >>> config.profile.epochs, config.model.trunk
        (3, 'mlp')
    """

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """Seed of everything that is drawn at random."""
    data: DataConfig
    """Source of the task set."""
    metric: Annotated[MetricConfig, since("0.2")] = MetricConfig()
    """The metric of each kind of task, which decides epochs and is what plans are compared by."""
    model: ModelConfig = ModelConfig()
    """The trunk that tasks share."""
    tune: Annotated[TuneConfig, since("0.2")] = TuneConfig()
    """The search for settings of the network of all tasks, which the profile and all plans then use."""
    profile: ProfileConfig = ProfileConfig()
    """The all-task run that records the data maps."""
    affinity: AffinityConfig = AffinityConfig()
    """The affinities of the tasks: how alike they are, by which methods."""
    grouping: GroupingConfig = GroupingConfig()
    """The grouping of the tasks by their affinities."""
    search: Annotated[SearchConfig, since("0.2")] = SearchConfig()
    """The search for groups by measuring, where `searched` is among `retrain.plans`."""
    meta: Annotated[MetaConfig, since("0.2")] = MetaConfig()
    """The networks of the plans as initialisations, where `retrain.learner` is maml, anil or reptile."""
    retrain: RetrainConfig = RetrainConfig()
    """The networks of the groups, and of the baselines that they are compared with."""

    @model_validator(mode="after")
    def _weights_of_methods(self) -> Config:
        if not self.affinity.leaves_methods:
            self.check_affinities()
        return self

    def check_affinities(self) -> None:
        """Check that the affinities have names of their own, and that weights are theirs.

        Raises:
            ValueError: a name stands twice, or weights name none of them, or are all zero.
        """
        names = [*self.affinity.methods, *self.grouping.files]
        distinct(names, "affinities (affinity.methods and grouping.files)", may_be_empty=False)
        stray = [name for name in self.grouping.weights if name not in names]
        if stray:
            raise ValueError(f"grouping.weights names {stray[0]!r}, which is not among affinity.methods")
        if all(self.grouping.weights.get(name, 1.0) == 0 for name in names):
            raise ValueError("grouping.weights are all zero: at least one affinity must count")

    @model_validator(mode="after")
    def _learner_alone(self) -> Config:
        check_learner(self)
        return self

    def to_yaml(self, *, hide_secrets: bool = False) -> str:
        """Return the configuration as YAML, with all keys.

        Args:
            hide_secrets: leave out values whose names say that they are secret, for whatever is shown to others.
        """
        values = self.model_dump()
        text: str = yaml.safe_dump(
            without_secrets(values) if hide_secrets else values, sort_keys=False, allow_unicode=True
        )
        return text

    def fingerprint(self, sections: Iterable[str]) -> str:
        """Hash some sections, without the keys `WHERE_IT_RUNS` (workers, restarts), which do not decide the results.

        Example:
            >>> from stg_ray import load_config
            >>> one, two = load_config("digits"), load_config("digits", ["profile.workers=2"])
            >>> one.fingerprint(["profile"]) == two.fingerprint(["profile"])
            True
        """
        covered = fingerprint_values(self, exclude=WHERE_IT_RUNS)
        values = {name: covered[name] for name in set(sections) & set(covered)}
        if "affinity" in values and self.affinity.start == "meta":
            values["of the meta-profile"] = [covered["meta"], of_initialisations(covered["retrain"])]
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)  # YAML has dates
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that a run of this configuration has: one whose switch is 0 is left out."""
        values = self.model_dump()
        return tuple(
            name for name, stage in STAGES.items() if stage.switch is None or values[stage.switch[0]][stage.switch[1]]
        )

    @property
    def has_auto(self) -> bool:
        """Whether a setting still depends on the trunk, or on the devices that train."""
        return any(getattr(getattr(self, name), key) == "auto" for name, keys in RESOLVED.items() for key in keys)

    def resolved_as(self, other: Config) -> Config:
        """Return this configuration, with the `auto` of `RESOLVED` replaced by the values in another one.

        Epochs that this one leaves to the default are those of a run that version 0.1 began with its default.
        """
        sections: dict[str, Section] = {}
        if self.affinity.leaves_methods:
            sections["affinity"] = self.affinity.model_copy(update={"methods": other.affinity.methods})
        for name, keys in RESOLVED.items():
            mine, theirs = getattr(self, name), getattr(other, name)
            resolved = {key: getattr(theirs, key) for key in keys if getattr(mine, key) == "auto"}
            is_training = name in TRAININGS
            if is_training and "epochs" not in mine.model_fields_set and theirs.epochs == EPOCHS_OF_0_1:
                resolved["epochs"] = theirs.epochs
            sections[name] = mine.model_copy(update=resolved)
        return self.model_copy(update=sections)

    def differences(self, other: Config, sections: Iterable[str] | None = None) -> list[str]:
        """List the settings that `fingerprint` covers and that differ, as `section.key is OLD, now NEW`.

        Args:
            other: with the new values.
            sections: those that are compared; by default all.

        Example:
            >>> from stg_ray import load_config
            >>> load_config("digits").differences(load_config("digits", ["profile.lr=0.01"]))
            ['profile.lr is 0.005, now 0.01']
        """
        chosen = list(type(self).model_fields) if sections is None else list(sections)
        lines: list[str] = []
        for section in (name for name in chosen if self.fingerprint([name]) != other.fingerprint([name])):
            before, now = (each.model_dump(include={section})[section] for each in (self, other))
            if isinstance(before, dict):
                before, now = ({k: v for k, v in each.items() if k not in WHERE_IT_RUNS} for each in (before, now))
            lines += differences_of(section, before, now)
        return lines
