"""The plan `greedy`: an ensemble of networks of the other plans, selected on validation rows.

Forward selection with replacement (Caruana et al. 2004, Ensemble selection from libraries of models, section 2): begin
with the best plan, or the best network of all tasks, that keeps to the number of networks to serve; then add, again and
again, the network that raises the mean score most, one that is in already with more weight, until none does. A task is
predicted by the mean of the outputs of those that have it. All trainings of a network count together, so that the same
networks are selected in each of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config, MetricConfig
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.models import OutputLayout
from stg_ray.retraining.held_out import HeldOut, halves
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.scoring import Scores
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.tasks import Task, observed
from stg_ray.training.metrics import all_scores, primary_score

LEAST_GAIN = 1e-6
"""Mean score by which a network must raise that of the ensemble."""
MOST_STEPS = 3
"""Steps of the selection, in units of the number of networks to serve."""


@dataclass(frozen=True)
class Slot:
    """A network of a plan, in all its trainings.

    Attributes:
        tasks: numbers of its tasks.
        specs: of its trainings, one for each seed.
    """

    tasks: tuple[int, ...]
    specs: tuple[NetworkSpec, ...]


class Library:
    """The outputs of networks on validation rows, and the scores of their ensembles.

    Args:
        tasks: all K tasks.
        labels: of each of S trainings, (N, K) as stored.
        positions: of each training, (N,) of the rows among its validation rows, by which they belong to a half.
        members: numbers of the tasks of each of L networks.
        outputs: of each network, (N, O) logits of its tasks, in each training; read one network at a time.
        metric: by which tasks are compared.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        labels: Sequence[np.ndarray],
        positions: Sequence[np.ndarray],
        members: Sequence[Sequence[int]],
        outputs: Iterable[Sequence[np.ndarray]],
        metric: MetricConfig,
    ) -> None:
        self.tasks, self.members, self.metric, self.positions = tasks, members, metric, positions
        self.rows = [[np.flatnonzero(observed(own[:, t])) for own in labels] for t in range(len(tasks))]
        """Of each task, the (n,) rows of each training that have a label for it."""
        self.labels = [
            [own[rows, t] for own, rows in zip(labels, self.rows[t], strict=True)] for t in range(len(tasks))
        ]
        self.layouts = [OutputLayout([task]) for task in tasks]
        self.n_trainings = len(labels)
        self.of_task: list[dict[int, list[np.ndarray]]] = [{} for _ in tasks]
        """Of each task, by network, the (n, o) outputs on its rows in each training."""
        for network, (own, trainings) in enumerate(zip(members, outputs, strict=True)):
            columns = OutputLayout([tasks[t] for t in own]).columns
            for t, of_own in zip(own, columns, strict=True):
                own_rows = zip(trainings, self.rows[t], strict=True)
                self.of_task[t][network] = [values[rows][:, of_own] for values, rows in own_rows]

    def predictions(self, task: int, counts: np.ndarray) -> list[np.ndarray]:
        """Return a task's predictions on its n rows in each training, by the networks with these counts (L,)."""
        weights = {network: counts[network] for network in self.of_task[task] if counts[network]}
        total = sum(weights.values())
        found = []
        for s in range(self.n_trainings if weights else 0):
            outputs = sum(weight * self.of_task[task][network][s] for network, weight in weights.items()) / total
            found.append(self.layouts[task].predictions(torch.from_numpy(np.asarray(outputs, dtype=np.float32)))[0])
        return [prediction.numpy() for prediction in found]

    def score(self, task: int, counts: np.ndarray) -> float:
        """Return a task's score, the mean over trainings, by the networks with these counts (L,); NaN without any."""
        predictions = self.predictions(task, counts)
        if not predictions:
            return float("nan")
        pairs = zip(predictions, self.labels[task], strict=True)
        scores = [primary_score(self.tasks[task], prediction, labels, self.metric) for prediction, labels in pairs]
        known = [score for score in scores if np.isfinite(score)]  # a fold may lack a class
        return float(np.mean(known)) if known else float("nan")

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the (K,) scores of all tasks."""
        return np.array([self.score(t, counts) for t in range(len(self.tasks))])

    def of_half(self, number: int) -> Library:
        """Return the same networks' outputs on one half of the rows, 0 or 1 (see `held_out.halves`)."""
        half = copy.copy(self)
        mine = [[own[number] for own in self.halves_of(t)] for t in range(len(self.tasks))]

        def chosen(trainings: list[np.ndarray], t: int) -> list[np.ndarray]:
            return [values[own] for values, own in zip(trainings, mine[t], strict=True)]

        half.rows = [chosen(rows, t) for t, rows in enumerate(self.rows)]
        half.labels = [chosen(labels, t) for t, labels in enumerate(self.labels)]
        half.of_task = [
            {network: chosen(trainings, t) for network, trainings in by_network.items()}
            for t, by_network in enumerate(self.of_task)
        ]
        return half

    def halves_of(self, task: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return which of a task's rows belong to each half, in each training."""
        return [halves(own[rows]) for own, rows in zip(self.positions, self.rows[task], strict=True)]


def held_out_scores(library: Library, starts: Sequence[Sequence[int]], most: int) -> list[Scores]:
    """Score what is selected on each half of the rows by its predictions for the other.

    Returns:
        The scores in each training.
    """
    selected = [select(library.of_half(number), starts, most) for number in (0, 1)]
    scores: list[Scores] = [{} for _ in range(library.n_trainings)]
    for t, task in enumerate(library.tasks):
        by_other = [library.predictions(t, counts) for counts in reversed(selected)]
        for s, (mine, _) in enumerate(library.halves_of(t)):
            shape = (-1, *[1] * (by_other[0][s].ndim - 1))
            prediction = np.where(mine.reshape(shape), by_other[0][s], by_other[1][s])
            scores[s][task.name] = all_scores(task, prediction, library.labels[t][s], library.metric)
    return scores


def select(library: Library, starts: Sequence[Sequence[int]], most: int) -> np.ndarray:
    """Select an ensemble.

    Args:
        library: of L networks.
        starts: sets of networks that have every task between them, from the best of which the selection begins.
        most: number of different networks in it.

    Returns:
        (L,) how often each network is in it.
    """
    n_networks = len(library.members)
    counts = np.zeros(n_networks, dtype=np.int64)
    possible = [start for start in starts if len(set(start)) <= most]
    if not possible:
        return counts
    begun = [np.isin(np.arange(n_networks), start).astype(np.int64) for start in possible]
    scores = np.stack([library.scores(each) for each in begun])
    scored = np.asarray(np.isfinite(scores).all(axis=0))  # a task without a score has no say
    best = int(scores[:, scored].sum(axis=1).argmax())
    counts, now = begun[best], scores[best]
    for _ in range(MOST_STEPS * most):
        gains = np.full(n_networks, -np.inf)
        after: dict[int, np.ndarray] = {}
        for network, own in enumerate(library.members):
            if counts[network] == 0 and np.count_nonzero(counts) == most:
                continue
            more = counts.copy()
            more[network] += 1
            after[network] = now.copy()
            for t in own:
                if scored[t]:
                    after[network][t] = library.score(t, more)
            gains[network] = (after[network] - now)[scored].sum() / max(1, scored.sum())
        network = int(gains.argmax())
        if not gains[network] > LEAST_GAIN:
            break
        counts[network] += 1
        now = after[network]
    return counts


@dataclass(frozen=True)
class Greedy:
    """The plan `greedy`.

    Attributes:
        groups: of its networks.
        specs: of these, in all trainings.
        scores: on validation rows, by the seed of the training; each half by what is selected on the other.
    """

    groups: Groups
    specs: list[NetworkSpec]
    scores: dict[int, Scores]


def greedy_plan(
    run: RunDir, config: Config, specs: Sequence[NetworkSpec], tasks: Sequence[Task], most: int
) -> Greedy | None:
    """Select the plan `greedy` from trained networks.

    Args:
        run: in which they are trained.
        config: of the run.
        specs: of the networks, all trained.
        tasks: all K tasks.
        most: number of networks to serve.

    Returns:
        The plan; None where no plan is whole in all trainings, or none keeps to the number of networks.
    """
    slots, plans = slots_of(specs, config, [task.name for task in tasks])
    whole = [numbers for numbers in plans if {t for n in numbers for t in slots[n].tasks} == set(range(len(tasks)))]
    starts = [*whole, *([n] for n, slot in enumerate(slots) if len(slot.tasks) == len(tasks))]
    if not starts:
        return None
    index = read_index(run.sub("parts"))
    of_folds = {
        fold: TaskRows(run.sub("parts"), index, "val", range(len(tasks)), fold)
        for fold in dict.fromkeys(spec.fold for spec in slots[0].specs)
    }
    rows = [of_folds[spec.fold] for spec in slots[0].specs]
    n_rows = index.n_samples("val")
    outputs = (
        [
            HeldOut.read(run, network_folder(spec, config)).of_all_rows(n_rows)[own.rows]
            for spec, own in zip(slot.specs, rows, strict=True)
        ]
        for slot in slots
    )
    library = Library(
        tasks,
        [own.labels for own in rows],
        [own.rows for own in rows],
        [slot.tasks for slot in slots],
        outputs,
        config.metric,
    )
    counts = select(library, starts, most)
    chosen = np.flatnonzero(counts)
    if not len(chosen):
        return None
    weights = np.zeros((len(tasks), len(chosen)))
    for g, n in enumerate(chosen):
        weights[list(slots[n].tasks), g] = counts[n]
    names = [task.name for task in tasks]
    serving = dict(zip(names, weights.argmax(axis=1).tolist(), strict=True))
    membership = (weights / weights.sum(axis=1, keepdims=True)).tolist()
    groups = Groups(names, [[names[t] for t in slots[n].tasks] for n in chosen], membership, serving, "greedy")
    own = [replace(spec, plan="greedy", group=g) for g, n in enumerate(chosen) for spec in slots[n].specs]
    seeds = [spec.seed for spec in slots[0].specs]
    return Greedy(groups, own, dict(zip(seeds, held_out_scores(library, starts, most), strict=True)))


def slots_of(specs: Sequence[NetworkSpec], config: Config, names: Sequence[str]) -> tuple[list[Slot], list[list[int]]]:
    """Return the different networks that are trained with all seeds, and the numbers of those of each plan."""
    number = {name: t for t, name in enumerate(names)}
    trainings: dict[tuple[str, int], dict[int, NetworkSpec]] = {}
    for spec in specs:
        trainings.setdefault((spec.plan, spec.group), {})[spec.seed] = spec
    seeds = {spec.seed for spec in specs}
    slots: list[Slot] = []
    found: dict[tuple[str, ...], int] = {}
    plans: dict[str, list[int]] = {}
    lacking = {plan for (plan, _), own in trainings.items() if own.keys() != seeds}
    for (plan, _), own in trainings.items():
        if own.keys() != seeds:
            continue
        ordered = tuple(own[seed] for seed in sorted(seeds))
        key = tuple(network_folder(spec, config) for spec in ordered)
        if key not in found:
            found[key] = len(slots)
            slots.append(Slot(tuple(number[name] for name in ordered[0].tasks), ordered))
        plans.setdefault(plan, []).append(found[key])
    return slots, [numbers for plan, numbers in plans.items() if plan not in lacking]
