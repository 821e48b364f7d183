"""The limits of a run: what keeps its groups or its comparison from being trusted, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir, network_place
from stg_ray.config import Config
from stg_ray.config.plans import plan_of_name
from stg_ray.data.parts import PartIndex
from stg_ray.report.comparison import Difference
from stg_ray.tasks.rare import first_names
from stg_ray.training.length import LENGTH

LEAST_STEPS = 300
"""Training steps below which a network is taken for hardly trained (on 650 rows, 66 steps reached a mean average
precision of 0.14, and training until the score on validation rows stops improving 0.50: guides/length.md)."""
LEAST_CERTAINTY = 0.6
"""Mean certainty of a group's tasks below which the group is doubtful."""
LEAST_COMMON_SHARE = 0.3
"""Share of common samples below which affinities at shared samples are noise (arXiv 2604.07848)."""
LEAST_POSITIVES = 10
"""Test labels of a task's rarer classes below which its score is decided by a few rows."""
MOST_REPEATED = 0.01
"""Share of the test rows that may have the inputs of a training row."""
SHOWN = 3
"""Tasks or groups that a line names."""


@dataclass(frozen=True)
class Limit:
    """A limit of a run.

    Attributes:
        found: what was seen, and what it means.
        advice: what to do about it.
    """

    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}: {self.advice}"


def limits_of(
    run: RunDir, config: Config, index: PartIndex, groups: Groups, against: dict[str, Difference]
) -> list[Limit]:
    """Return the limits of a run by its artifacts, those of the comparison first."""
    return [
        *_of_trainings(against),
        *_of_length(run, config, index),
        *_of_plateaus(run, config),
        *_of_repeated_rows(index),
        *_of_test_rows(index),
        *_of_affinities(run, config, index),
        *_of_groups(groups),
    ]


def _of_trainings(against: dict[str, Difference]) -> Iterator[Limit]:
    if against and not all(d.is_known for d in against.values()):
        yield Limit(
            "plans were trained too few times to tell a difference from the noise of training",
            "set retrain.seeds=3 or more",
        )


def _of_length(run: RunDir, config: Config, index: PartIndex) -> Iterator[Limit]:
    steps = {"retrain": _steps_of_networks(run, config, index)}
    if _rests_on_profile(config):
        steps["profile"] = _steps_of_profile(run, config, index)
    for section, n in steps.items():
        if n is not None and n < LEAST_STEPS:
            what = "the networks were" if section == "retrain" else "the profiled network was"
            yield Limit(
                f"{what} trained for {n:,} steps, which may be too few",
                f"raise {section}.epochs, or {_key_of_steps(config, section)}",
            )


def _of_plateaus(run: RunDir, config: Config) -> Iterator[Limit]:
    """Trainings of `epochs: auto` that their bound ended while the score on validation rows still rose."""
    if _rests_on_profile(config) and run.exists(LENGTH) and run.read_json(LENGTH)["ended"] == "max_epochs":
        yield Limit(
            "the score of the profiled network on validation rows still rose when profile.max_epochs ended it",
            f"set profile.max_epochs={2 * config.profile.max_epochs}",
        )
    # Draws of random groups are one plan, as in the tables.
    ended = [(plan_of_name(plan).of_all_draws, network.get("ended")) for plan, network in _first_networks(run).items()]
    if n := len({plan for plan, how in ended if how == "max_epochs"}):
        n_plans = len({plan for plan, _ in ended})
        yield Limit(
            f"networks of {n} of {n_plans} plans still became better on validation rows when retrain.max_epochs "
            "ended them",
            f"set retrain.max_epochs={2 * config.retrain.max_epochs}",
        )


def _rests_on_profile(config: Config) -> bool:
    """Whether groups or networks may owe something to the profiled network.

    They do not where the landscape compares tasks elsewhere, and initialisations are learned, from scratch.
    """
    elsewhere = config.affinity.start in ("initial", "meta") and config.affinity.methods == ["landscape"]
    return config.retrain.learner == "joint" or not elsewhere


