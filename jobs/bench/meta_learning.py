"""Groups for meta-learning: are planted families found, and what do initialisations of groups bring? And the speed.

    python -m jobs.bench.meta_learning [--seeds 10] [--trained 1] [--steps 600] [--speed]
    python -m jobs.bench.meta_learning --seeds 0 --runs 3

Sinusoids (the regression of Finn et al. 2017, section 5.1, values in units of their spread) in four families of phases.
Every task has rows of its own; the affinity is taken at a common random initialisation with one head for all tasks, by
the sign statistic. Then an initialisation for all, one for each of our groups, and for random groups of the same sizes:
the error on query rows of new tasks after one step on ten rows; a new task is routed to the group whose initialisation
adapts best on its support rows. --speed: meta-gradients of 5-way 5-shot episodes of images, and of sinusoids, by the
learner and by a loop over episodes. --runs: the same comparison by whole runs with `retrain.learner`, new tasks by
`adapt` of the run's networks. Omniglot has a benchmark of its own (meta_omniglot.py), and real sets (meta_sets.py).
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from sklearn.metrics import adjusted_rand_score
from torch import nn

import stg_ray as sr
from jobs.bench.measure import alternate, show, worked
from jobs.bench.meta_omniglot import small_cnn
from stg_ray.meta import LEARNERS, Episodes, Initialisation, Learner
from stg_ray.meta.learners import after_steps, train
from stg_ray.meta.routing import route
from stg_ray.progress import Reporter

FAMILIES, TASKS, ROWS = 4, 40, 100
SHOTS, QUERIES = 10, 10


def sinusoids(family: np.ndarray, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and values (T, rows) of T tasks: one period and a half of a sine; the family is a quarter of the phase."""
    phase = (family + rng.uniform(-0.2, 0.2, len(family)))[:, None] * np.pi / 2
    inputs = rng.uniform(-5, 5, (len(family), rows))
    return inputs.astype(np.float32), (np.sqrt(2) * np.sin(inputs + phase)).astype(np.float32)


def network() -> nn.Sequential:
    made = nn.Sequential()
    made.add_module("trunk", nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU()))
    made.add_module("heads", nn.Linear(40, 1))
    return made


def task_set(inputs: np.ndarray, values: np.ndarray, seed: int) -> sr.TaskSet:
    """Tasks of these rows (T, rows), each with rows of its own."""
    n_tasks, rows = inputs.shape
    labels = np.full((inputs.size, n_tasks), np.nan, dtype=np.float32)
    labels[np.arange(inputs.size), np.repeat(np.arange(n_tasks), rows)] = values.ravel()
    return sr.TaskSet.from_arrays(inputs.reshape(-1, 1), labels, kinds=["regression"] * n_tasks, seed=seed)


def found_groups(inputs: np.ndarray, values: np.ndarray, seed: int) -> np.ndarray:
    """Our groups (T,) of tasks by their gradients at a random initialisation, one head for all."""
    n_tasks, tasks = len(inputs), task_set(inputs, values, seed)
    torch.manual_seed(seed)
    common = network()
    heads, head = nn.Linear(40, n_tasks), common.state_dict()
    heads.load_state_dict({key: head[f"heads.{key}"].expand_as(value) for key, value in heads.state_dict().items()})
    model = nn.Sequential(common[0], heads)
    matrix = sr.affinity(model.eval(), tasks, method="landscape", statistic="sign", layers="all", samples=inputs.size)
    return sr.group(matrix, n_groups=FAMILIES, seed=seed).labels


def episodes(family: np.ndarray, n: int, rng: np.random.Generator) -> Episodes:
    """Episodes of new tasks of these families."""
    inputs, values = sinusoids(rng.choice(family, n), SHOTS + QUERIES, rng)
    x, y = torch.from_numpy(inputs)[..., None], torch.from_numpy(values)
    return Episodes(x[:, :SHOTS], y[:, :SHOTS], x[:, SHOTS:], y[:, SHOTS:])


