"""The time until a run is over, while it goes on: from the pace of its profile, once there is one.

That is the time of its epochs alone, once one is over: what Ray Train does between them takes longer than a short
epoch where the machine is busy, and is no part of other trainings. Nor do networks that have a thread each wait as the
profile's threads do, of which the slowest sets the pace.

Nothing is measured for it but one score, so it costs no time at the start; `stg-ray plan`, which runs nothing, trains
for a moment instead. Networks of few tasks are taken to be as slow as the profiled one of all: the estimate is rather
too high than too low, and falls. Once the networks train, their own pace tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.cluster.nodes import cluster_nodes
from stg_ray.cluster.placement import place, place_trials
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.planning.networks import distinct_networks, epochs_at_most, expected_networks
from stg_ray.planning.rough import BACKWARD, affinity_seconds, grouping_seconds, report_seconds
from stg_ray.planning.timing import Pace, seconds_of_score, seconds_of_starts, seconds_of_trials
from stg_ray.profiling.stage import place_profile, threads_of_a_worker
from stg_ray.progress import Left, Standing
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.stages import STAGES
from stg_ray.training.looks import share_with_looks

WITHOUT_A_PACE = ("parts", "tune")
"""Stages before the profile: nothing tells yet how long a training takes."""


class Ahead:
    """The time that is left of a run, over the stages that it has still to do.

    Args:
        run: its parts are laid out, and its configuration is settled, before anything is estimated.
        stages: names of the stages that are to be done, in their order.
    """

    def __init__(self, run: RunDir, stages: Sequence[str]) -> None:
        self.run, self.stages = run, list(stages)
        self.stage = ""
        self.expected: dict[str, float] = {}

    def __call__(self, now: Standing) -> Left | None:
        """Return the time that is left in all; None where it is not known."""
        if now.stage in WITHOUT_A_PACE or now.stage not in STAGES:
            return None
        if self.config.retrain.learner != "joint":  # the profile's pace is none of episodes
            return None
        if now.stage == "profile":
            if now.work is None:
                return None
            epochs = epochs_at_most(self.config.profile, self.index)
            self.expected = self._expected(now.stage, epochs, self._profiled(now.work / epochs)[1:])
        elif now.stage != self.stage:
            epochs, *seconds = self._profiled()
            self.expected = self._expected(now.stage, epochs, seconds)
        self.stage = now.stage
        if not self.expected:
            return None
        here = now.left
        if here is None or now.has_more or (now.stage == "retrain" and self._trains_in_parts):
            rest = self.expected[now.stage] - now.spent
            if rest <= 0:  # it takes longer than was thought, and its own pace is not known
                return None
            here = max(here or 0.0, rest)
        later = self.stages[self.stages.index(now.stage) + 1 :]
        return Left(here + sum(self.expected[name] for name in later), is_bound=self._is_bound(now.stage))

    @cached_property
    def config(self) -> Config:
        """The configuration, once all that is `auto` is decided."""
        return as_tuned(self.run, self.run.read_config())

    @cached_property
    def index(self) -> PartIndex:
        """The index of the task set's parts."""
        return read_index(self.run.sub("parts"))

    @cached_property
    def _score(self) -> float:
        """Seconds of a task's score on the validation rows; one is measured, on noise."""
        return seconds_of_score(self.index.tasks[0], self.index.n_samples("val"), self.config.metric, 0.0)

    def _profiled(self, before: float = math.nan) -> tuple[int, float, float]:
        """Return the number of epochs of the profile so far, and the seconds and CPU seconds of one, without the first
        one's start of processes; NaN for what is not known.

        Args:
            before: seconds of one as long as none is over.
        """
        try:
            table = self.run.read_parquet("profile/metrics.parquet").to_pandas()
        except OSError:  # none is over, or a storage that fails once
            return 0, before, math.nan
        epochs = table.groupby("epoch").first()
        cpu = epochs["cpu_seconds"].median() if "cpu_seconds" in epochs else math.nan  # version 0.1 did not measure it
        return len(epochs), float(epochs["seconds"].median()), float(cpu)

    def _expected(self, stage: str, epochs: int, of_epoch: Sequence[float]) -> dict[str, float]:
        """Seconds of the stages from the affinities on, from seconds and CPU seconds of an epoch of the profile.

        None while a cluster has no CPUs, or those are not known.
        """
        seconds, cpu_seconds = of_epoch
        config, index = self.config, self.index
        nodes = [node for node in cluster_nodes() if node.get("CPU", 0) >= 1]
        if not nodes or math.isnan(seconds):
            return {}
        workers, of_profile = place_profile(config, index, nodes)
        on_cpus = "GPU" not in of_profile.resources
        threads = threads_of_a_worker(config, index, workers, of_profile) if on_cpus else 1
        per_network, of_trials = place_trials(nodes, config.retrain.workers, config.retrain.gpu_share)
        of_thread = thread_seconds(seconds, cpu_seconds, threads)
        step = of_thread * workers / index.n_samples() / share_with_looks(config.profile, len(index.names))
        pace = Pace(len(index.names), (step, step), (step * (1 - BACKWARD),) * 2, self._score)
        at_once = place(nodes, config.affinity.gpus).at_once
        networks = self._networks_of_groups if stage == "retrain" else self._networks_at_most
        trainings = seconds_of_trials(networks, pace, index, of_trials.at_once, config, per_network)
        return {
            "affinity": affinity_seconds(config, index, pace, epochs * seconds, at_once),
            "group": grouping_seconds(len(index.names)),
            "retrain": seconds_of_starts(config) + trainings,
            "report": report_seconds(len(index.names)),
        }

    @cached_property
    def _networks_at_most(self) -> list[NetworkSpec]:
        """The networks before the groups are known."""
        return distinct_networks(*expected_networks(self.config, self.index))

    @cached_property
    def _networks_of_groups(self) -> list[NetworkSpec]:
        """The networks once the groups are known."""
        ours = Groups.from_dict(self.run.read_json("groups.json"))
        return distinct_networks(*expected_networks(self.config, self.index, ours))

    @property
    def _trains_in_parts(self) -> bool:
        """Whether some networks are trained after others, whose progress tells nothing of theirs."""
        return "searched" in self.config.retrain.plans or self.config.retrain.epochs == "auto"

    def _is_bound(self, stage: str) -> bool:
        """Whether less may have to be done: lengths, or the number of groups, are still to be found."""
        lengths = [self.config.retrain.epochs] + [self.config.profile.epochs] * (stage == "profile")
        return "auto" in lengths or (self.config.grouping.groups == "auto" and stage in ("profile", "affinity"))


def thread_seconds(seconds: float, cpu_seconds: float, threads: int) -> float:
    """Return the seconds in which one thread does what some threads did together.

    That is their CPU time. Where others use the CPUs too, one thread waits for them as well, but not for other threads:
    it is at least an equal share of the time that they took. With two threads on two cores and 18 processes that wanted
    them, steps of a small CNN took 13 s with 3.1 s of CPU time, and 2.4 to 3.4 s with one thread.

    Args:
        seconds: that they took.
        cpu_seconds: NaN if not known.

    Example:
        >>> thread_seconds(10.0, 20.0, threads=2), thread_seconds(13.0, 3.1, threads=2)
        (20.0, 6.5)
    """
    if threads == 1 or math.isnan(cpu_seconds):
        return seconds * threads
    return max(cpu_seconds, seconds / threads)