def _steps_of_networks(run: RunDir, config: Config, index: PartIndex) -> int | None:
    """Return the fewest steps of the plans' first networks; None where none is there."""
    epochs = [network["epochs"] for network in _first_networks(run).values()]
    of_epoch = _steps_of_epoch(index, config.retrain.batch_size)
    if config.retrain.learner != "joint":
        of_epoch = config.meta.steps_per_epoch
    return min(epochs) * of_epoch if epochs else None


def _key_of_steps(config: Config, section: str) -> str:
    """What makes an epoch of more steps."""
    joint = section == "profile" or config.retrain.learner == "joint"
    return f"lower {section}.batch_size" if joint else "meta.steps_per_epoch"


def _first_networks(run: RunDir) -> dict[str, dict[str, Any]]:
    """Return the network.json of each plan's and draw's first network, where it is there."""
    networks = run.read_parquet("costs.parquet").select(["plan", "group", "seed"]).to_pylist()
    first = {network["plan"]: network_place(**network) for network in reversed(networks)}
    files = {plan: f"{folder}/network.json" for plan, folder in first.items()}
    return {plan: run.read_json(file) for plan, file in files.items() if run.exists(file)}


def _steps_of_profile(run: RunDir, config: Config, index: PartIndex) -> int | None:
    if not run.exists("profile/metrics.parquet"):
        return None
    epochs = run.read_parquet("profile/metrics.parquet").column("epoch").to_numpy().max()
    return int(epochs) * _steps_of_epoch(index, config.profile.batch_size)


def _steps_of_epoch(index: PartIndex, batch_size: int) -> int:
    return -(-index.n_samples("train") // batch_size)


def _of_repeated_rows(index: PartIndex) -> Iterator[Limit]:
    if index.repeated_share is not None and index.repeated_share > MOST_REPEATED:
        yield Limit(
            f"{index.repeated_share:.0%} of the test rows have the inputs of a training row, so that scores say less "
            "of rows that were never seen",
            "remove rows that are there twice, or give a split that keeps them together",
        )


def _of_test_rows(index: PartIndex) -> Iterator[Limit]:
    if index.rarer_in_test is None:
        return
    few = [
        f"{task.name!r}: {count}"
        for task, count in zip(index.tasks, index.rarer_in_test, strict=True)
        if count < LEAST_POSITIVES and task.is_scored
    ]
    if few:
        yield Limit(
            f"a few test rows decide the scores of {len(few):,} of {len(index.tasks):,} tasks, which have fewer than "
            f"{LEAST_POSITIVES} labels of their rarer classes there ({first_names(few, SHOWN)})",
            f"data.min_positives={LEAST_POSITIVES} with data.constant_tasks=unscored leaves them out of the means",
        )


def _of_affinities(run: RunDir, config: Config, index: PartIndex) -> Iterator[Limit]:
    if run.exists("affinity/limits.json"):
        for found, advice in run.read_json("affinity/limits.json"):
            yield Limit(found, advice)
    share = index.common_share
    if share is not None and share < LEAST_COMMON_SHARE and config.affinity.methods != ["landscape"]:
        yield Limit(
            f"two tasks share {share:.0%} of the samples of the smaller one (median), too few to compare them at",
            "affinity.methods=[landscape] with affinity.statistic=sign or pooled needs no common samples",
        )


def _of_groups(groups: Groups) -> Iterator[Limit]:
    if groups.certainty:
        of_groups = {g: groups.mean_certainty(g) for g in range(len(groups.groups))}
        doubtful = [
            f"{g} ({share:.0%})" for g, share in of_groups.items() if share is not None and share < LEAST_CERTAINTY
        ]
        if doubtful and len(groups.groups) > 1:
            yield Limit(
                "tasks of some groups are often elsewhere when samples are drawn anew; certainty: "
                f"{first_names(doubtful, SHOWN)}",
                "compare more samples (affinity.samples), or ask for fewer groups (grouping.groups)",
            )
    choice = groups.number_choice
    if choice is not None and len(choice.curve) > 1 and len(groups.groups) == max(choice.curve):
        yield Limit(
            f"the number of groups, {len(groups.groups)}, is the largest that was looked at",
            f"set grouping.max_groups={2 * len(groups.groups)}, or grouping.groups",
        )
