"""The plan `greedy`: an ensemble of networks of the other plans, selected on validation rows.

Forward selection with replacement (Caruana et al. 2004, Ensemble selection from libraries of models, section 2): begin
with the best plan, or the best network of all tasks, that keeps to the number of networks to serve; then add, again and
again, the network that raises the mean score most, one that is in already with more weight, until none does. A task is
predicted by the mean of the outputs of those that have it. All trainings of a network count together, so that the same
networks are selected in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.retraining.held_out import HeldOut
from stg_ray.retraining.jackknife import WithoutFolds, scores_without_folds
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.library import Library
from stg_ray.retraining.scoring import Scores
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.tasks import Task
from stg_ray.training.metrics import all_scores

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


def held_out_scores(
    library: Library, starts: Sequence[Sequence[int]], most: int
) -> tuple[list[Scores], list[np.ndarray]]:
    """Score what is selected on each half of the rows by its predictions for the other.

    Returns:
        The scores in each training, and the (F, K) primary metrics without each fold of the rows (see `jackknife`).
    """
    selected = [select(library.of_half(number), starts, most) for number in (0, 1)]
    predictions: list[list[np.ndarray]] = [[] for _ in range(library.n_trainings)]
    for t in range(len(library.tasks)):
        by_other = [library.predictions(t, counts) for counts in reversed(selected)]
        for s, (mine, _) in enumerate(library.halves_of(t)):
            shape = (-1, *[1] * (by_other[0][s].ndim - 1))
            predictions[s].append(np.where(mine.reshape(shape), by_other[0][s], by_other[1][s]))
    scores, without_folds = [], []
    for s, own in enumerate(predictions):
        labels = [of_task[s] for of_task in library.labels]
        told = zip(library.tasks, own, labels, strict=True)
        scores.append({task.name: all_scores(task, each, true, library.metric) for task, each, true in told})
        positions = [library.positions[s][of_task[s]] for of_task in library.rows]
        without_folds.append(scores_without_folds(library.tasks, own, labels, positions, library.metric))
    return scores, without_folds


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
        without_folds: the same without each fold of the rows.
    """

    groups: Groups
    specs: list[NetworkSpec]
    scores: dict[int, Scores]
    without_folds: WithoutFolds


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
    scores, without_folds = held_out_scores(library, starts, most)
    by_seed: WithoutFolds = {
        ("greedy", "ensemble", seed): each for seed, each in zip(seeds, without_folds, strict=True)
    }
    return Greedy(groups, own, dict(zip(seeds, scores, strict=True)), by_seed)


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
