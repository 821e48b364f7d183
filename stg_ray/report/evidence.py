"""What a run left, read on demand: the source of the page and of the figures."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir, network_place
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.config.plans import TrainedPlan, trained_plans
from stg_ray.report.summary import Summary, summarize

REGIONS = ("easy", "ambiguous", "hard_to_learn")
"""Columns of the shares of a data map's regions."""


class Evidence:
    """The artifacts of a run's stages; each is None where the run has none.

    Args:
        run: the run directory.
        config: of the run, as its stages had it.
    """

    def __init__(self, run: RunDir, config: Config) -> None:
        self.run, self.config = run, config

    @cached_property
    def summary(self) -> Summary:
        """The comparison of the plans."""
        return summarize(self.run, self.config)

    @property
    def groups(self) -> Groups:
        """Groups of the run."""
        return self.summary.groups

    @cached_property
    def order(self) -> np.ndarray:
        """(K,) indices of the tasks, group by group, those that belong to it most first."""
        membership = np.array(self.groups.membership)[np.arange(len(self.groups.tasks)), self.groups.labels]
        return np.lexsort((-membership, self.groups.labels))

    @cached_property
    def centres(self) -> list[str]:
        """Task by which each group is named: that with the largest membership, and of these the most certain."""
        labels, certainty = self.groups.labels, self.groups.certainty or {}
        centres: dict[int, tuple[float, float, str]] = {}
        for t, (name, g) in enumerate(zip(self.groups.tasks, labels.tolist(), strict=True)):
            candidate = (self.groups.membership[t][g], certainty.get(name, 0.0), name)
            if g not in centres or candidate[:2] > centres[g][:2]:
                centres[g] = candidate
        return [centres[g][2] if g in centres else f"group {g}" for g in range(len(self.groups.groups))]

    @cached_property
    def plans(self) -> dict[str, TrainedPlan]:
        """Plans that the configuration trains, by name."""
        return dict(trained_plans(self.config.retrain))

    @cached_property
    def chosen(self) -> dict[str, Any] | None:
        """What to deploy (chosen.json)."""
        return self._json("chosen.json")

    @cached_property
    def matrices(self) -> dict[str, TaskMatrix]:
        """Affinities by their methods."""
        return {
            name: TaskMatrix.from_table(self.run.read_parquet(f"affinity/{name}.parquet"))
            for name in self.config.affinity.methods
        }

    @cached_property
    def regions(self) -> pd.DataFrame | None:
        """Shares of the data map's regions, a row for each task, NaN where it has no data map; None where none has."""
        table = self._table("profile/regions.parquet")
        if table is None or not (has_map := table["samples"] > 0).any():
            return None
        # Earlier versions wrote zeros.
        return table.assign(**{region: table[region].where(has_map) for region in REGIONS})

    @cached_property
    def suspects(self) -> pd.DataFrame | None:
        """Samples whose labels the network came to believe least."""
        return self._table("profile/suspects.parquet")

    @cached_property
    def points(self) -> np.ndarray | None:
        """(K, B, B) numbers of samples by confidence and by variability; None in runs of version 0.1."""
        return (
            self.run.read_arrays("profile/points.arrow")["counts"] if self.run.exists("profile/points.arrow") else None
        )

    @cached_property
    def epochs(self) -> pd.DataFrame | None:
        """Loss and confidence of every task in every epoch of the profile."""
        return self._table("profile/metrics.parquet")

    @cached_property
    def results(self) -> pd.DataFrame:
        """Metrics of every task in every plan and training."""
        table: pd.DataFrame = self.run.read_parquet("results.parquet").to_pandas()
        return table

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Cost and seconds of the networks of every plan."""
        table: pd.DataFrame = self.run.read_parquet("costs.parquet").to_pandas()
        return table

    @property
    def trainings(self) -> pd.DataFrame:
        """Cost and seconds of every network, once where several plans have it; runs of version 0.1 do not tell."""
        return self.costs.drop_duplicates("network") if "network" in self.costs else self.costs

    @cached_property
    def networks(self) -> list[tuple[TrainedPlan, int, dict[str, Any]]]:
        """The plan, the group and network.json of the networks of each plan's first training and draw."""
        first: dict[tuple[str, int], str] = {}
        for plan, group, seed in self.costs[["plan", "group", "seed"]].itertuples(index=False, name=None):
            first.setdefault((self.plans[plan].of_all_draws.name, group), network_place(plan, group, seed))
        of_all_draws = {plan.of_all_draws.name: plan.of_all_draws for plan in self.plans.values()}
        files = {key: f"{folder}/network.json" for key, folder in first.items()}
        return [(of_all_draws[plan], group, self.run.read_json(file)) for (plan, group), file in files.items()
                if self.run.exists(file)]  # fmt: skip

    def _json(self, file: str) -> dict[str, Any] | None:
        return self.run.read_json(file) if self.run.exists(file) else None

    def _table(self, file: str) -> pd.DataFrame | None:
        return self.run.read_parquet(file).to_pandas() if self.run.exists(file) else None
