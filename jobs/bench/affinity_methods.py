"""Every affinity on real task sets: seconds, memory, known groups, agreement, stability, and gains that were measured.

    python -m jobs.bench.affinity_methods [--quick] [--keep FOLDER] [--sets NAME ...] [--methods NAME ...]
                                          [--seeds N]

Sets are those of `known_sets`, each profiled once for every seed until its score on validation rows no longer improves;
the data stays the same. Of every method it shows the
seconds of one thread, the peak of memory above that of a program that computes none, the adjusted Rand index of as many
groups as are known, and Spearman's correlation over pairs of tasks with other seeds (stability) and with the mean of
all other methods' ranks (agreement).

On `emotions` (6 tasks) every pair of tasks is trained, and each task alone, from scratch: the gain of i from j is the
score of i in the network of both above its score alone, on validation and test rows. Shown is Spearman's correlation of
each method's affinities with it over directed pairs, and that of one half of the trainings with the other, which no
method can be expected to exceed. And random subsets of three tasks are trained further from the profiled network: the
shares by which their validation losses fall are compared with those that grad_tag estimates.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import adjusted_rand_score

import stg_ray as sr
from jobs.bench.known_sets import KNOWN_SETS, KnownSet, _table, alphabets, images, school
from jobs.bench.measure import run_measured, show
from stg_ray.affinities.estimators import check_methods, estimator_of
from stg_ray.affinities.grad_tag import KEYS, SPLITS, GradTag, gains_of
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import AFFINITY_METHODS
from stg_ray.config.loading import load_config, set_values
from stg_ray.config.recipes import as_number
from stg_ray.data.parts import concatenated
from stg_ray.data.rows import as_inputs
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork, build_network, load_weights
from stg_ray.models.outputs import as_labels
from stg_ray.progress import Reporter
from stg_ray.seeds import Stream
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.length import LENGTH
from stg_ray.training.metrics import primary_score
from stg_ray.training.trainer import Rows, Trainer

SETS = {
    "emotions": KnownSet(lambda _: _table("mulan/emotions.parquet"), 60, "mulan"),
    **{s: KNOWN_SETS[s] for s in ("emotions, turned", "scene, turned", "yeast, turned", "cifar10", "landmine")},
    **{s: KNOWN_SETS[s] for s in ("yeast", "bibtex")},
    "cifar100, all": KnownSet(images("cifar100", 10_000), 10, "cifar100"),
    "omniglot": KnownSet(alphabets, 10, "omniglot", own_rows=True),
    "school": KnownSet(school, 10, "own_rows", own_rows=True),
}
DEFAULT = list(SETS)[:6]
"""The others have many tasks, or a network that takes long: name them."""
FEW_TASKS = 40
"""Beyond as many, transfer_gain is left out, which takes a step for each pair of tasks a look."""
MEASURED = "emotions"
REPEATS = 4
"""Trainings of each pair, and of each task alone."""
FURTHER_EPOCHS = 5
SUBSETS = 20
ONLY = ("-m", "jobs.bench.affinity_methods", "--only")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few epochs and repeats, to see that it works")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the profiles here, and use those that are there")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=DEFAULT)
    parser.add_argument("--methods", nargs="+", choices=AFFINITY_METHODS.own, default=AFFINITY_METHODS.own)
    parser.add_argument("--seeds", type=int, default=3, help="profiles of each set")
    parser.add_argument("--only", nargs=2, metavar=("RUN", "METHOD"), help="compute one affinity and print nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only:
        run, method = arguments.only
        if method != "nothing":
            computed(RunDir(run), method)
        return
    n_seeds = 1 if arguments.quick else arguments.seeds
    names = [name for name in arguments.sets if SETS[name].is_there]
    result: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        folder = Path(arguments.keep or scratch)
        for name in names:
            runs = [profiled(name, seed, folder, quick=arguments.quick) for seed in range(n_seeds)]
            result[name] = compared(runs, arguments.methods)
            if name == MEASURED:
                result[name] |= against_trainings(runs, 2 if arguments.quick else REPEATS)
    about = {"benchmark": "affinity_methods", "quick": arguments.quick, "seeds": n_seeds}
    left_out = [name for name in arguments.sets if name not in names]
    show("Affinities", rows_of(result), {**about, "left_out": left_out, "sets": result})


def profiled(name: str, seed: int, folder: Path, *, quick: bool) -> RunDir:
    """Run a set up to its profile; every seed trains anew on the same data."""
    about = SETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    if not path.exists():
        np.savez(path, **about.build(0))
    with np.load(path) as arrays:
        missing = {} if arrays["labels"].dtype.kind == "f" else {"tasks": {"*": {"missing": [-1]}}}
    method = "landscape" if about.own_rows else "label_correlation"  # which have a meaning; not computed here
    values = {
        "seed": seed,
        "data": {"npz": str(path), "constant_tasks": "drop", **missing},
        "profile": {"epochs": 2 if quick else "auto", "workers": 1},
        "affinity": {"methods": [method]},
    }
    out = folder / f"{name}-{seed}-{quick}"
    return sr.run(load_config(values), out, until="profile", reporter=Reporter(Console(quiet=True))).run_dir


def source_of(run: RunDir, method: str) -> RunSource:
    """The inputs of a method at the profiled network."""
    config = set_values(run.read_config(), [f"affinity.methods=[{method}]"])
    return RunSource(run, config, load_weights(run, "profile/network.pt"))


def computed(run: RunDir, method: str) -> TaskMatrix:
    """An affinity of a profiled run, in this process."""
    source = source_of(run, method)
    estimator = estimator_of(method, source.settings, source.index)
    instance = estimator(source)
    return estimator.combine(map(instance.partial, range(estimator.n_units(source))), source.index.tasks)


@dataclass
class Found:
    """What one method gave on the runs of one set."""

    matrices: list[TaskMatrix]
    seconds: float
    mib: float


def compared(runs: list[RunDir], methods_asked: Sequence[str]) -> dict[str, dict]:
    """Every method that has a meaning for a set: its cost, its groups, and how it agrees."""
    found: dict[str, Found] = {}
    idle = run_measured([*ONLY, runs[0].uri, "nothing"])[1]
    for method in methods_asked:
        source = source_of(runs[0], method)
        if method == "transfer_gain" and len(source.index.tasks) > FEW_TASKS:
            continue
        try:
            check_methods(source.settings, source.index)
        except InputError:
            continue
        found[method] = Found([], 0.0, run_measured([*ONLY, runs[0].uri, method])[1] - idle)
        seconds = []
        for run in runs:
            began = time.perf_counter()
            found[method].matrices.append(computed(run, method))
            seconds.append(time.perf_counter() - began)
        found[method].seconds = float(np.median(seconds))
    known = [task.group for task in source_of(runs[0], "random").index.tasks]
    ranks = {method: np.mean([rankdata(symmetric(m)) for m in own.matrices], axis=0) for method, own in found.items()}
    methods = {}
    for method, own in found.items():
        others = [rank for other, rank in ranks.items() if other not in (method, "random")]
        pairs = list(itertools.combinations(own.matrices, 2))
        methods[method] = {
            "seconds": round(own.seconds, 2),
            "mib": round(own.mib),
            "ari": None if None in known else _mean(lambda m: agreement_with(m, known), own.matrices),
            "stability": _mean(lambda pair: correlation(*map(symmetric, pair)), pairs) if pairs else None,
            "agreement": round(correlation(ranks[method], np.mean(others, axis=0)), 2) if others else None,
        }
    return {"methods": methods}


def _mean(of: Callable, values: list) -> float:
    return round(float(np.mean([of(value) for value in values])), 2)


def agreement_with(matrix: TaskMatrix, known: list[str | None]) -> float:
    """The adjusted Rand index of as many groups as are known."""
    return float(adjusted_rand_score(known, sr.group(matrix, n_groups=len(set(known))).labels))


def symmetric(matrix: TaskMatrix) -> np.ndarray:
    """Affinities of the pairs of tasks, those of both directions added; large means alike."""
    values = matrix.values if matrix.kind == "affinity" else -matrix.values
    upper = np.triu_indices(len(values), 1)
    return np.nan_to_num((values + values.T)[upper], nan=np.nanmin(values))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation; 0 where one is constant."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def against_trainings(runs: list[RunDir], repeats: int) -> dict[str, dict]:
    """Correlate all affinities with the gains of pairs that were trained, and grad_tag with trained subsets."""
    gains = np.stack([gains_of_pairs(runs[0], seed) for seed in range(repeats)])
    off_diagonal = ~np.eye(gains.shape[1], dtype=bool)
    half = repeats // 2
    measured: dict[str, float] = {}
    for method in AFFINITY_METHODS.own:
        matrices = [computed(run, method) for run in runs]
        signs = [1 if matrix.kind == "affinity" else -1 for matrix in matrices]
        mean = np.mean([sign * matrix.values for sign, matrix in zip(signs, matrices, strict=True)], axis=0)
        measured[method] = round(correlation(mean[off_diagonal], gains.mean(axis=0)[off_diagonal]), 2)
    halves = [gains[:half].mean(axis=0)[off_diagonal], gains[half:].mean(axis=0)[off_diagonal]]
    return {
        "gains": measured,
        "gains_of_halves": {"correlation": round(correlation(*halves), 2)},
        "subsets": subsets_trained(runs[0]),
    }


def rows_of_split(source: RunSource, split: str) -> Rows:
    """Read the rows of a split."""
    parts = [source.part(number, split) for number in range(source.index.n_parts(split))]
    whole = concatenated(parts)
    return Rows(as_inputs(whole.inputs), torch.from_numpy(whole.labels), whole.samples)


def trained(source: RunSource, tasks: list[int], seed: int, epochs: int, start: TaskNetwork | None = None) -> Trainer:
    """Train a network of some tasks, from scratch or further."""
    rows = rows_of_split(source, "train")
    rows = Rows(rows.inputs, rows.labels[:, tasks], rows.samples)
    chosen = [source.index.tasks[t] for t in tasks]
    network = build_network(source.config.model, source.index, chosen, seed)
    if start is not None:
        network.load_from(start.state_dict(), source.index.tasks)
    settings = source.config.profile.model_copy(
        update={"epochs": epochs, "precision": "float32", "memory_format": "contiguous"}
    )
    if start is not None:
        settings = settings.model_copy(update={"lr": as_number(settings.lr) / 5})
    trainer = Trainer(
        network, rows, CommonBatches(len(rows.samples), 64, 1.0, Draws(seed, Stream.NETWORK_BATCHES)), settings
    )
    for epoch in range(1, epochs + 1):
        trainer.epoch(epoch)
    return trainer


def gains_of_pairs(run: RunDir, seed: int) -> np.ndarray:
    """The scores (K, K) of the row's task trained with the column's, above its score alone; 0 on the diagonal."""
    source = source_of(run, "random")
    held_out = [rows_of_split(source, split) for split in ("val", "test")]
    inputs = torch.cat([torch.as_tensor(rows.inputs[:]) for rows in held_out])
    labels = torch.cat([rows.labels for rows in held_out]).numpy()
    epochs = int(run.read_json(LENGTH)["best_epoch"]) if run.exists(LENGTH) else int(source.config.profile.epochs)

    def scores(tasks: list[int]) -> list[float]:
        trainer = trained(source, tasks, seed, epochs)
        predictions = trainer.network.layout.predictions(trainer.evaluate(inputs))
        both = zip(tasks, predictions, strict=True)
        return [primary_score(source.index.tasks[t], p.double().numpy(), labels[:, t]) for t, p in both]

    n_tasks = len(source.index.tasks)
    alone = [scores([t])[0] for t in range(n_tasks)]
    gains = np.zeros((n_tasks, n_tasks))
    for a, b in itertools.combinations(range(n_tasks), 2):
        of_a, of_b = scores([a, b])
        gains[a, b], gains[b, a] = of_a - alone[a], of_b - alone[b]
    return gains


def subsets_trained(run: RunDir) -> dict[str, float]:
    """Estimated and trained falls of the validation losses of random subsets, both from the profiled network."""
    source = source_of(run, "grad_tag")
    estimator = GradTag(source)
    sums: dict[str, np.ndarray] = {}
    for number in range(GradTag.n_units(source)):
        partial = estimator.partial(number)
        for key in KEYS:
            name = f"{SPLITS[int(partial['is_validation'])]}.{key}"
            sums[name] = sums.get(name, 0) + partial[key]
    members = estimator.subsets.draw(len(source.index.tasks))[:SUBSETS]
    estimated = gains_of(sums, members, estimator.subsets.ridge)[members]
    rows = rows_of_split(source, "val")
    target, network = as_labels(rows.labels), source.network()

    def losses(own: TaskNetwork, columns: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            of_rows = own.eval().layout.losses(own(torch.as_tensor(rows.inputs[:])), target[:, columns])
        return of_rows.sum(dim=0).numpy()

    before = losses(network, np.arange(len(source.index.tasks)))
    falls = []
    for subset in members:
        own = np.flatnonzero(subset)
        further = trained(source, own.tolist(), 0, FURTHER_EPOCHS, start=network)
        falls.append(1 - losses(further.network, own) / before[own])
    measured = np.concatenate(falls)
    return {
        "correlation": round(correlation(estimated, measured), 2),
        "estimated": round(float(estimated.mean()), 3),
        "trained": round(float(measured.mean()), 3),
        "absolute_error": round(float(np.abs(estimated - measured).mean()), 3),
    }


def rows_of(result: dict[str, dict]) -> list[tuple[str, str, str]]:
    """The lines of the table."""
    rows = []
    for name, own in result.items():
        for method, values in own["methods"].items():
            known = "" if values["ari"] is None else f"ARI {values['ari']:.2f}; "
            stable = "" if values["stability"] is None else f"seeds {values['stability']:.2f}, "
            agrees = f"{known}{stable}others {values['agreement']:.2f}"
            gains = f"; gains {own['gains'][method]:.2f}" if "gains" in own else ""
            rows.append((f"{name}: {method}", f"{values['seconds']:.1f} s, {values['mib']} MiB; {agrees}{gains}", ""))
        if "gains" in own:
            rows.append((f"{name}: gains of halves", f"{own['gains_of_halves']['correlation']:.2f}", ""))
            rows.append((f"{name}: grad_tag and trained subsets", str(own["subsets"]), ""))
    return rows


if __name__ == "__main__":
    main()
