"""Plans: the groupings whose networks are trained (ours and the baselines), and the specification of each network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.config import Config, PlanName
from stg_ray.config.plans import TrainedPlan, trained_plans
from stg_ray.errors import InputError
from stg_ray.retraining.specs import Epochs, NetworkSpec, fold_of, most_epochs
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task
from stg_ray.tasks.conditions import Conditions

DRAWS = 1000
"""Of random groups, until they keep the budget."""


@dataclass(frozen=True)
class Spent:
    """Epochs that are known once another plan is trained: in them as many rows are seen as by all of its networks.

    Attributes:
        base: that plan; the one that starts alike is meant.
        times: multiplies what its networks spent together, in the training of the same seed.
    """

    base: PlanName
    times: int


@dataclass(frozen=True)
class Plan:
    """A grouping, and how its networks are trained.

    Attributes:
        groups: whose networks are trained.
        epochs: of every network: a number, auto, or what another plan spent.
        soft: the loss of each task in a group's network is weighted by its membership (Sherif et al., STG-MTL).
        profiled: the networks start from the profiled network; else from scratch.
        ensemble: the groups' networks are served together only.
        branches: number of tasks in each branch of its one network, in the order of that network's tasks; empty where
            networks have no branches.
    """

    groups: Groups
    epochs: Epochs | Spent
    soft: bool = False
    profiled: bool = False
    ensemble: bool = False
    branches: tuple[int, ...] = ()

    @property
    def servings(self) -> list[Serving]:
        """The ways in which it can be served, and is scored."""
        together: list[Serving] = ["ensemble"] if self.ensemble or self.groups.has_ensemble else []
        return together if self.ensemble else ["argmax", *together]

    def weights(self, group: int) -> tuple[float, ...] | None:
        """Return the weight of each task's loss in the network of a group; None where all count the same."""
        if not self.soft:
            return None
        number = {task: t for t, task in enumerate(self.groups.tasks)}
        weights = tuple(self.groups.membership[number[task]][group] for task in self.groups.groups[group])
        return None if len(set(weights)) == 1 else weights


def make_plans(
    ours: Groups, tasks: tuple[Task, ...], config: Config, searched: Groups | None = None, *, own_rows: bool = False
) -> dict[str, Plan]:
    """Make the plans of `retrain.plans`, by name; draws of random groups are random_0, random_1, ...

    all_in_one_equal_cost sees as many rows as the networks of ours together (with `epochs: auto`, or rows of their own,
    these are known once ours are trained; else it has as many epochs), all_in_one_ensemble has as many networks of all
    tasks: these show what more training, and more networks, give without a choice of tasks. The first 2, 4, 8, ... of
    its networks, up to half of them, are plans, too, which train nothing more: they may do as well, and are cheaper to
    serve. Where ours are a single group, equal cost and ensemble take the size of two networks (they may be the best
    plan); ours are all-in-one then, and so is every plan made from the groups themselves: none of them is trained.

    Args:
        ours: the groups of groups.json.
        tasks: all K tasks, in the order of the task set.
        searched: the groups of the search; without them there is no plan `searched`.
        own_rows: labels are missing, so that networks of some tasks train on fewer rows than one of all.

    Raises:
        InputError: `known` is asked for and the task set has no known groups.
    """
    check_plans(config, tasks)
    plans = {}
    for name, trained in trained_plans(config.retrain).items():
        if trained.base == "greedy":
            continue  # made from the networks of the others
        if trained.base == "searched":
            plan = None if searched is None else Plan(searched, config.retrain.epochs)
        else:
            plan = _plan(trained, ours, tasks, config, own_rows=own_rows)
        if plan is not None:
            plans[name] = replace(plan, profiled=trained.profiled)
    return plans


def _plan(
    trained: TrainedPlan, ours: Groups, tasks: tuple[Task, ...], config: Config, *, own_rows: bool
) -> Plan | None:
    """A plan's groups and epochs; None where it is not trained, because of the number of our groups."""
    names, epochs = ours.tasks, config.retrain.epochs
    all_in_one = Plan(Groups.from_labels(names, np.zeros(len(names), dtype=int), "all_in_one"), epochs)
    if trained.base == "all_in_one":
        stands_for_ours = trained.base not in config.retrain.plans
        return None if stands_for_ours and len(ours.groups) > 1 else all_in_one
    if trained.base == "single_task":
        return Plan(Groups.from_labels(names, np.arange(len(names)), "single_task"), epochs)
    if trained.base == "known":
        return Plan(Groups.from_labels(names, np.array([task.group for task in tasks]), "known"), epochs)
    size, is_one = n_networks(ours), len(ours.groups) == 1
    if trained.base == "all_in_one_equal_cost":
        spent = Spent("all_in_one", size) if is_one else Spent("ours", 1)
        is_known = epochs != "auto" and (is_one or not own_rows or "ours" not in config.retrain.plans)
        return replace(all_in_one, epochs=size * int(epochs) if is_known else spent)
    if trained.base == "all_in_one_ensemble":
        if trained.copies is not None and 2 * trained.copies > size:
            return None  # to serve it would save little
        return Plan(_copies(names, trained.copies or size), epochs, ensemble=True)
    if is_one:
        return None
    if trained.base == "ours":
        return Plan(ours, epochs)
    if trained.base == "ours_soft":
        return Plan(ours.with_members_above(config.retrain.membership_above), epochs, soft=True)
    if trained.base == "branches":
        return _branches(ours, epochs)
    if trained.base == "ours_and_all":
        return Plan(_with_all(ours), epochs, ensemble=True)
    assert trained.draw is not None, "only random groups are left, which are drawn"
    return Plan(_random_groups(ours, config, trained.draw), epochs)


