"""How long each stage of a job takes on W workers: a model, from costs that `jobs.bench.scaling` measures.

Every stage is divided among workers as far as its units allow, and is never faster than what the driver does for each
unit, one after the other:

    profile    epochs x (rows of the worker with most parts x seconds of a row + steps x seconds of an all-reduce);
               there are as many steps whatever the workers, which share each batch
    affinity   max(rounds of parts x seconds of a part, parts x driver) + parts x (a + b K^2)
    group      the driver alone
    search     for each round: max(rounds of networks x seconds of a network, networks x driver) + its proposals
    networks   max(rounds of networks x seconds of a network, networks x driver); with as many workers each as there
               are (`retrain.workers`), their epochs are as fast as the profile's

where "rounds" are units divided by workers, rounded up. Each stage begins with a start, whatever the workers.

Assumptions: units of a stage take equally long; the storage gives all workers what one gets; nodes cost the driver what
they cost on one machine (a network adds latency, which overlaps, not work); workers are of one speed, one network or
part each. Gradients are reduced in a ring: 2 (W - 1) / W times their bytes by the bandwidth, and 2 (W - 1) latencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BANDWIDTH, LATENCY = 1.25e9, 5e-5
"""Bytes and seconds of the network between nodes: 10 Gbit/s, and what TCP takes in a data centre."""


@dataclass(frozen=True)
class Costs:
    """Seconds that a cluster costs, as measured.

    Attributes:
        start: until the workers of a stage work.
        part: the driver's own of a part.
        adding: (a, b) seconds of adding the sums of a part, a + b K^2.
        trial: the driver's own of a network.
        grouping: (c, p) of the groups of K tasks, c K^p.
        proposals: (c, p) of what a search of K tasks computes between its rounds, c K^p.
    """

    start: float
    part: float
    adding: tuple[float, float]
    trial: float
    grouping: tuple[float, float]
    proposals: tuple[float, float]

    def of_part(self, n_tasks: int) -> float:
        """Return the driver's seconds of a part, the addition of its sums included."""
        return self.part + max(0.0, self.adding[0] + self.adding[1] * n_tasks**2)


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        tasks: K.
        rows: training rows.
        parts: into which they are laid out.
        parameters: of the network of all tasks.
        row: seconds of a training step, of a row.
        part: seconds of the affinities, of a part.
        epochs: of a training.
        batch: rows of a step, over all workers of the network.
        rounds: of the search.
        searched: networks of the search, of `search_epochs` each.
        search_epochs: of each of them.
        networks: of the plans.
    """

    tasks: int
    rows: int
    parts: int
    parameters: int
    row: float
    part: float
    epochs: int = 20
    batch: int = 64
    rounds: int = 5
    searched: int = 120
    search_epochs: int = 3
    networks: int = 60


@dataclass(frozen=True)
class Stage:
    """The seconds of a stage on so many workers, and what keeps it from being faster."""

    seconds: float
    limit: str


def stages(job: Job, costs: Costs, workers: int) -> dict[str, Stage]:
    """Return the seconds of each stage of a job on so many workers, and what keeps it from being faster."""
    return {
        "profile": _profile(job, costs, workers),
        "affinity": _affinity(job, costs, workers),
        "group": Stage(power(costs.grouping, job.tasks), "the driver"),
        "search": _search(job, costs, workers),
        "networks": _networks(job, costs, workers, 1),
        "networks of several workers": _networks(job, costs, workers, max(1, workers // job.networks)),
    }


def power(law: tuple[float, float], value: float) -> float:
    """Return c x^p."""
    return float(law[0] * value ** law[1])


def all_reduce(parameters: int, workers: int) -> float:
    """Return the seconds in which gradients are reduced in a ring."""
    return 2 * (workers - 1) * (4 * parameters / workers / BANDWIDTH + LATENCY)


def fastest_epoch(job: Job, workers: int) -> tuple[float, int, str]:
    """Return the seconds of an epoch on the number of workers that is the fastest, that number, and the limit."""

    def epoch(n: int) -> float:
        rows = math.ceil(job.parts / n) * job.rows / job.parts
        return rows * job.row + math.ceil(job.rows / job.batch) * all_reduce(job.parameters, n)

    most = min(workers, job.parts, job.batch)
    best = min((2**i for i in range(int(math.log2(most)) + 1)), key=epoch)
    limit = "the parts" if best == job.parts < job.batch else "the exchange of gradients"
    return epoch(best), best, "the workers" if best == workers else limit


def _profile(job: Job, costs: Costs, workers: int) -> Stage:
    epoch, _, limit = fastest_epoch(job, workers)
    return Stage(costs.start + job.epochs * epoch, limit)


def _affinity(job: Job, costs: Costs, workers: int) -> Stage:
    shared, limit = _shared(job.parts, job.part, costs.part, workers, "the parts")
    adding = job.parts * (costs.of_part(job.tasks) - costs.part)
    limit = "the driver, which adds" if adding > shared else limit
    return Stage(costs.start + shared + adding, limit)


def _search(job: Job, costs: Costs, workers: int) -> Stage:
    seconds, proposals = job.search_epochs * job.rows * job.row, power(costs.proposals, job.tasks)
    of_round, limit = _shared(job.searched // job.rounds, seconds, costs.trial, workers, "the networks of a round")
    limit = "the driver, which proposes" if proposals > job.rounds * of_round else limit
    return Stage(job.rounds * (costs.start + of_round) + proposals, limit)


def _networks(job: Job, costs: Costs, workers: int, each: int) -> Stage:
    """Networks of up to `each` workers."""
    epoch, each, of_epoch = fastest_epoch(job, each)
    seconds = job.epochs * epoch
    shared, limit = _shared(job.networks, seconds, costs.trial, workers // each, "the number of networks")
    limit = of_epoch if each > 1 and of_epoch != "the workers" else limit
    return Stage(costs.start + shared, limit)


def _shared(units: int, seconds: float, driver: float, workers: int, name: str) -> tuple[float, str]:
    """Return the seconds of units that workers share, and what keeps them from being fewer."""
    shared, own = math.ceil(units / workers) * seconds, units * driver
    if own > shared:
        return own, "the driver"
    return shared, "the workers" if workers < units else name
