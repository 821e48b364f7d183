"""The plan `greedy`: an ensemble of networks of the other plans, selected on validation rows.

Forward selection with replacement (Caruana et al. 2004, Ensemble selection from libraries of models, section 2): begin
with the best plan, or the best network of all tasks, that keeps to the number of networks to serve; then add, again and
again, the network that raises the mean score most, one that is in already with more weight, until none does. A task is
predicted by the mean of the outputs of those that have it. All trainings of a network count together, so that the same
networks are selected in each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.nodes import cluster_nodes
from stg_ray.cluster.placement import place
from stg_ray.cluster.session import wait_for
from stg_ray.config import Config, MetricConfig
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.models import OutputLayout
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trials import device_here
from stg_ray.serving import BATCH_SIZE, load_network
from stg_ray.tasks import Task, observed
from stg_ray.training.compute import Compute, training_process
from stg_ray.training.metrics import primary_score

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
        labels: (N, K) as stored.
        members: numbers of the tasks of each of L networks.
        outputs: of each network, (N, O) logits of its tasks, in each of S trainings.
        metric: by which tasks are compared.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        labels: np.ndarray,
        members: Sequence[Sequence[int]],
        outputs: Sequence[Sequence[np.ndarray]],
        metric: MetricConfig,
    ) -> None:
        self.tasks, self.members, self.metric = tasks, members, metric
        self.rows = [observed(labels[:, t]) for t in range(len(tasks))]
        self.labels = [labels[rows, t] for t, rows in enumerate(self.rows)]
        self.layouts = [OutputLayout([task]) for task in tasks]
        self.of_task: list[dict[int, list[np.ndarray]]] = [{} for _ in tasks]
        """Of each task, by network, the (n, o) outputs on its rows in each training."""
        for network, (own, trainings) in enumerate(zip(members, outputs, strict=True)):
            columns = OutputLayout([tasks[t] for t in own]).columns
            for t, of_own in zip(own, columns, strict=True):
                self.of_task[t][network] = [values[self.rows[t]][:, of_own] for values in trainings]

    def score(self, task: int, counts: np.ndarray) -> float:
        """Return a task's score, the mean over trainings, by the networks with these counts (L,); NaN without any."""
        weights = {network: counts[network] for network in self.of_task[task] if counts[network]}
        if not weights:
            return float("nan")
        total = sum(weights.values())
        n_trainings = len(next(iter(self.of_task[task].values())))
        scores = []
        for s in range(n_trainings):
            outputs = sum(weight * self.of_task[task][network][s] for network, weight in weights.items()) / total
            prediction = self.layouts[task].predictions(torch.from_numpy(np.asarray(outputs, dtype=np.float32)))[0]
            scores.append(primary_score(self.tasks[task], prediction.numpy(), self.labels[task], self.metric))
        return float(np.mean(scores))

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the (K,) scores of all tasks."""
        return np.array([self.score(t, counts) for t in range(len(self.tasks))])


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


def greedy_groups(
    run: RunDir, config: Config, specs: Sequence[NetworkSpec], tasks: Sequence[Task], most: int
) -> tuple[Groups, list[NetworkSpec]] | None:
    """Select the plan `greedy` from trained networks.

    Args:
        run: in which they are trained.
        config: of the run.
        specs: of the networks, all trained.
        tasks: all K tasks.
        most: number of networks to serve.

    Returns:
        Its groups, and the specs of its networks in all trainings; None where no plan is whole in all of them.
    """
    slots, plans = slots_of(specs, config, [task.name for task in tasks])
    whole = [numbers for numbers in plans if {t for n in numbers for t in slots[n].tasks} == set(range(len(tasks)))]
    starts = [*whole, *([n] for n, slot in enumerate(slots) if len(slot.tasks) == len(tasks))]
    if not starts:
        return None
    rows = TaskRows(run.sub("parts"), read_index(run.sub("parts")), "val", range(len(tasks)))
    members = [slot.tasks for slot in slots]
    library = Library(tasks, rows.labels, members, _outputs(run, config, slots), config.metric)
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
    return groups, [replace(spec, plan="greedy", group=g) for g, n in enumerate(chosen) for spec in slots[n].specs]


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


def _outputs(run: RunDir, config: Config, slots: Sequence[Slot]) -> list[list[np.ndarray]]:
    """Outputs on the validation rows of each network in each training, by Ray tasks."""
    import ray

    needs = place(cluster_nodes(), config.retrain.gpus).resources
    predict = ray.remote(num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), max_retries=config.retrain.max_failures)(
        _predict
    )
    references = [
        [
            predict.options(name=f"outputs of {spec.title}").remote(run.uri, config.model_dump(), spec.to_dict())
            for spec in slot.specs
        ]
        for slot in slots
    ]
    outputs: list[list[np.ndarray]] = wait_for(lambda: [ray.get(own) for own in references])
    return outputs


def _predict(run: str, config: Mapping[str, Any], spec: dict[str, Any]) -> np.ndarray:
    """Outputs (N, O) of a network on the validation rows, in a Ray task."""
    with training_process(1):
        storage, settings, network = Storage(run), Config.model_validate(config), NetworkSpec.from_dict(spec)
        index = read_index(storage.sub("parts"))
        folder = network_folder(network, settings)
        compute = Compute.of(settings.retrain, device_here())
        trained = load_network(storage, settings, index, network.tasks, folder).eval()
        compute.place(trained)
        rows = TaskRows(storage.sub("parts"), index, "val", range(len(index.tasks)))
        with torch.no_grad():
            blocks = [compute.forward(trained, compute.batch(block)).cpu() for block in rows.inputs.split(BATCH_SIZE)]
        return torch.cat(blocks).float().numpy()