def n_networks(ours: Groups) -> int:
    """Return the number of networks of a plan that takes its size from ours: at least 2, as one is all-in-one."""
    return max(2, len(ours.groups))


def check_plans(config: Config, tasks: tuple[Task, ...]) -> None:
    """Refuse plans that these tasks do not have.

    Raises:
        InputError: `known` is asked for and the task set has no known groups.
    """
    if "known" in config.retrain.plans and any(task.group is None for task in tasks):
        raise InputError("retrain.plans has known, but the task set has no known groups: leave it out")


def network_specs(
    plans: Mapping[str, Plan], config: Config, profiled: str = "", spent: Mapping[tuple[str, int], int] | None = None
) -> Iterator[NetworkSpec]:
    """Yield every network of every plan and seed, the longest training first, so that a long trial does not come last.

    Networks whose epochs depend on those of another plan are left out where these are not in `spent`.

    Args:
        profiled: digest of the profiled network, for the plans that start from it.
        spent: epochs in which a network of all tasks sees as many rows as all networks of a plan, by the plan's name
            and the training's seed.
    """
    seeds, known = config.retrain.seeds, spent or {}
    trained = trained_plans(config.retrain)

    def epochs_of(name: str, plan: Plan, seed: int) -> Epochs | None:
        if not isinstance(plan.epochs, Spent):
            return plan.epochs
        epochs = known.get((trained[name].beside(plan.epochs.base), seed))
        return None if epochs is None else plan.epochs.times * epochs

    specs = [
        NetworkSpec(
            name,
            g,
            tuple(members),
            seed=config.seed + s,
            # Copies that are averaged differ in their draws.
            draws=config.seed + s + (seeds * plan.groups.groups[:g].count(members) if plan.ensemble else 0),
            epochs=epochs,
            weights=plan.weights(g),
            start=profiled if plan.profiled else None,
            branches=plan.branches,
            fold=fold_of(config, config.seed + s),
        )
        for name, plan in plans.items()
        for g, members in enumerate(plan.groups.groups)
        for s in range(seeds)
        if (epochs := epochs_of(name, plan, config.seed + s)) is not None
    ]
    most = config.retrain.max_epochs
    return iter(sorted(specs, key=lambda spec: (-most_epochs(spec.epochs, most), -len(spec.tasks))))


def _copies(tasks: list[str], n_groups: int) -> Groups:
    """Groups of all tasks, which predict them with equal weights."""
    membership = [[1 / n_groups] * n_groups] * len(tasks)
    return Groups(tasks, [tasks] * n_groups, membership, dict.fromkeys(tasks, 0), "all_in_one_ensemble")


def _with_all(ours: Groups) -> Groups:
    """Our groups and one of all tasks; a task is predicted by the mean of its group's network and that of all."""
    n_groups = len(ours.groups)
    membership = [[0.5 * (g == ours.serving[task]) for g in range(n_groups)] + [0.5] for task in ours.tasks]
    return Groups(ours.tasks, [*ours.groups, list(ours.tasks)], membership, ours.serving, "ours_and_all")


def _branches(ours: Groups, epochs: Epochs) -> Plan:
    """One network of all tasks, with a branch for the tasks that each of our groups serves."""
    served = [[task for task in ours.tasks if ours.serving[task] == g] for g in range(len(ours.groups))]
    all_tasks, n_tasks = [task for members in served for task in members], len(ours.tasks)
    groups = Groups(ours.tasks, [all_tasks], [[1.0]] * n_tasks, dict.fromkeys(ours.tasks, 0), "branches")
    return Plan(groups, epochs, branches=tuple(len(members) for members in served if members))


def conditions_of(config: Config, tasks: Sequence[str]) -> Conditions:
    """Return the conditions that groups keep: those of `grouping.budget`, or none."""
    budget = config.grouping.budget
    return Conditions(names=tuple(tasks)) if budget is None else Conditions.of(budget.model_dump(), tasks)


def _random_groups(ours: Groups, config: Config, draw: int) -> Groups:
    """Random groups of the sizes of ours, which keep `grouping.budget` where ours do and one of so many draws does."""
    rng, conditions = generator(Stream.RANDOM_GROUPS, config.seed, draw), conditions_of(config, ours.tasks)
    members, order = ours.members, rng.permutation(len(ours.tasks))
    if conditions.allows(members).all():  # numbers, sizes and costs are those of ours
        orders = itertools.chain([order], (rng.permutation(len(ours.tasks)) for _ in range(DRAWS - 1)))
        order = next((own for own in orders if conditions.allows(members[:, own]).all()), order)
    return replace(ours.with_tasks_permuted(order, "random"), seed=config.seed, draw=draw)