def trained(families: list[np.ndarray], steps: int, seed: int) -> list[Initialisation]:
    """An initialisation for each list of the families of its tasks, by exact MAML of one step."""
    starts = []
    for number, family in enumerate(families):
        rng = np.random.default_rng([9, seed, number])
        torch.manual_seed(seed)
        start = Initialisation(network(), 0.05)
        batches = (episodes(family, 25, rng) for _ in range(steps))
        train(start, LEARNERS["maml"](1, learn_rates=True), batches, partial(torch.optim.Adam, lr=2e-3))
        starts.append(start)
    return starts


def error_of(starts: list[Initialisation], test: Episodes) -> tuple[float, float]:
    """Mean squared error after one step, each episode by the initialisation it is routed to, and its 95 % margin."""
    learner = LEARNERS["maml"](1)
    number = route(starts, learner, test)
    outputs = torch.stack([after_steps(start, learner, test, [1])[1] for start in starts])
    own = outputs[number, torch.arange(len(test))][..., 0]
    errors = (own - test.query_labels).square().mean(dim=1)
    return float(errors.mean()), float(1.96 * errors.std() / len(errors) ** 0.5)


RUN: dict[str, Any] = {
    "model": {"trunk": "mlp", "width": 40, "dropout": 0.0},
    "profile": {"epochs": 1, "workers": 1},
    "affinity": {"methods": ["landscape"], "statistic": "sign", "start": "initial", "layers": "all", "samples": 4000},
    "grouping": {"groups": FAMILIES},
    "meta": {"rate": 0.05, "learn_rates": True, "shots": SHOTS, "queries": QUERIES, "episodes": 25},
    "retrain": {
        "learner": "maml",
        "plans": ["ours", "all_in_one", "random"],
        "random_groups": 1,
        "epochs": 12,
        "lr": 2e-3,
        "optimizer": "adam",
    },
}


