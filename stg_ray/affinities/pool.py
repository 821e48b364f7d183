"""Pool of the actors that share the units of work: as many as there is room for, also when nodes come and go."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from stg_ray.affinities.actor import AffinityActor
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.calls import LOOK_SECONDS, POLL_SECONDS, check_own_node, root_cause
from stg_ray.cluster.nodes import ask_autoscaler, cluster_nodes
from stg_ray.cluster.placement import Placement, place
from stg_ray.cluster.telemetry import set_gauge
from stg_ray.config import Config
from stg_ray.errors import InputError, StgRayError
from stg_ray.progress import StageProgress
from stg_ray.shown import counted

Job = tuple[str, int]
"""A unit of work: the method, and the number of its unit."""


class ActorPool:
    """Actors that compute units, each on one CPU (and a part of a GPU where there are any).

    Nothing is started before there is something to do. An actor gets its first unit when it is up, so that one that the
    cluster has no room for holds nothing back; and it is let go when there is nothing left for it, so that one that
    replaces an actor which died finds room.

    Args:
        run: the run directory.
        config: of the run.
        weights: of the network at which tasks are compared; in the object store once, whatever the number of actors.
        progress: of the stage.

    Attributes:
        actors: handles of those that were started and not let go.
        flying: for each call that has not ended, its actor and unit (None: the actor is coming up).
        waiting: units that no actor has, the next one last.
        deaths: how often an actor died, by the unit that it had.
    """

    def __init__(
        self, run: RunDir, config: Config, weights: Mapping[str, torch.Tensor] | None, progress: StageProgress
    ) -> None:
        self.run, self.config, self.progress = run, config, progress
        self.weights = weights
        self.reference: list[Any] = []
        self.actors: list[Any] = []
        self.n_started = 0
        self.placed: Placement | None = None
        self.looked = 0.0
        self.flying: dict[Any, tuple[Any, Job | None]] = {}
        self.waiting: list[Job] = []
        self.deaths: Counter[Job | None] = Counter()

    def __enter__(self) -> ActorPool:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for actor in self.actors:
            ray.kill(actor)
        with suppress(Exception):  # the cluster may be what has failed
            ask_autoscaler({}, 0)  # also what a driver that was killed has asked for

    def compute(self, jobs: Sequence[Job], done: int, total: int) -> None:
        """Compute units; each is kept, by the actor itself, as soon as it is there.

        Args:
            jobs: the units.
            done: units of the whole stage that are there already, for the progress.
            total: units of the whole stage.

        Raises:
            StgRayError: a unit failed more often than `affinity.max_retries` allows.
        """
        import ray

        self.waiting = list(reversed(jobs))
        self.deaths.clear()
        left, before = len(jobs), done
        if left:
            placement = self.placement()
            if placement.instead:
                self.progress.note(placement.instead)
            # Actors are started where there is room: an autoscaler would never hear of the others.
            ask_autoscaler(placement.resources, left)
        while left:
            self._grow(min(self.placement().at_once, left))
            ready, _ = ray.wait(list(self.flying), num_returns=1, timeout=POLL_SECONDS)
            for reference in ready:
                if self._ended_with_sums(reference):
                    left -= 1
                    done += 1
            if done == before:
                self.progress.waits_for(f"room for an actor ({self.placement().each})")
            set_gauge(self.run, "affinity", "parts_done", done)
            self.progress.update(done, total, f"units on {counted(len(self.actors), 'actor')}")

    def _ended_with_sums(self, reference: Any) -> bool:
        """Look at a call that has ended and give its actor the next unit, or let the actor go.

        Returns:
            Whether a unit's sums are there now: not so if the actor just came up, or died.
        """
        import ray

        actor, job = self.flying.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            self.deaths[job] += 1
            self._check(error, job, self.deaths[job])
            self._let_go(actor)
            self.waiting += [job] if job else []
            return False
        if self.waiting:
            following = self.waiting.pop()
            self.flying[actor.partial.remote(*following, self.reference)] = (actor, following)
        else:
            self._let_go(actor)
        return job is not None

    def _check(self, error: Exception, job: Job | None, n_deaths: int) -> None:
        """Raise unless an actor died, with its node or alone, and its work may be tried again.

        Ray's own retries are over before it knows that a node is gone: the unit goes to another actor instead.
        """
        import ray

        if isinstance(getattr(error, "cause", None), InputError):
            raise error.cause from error  # type: ignore[attr-defined]
        retries = self.config.affinity.max_retries * (1 if job else self.placement().at_once)
        if isinstance(error, ray.exceptions.RayTaskError) or n_deaths > retries:
            what = f"{job[0]} failed on unit {job[1]}" if job else "could not start an actor"
            raise StgRayError(f"the affinity stage: {what}: {root_cause(error)}") from error

    def _let_go(self, actor: Any) -> None:
        import ray

        ray.kill(actor)
        self.actors.remove(actor)

    def placement(self) -> Placement:
        """Return where actors fit, as seen within the last second: asking all nodes takes longer than a unit may.

        Raises:
            StgRayError: there never was a node that works.
        """
        if self.placed is None or time.monotonic() - self.looked > LOOK_SECONDS:
            check_own_node()
            try:
                self.placed = place(cluster_nodes(), self.config.affinity.gpus)
            except StgRayError:  # all nodes that work are gone, perhaps until the autoscaler has others
                if self.placed is None:
                    raise
            self.looked = time.monotonic()
        return self.placed

    def _grow(self, n_actors: int) -> None:
        """Start actors up to a number of them: at first, and when nodes have joined."""
        import ray

        missing = n_actors - len(self.actors)
        if missing <= 0:
            return
        if self.weights is not None and not self.reference:
            # In a list the reference is passed on, not its value, which an actor looks up once.
            self.reference = [ray.put(self.weights)]
        resources = self.placement().resources
        actors = ray.remote(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0))(AffinityActor)
        for _ in range(missing):
            self.n_started += 1
            named = actors.options(name=f"affinity {self.n_started}")
            actor = named.remote(self.run.uri, self.config.model_dump(), os.getcwd())
            self.actors.append(actor)
            self.flying[actor.up.remote()] = (actor, None)