def by_run(seed: int, rows: list[tuple[str, str, str]], result: dict[str, Any]) -> None:
    """A whole run: R2 of its tasks in episodes of test rows, and the error of new tasks that its networks adapt to."""
    rng = np.random.default_rng([10, seed])
    family = rng.permutation(np.repeat(np.arange(FAMILIES), TASKS // FAMILIES))
    with tempfile.TemporaryDirectory() as folder:
        tasks = task_set(*sinusoids(family, ROWS, rng), seed)
        run = sr.run(tasks, folder, settings={"seed": seed, **RUN}, reporter=Reporter(Console(quiet=True)))
        rand = adjusted_rand_score(family, run.groups.labels)
        scores = run.results.query("split == 'test' and metric == 'r2'").groupby("plan")["value"].mean()
        new = sinusoids(np.arange(100) % FAMILIES, SHOTS + QUERIES, np.random.default_rng([11, seed]))
        found: dict[str, Any] = {"rand": round(float(rand), 3), "plans": {}}
        for plan, score in scores.items():
            predictor, errors = run.predictor(str(plan)), []
            for x, y in zip(new[0][..., None], new[1], strict=True):
                predicted = predictor.adapt(x[:SHOTS], y[:SHOTS]).predict(x[SHOTS:])
                errors.append(float(np.square(predicted - y[SHOTS:]).mean()))
            margin = 1.96 * np.std(errors) / len(errors) ** 0.5
            text = f"R2 {score:.3f}; new tasks {np.mean(errors):.3f} +- {margin:.3f}"
            rows.append((f"run, {plan}, seed {seed} (Rand index {rand:.2f})", text, ""))
            found["plans"][str(plan)] = {"r2": round(float(score), 4), "error": round(float(np.mean(errors)), 4)}
        result["runs"].append(found)


def images(seed: int, n: int) -> Episodes:
    generator = torch.Generator().manual_seed(seed)
    support, query = (torch.randn((n, 25, 1, 28, 28), generator=generator) for _ in range(2))
    each = torch.arange(5).repeat_interleave(5).expand(n, -1)
    return Episodes(support, each, query, each)


def by_loop(start: Initialisation, learner: Learner, data: Episodes) -> None:
    """A meta-gradient as it is usually written: one episode after the other, autograd.grad for each step.

    Where only the head adapts, an episode's rows go through the trunk once, together.
    """
    theta = {name: value.clone().requires_grad_() for name, value in start.parameters.items()}
    total, n = torch.zeros(()), data.support.shape[1]
    for e in range(len(data)):
        rows, moving = torch.cat([data.support[e], data.query[e]]), theta
        outputs: Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor] = start.outputs
        if learner.only_head:
            rows, outputs = start.features(theta, rows[None])[0], of_head
            moving = {name: value for name, value in theta.items() if name.startswith(start.head)}
        for _ in range(learner.steps):
            loss = data.loss(outputs(moving, rows[:n]), data.support_labels[e])
            slopes = torch.autograd.grad(loss, list(moving.values()), create_graph=not learner.first_order)
            moving = {name: v - start.rate * slope for (name, v), slope in zip(moving.items(), slopes, strict=True)}
        total = total + data.loss(outputs(moving, rows[n:]), data.query_labels[e])
    (total / len(data)).backward()


def of_head(parameters: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(rows, parameters["heads.weight"], parameters["heads.bias"])


def speed(rows: list[tuple[str, str, str]], result: dict[str, Any]) -> None:
    """Seconds of a thread for the meta-gradient of 16 episodes, by the learner and by a loop."""
    learners = {
        "exact MAML": LEARNERS["maml"](1),
        "first-order MAML": LEARNERS["maml"](1, first_order=True),
        "ANIL of 3 steps": LEARNERS["anil"](3),
    }
    sets = {
        "sinusoids": (network(), episodes(np.arange(FAMILIES), 16, np.random.default_rng(0))),
        "images, 16 channels": (small_cnn(16, norm=False), images(0, 16)),
        "images, 32 channels, GroupNorm": (small_cnn(), images(0, 16)),
    }
    for (name, (own, data)), (title, learner) in itertools.product(sets.items(), learners.items()):
        start = Initialisation(own, 0.1)
        sides = {
            "learner": partial(worked, partial(learner.gradients, start, data)),
            "loop": partial(worked, partial(by_loop, start, learner, data)),
        }
        alternate(sides, 1)
        seconds = alternate(sides, 9)
        ratio = seconds["loop"] / seconds["learner"]
        rows.append(
            (f"{name}: {title}", f"{seconds['learner']:.4f} s, by a loop {seconds['loop']:.4f} s", f"{ratio:.2f}")
        )
        result["speed"][f"{name}: {title}"] = seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="planted sets whose families are looked for")
    parser.add_argument("--trained", type=int, default=1, help="of these, with trained initialisations")
    parser.add_argument("--steps", type=int, default=600, help="of 25 episodes each, for an initialisation")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--runs", type=int, default=0, help="whole runs, each on a planted set")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {"benchmark": "meta_learning", "rand": [], "errors": [], "speed": {}}
    result["runs"] = []
    for seed in range(arguments.seeds):
        rng = np.random.default_rng([10, seed])
        family = rng.permutation(np.repeat(np.arange(FAMILIES), TASKS // FAMILIES))
        groups = found_groups(*sinusoids(family, ROWS, rng), seed)
        result["rand"].append(round(float(adjusted_rand_score(family, groups)), 3))
        if seed >= arguments.trained:
            continue
        test = episodes(np.arange(FAMILIES), 400, np.random.default_rng([11, seed]))
        shuffled = rng.permutation(groups)
        plans = {
            "one for all": [family],
            "random groups": [family[shuffled == g] for g in range(FAMILIES)],
            "our groups": [family[groups == g] for g in range(FAMILIES)],
        }
        errors = {plan: error_of(trained(own, arguments.steps, seed), test) for plan, own in plans.items()}
        result["errors"].append(errors)
        for plan, (error, margin) in errors.items():
            rows.append((f"error after a step, {plan}, seed {seed}", f"{error:.4f} +- {margin:.4f}", ""))
    if arguments.seeds:
        exact = sum(rand == 1 for rand in result["rand"])
        rows.append(("families found (adjusted Rand index 1)", f"{exact} of {arguments.seeds}", "9 of 10"))
    for seed in range(arguments.runs):
        by_run(seed, rows, result)
    if arguments.speed:
        speed(rows, result)
    show("Groups for meta-learning", rows, result)


if __name__ == "__main__":
    main()
