"""Every affinity on real task sets: seconds, memory, known groups, agreement, stability, and grad_tag's estimates.

    python -m jobs.bench.affinity_methods [--quick] [--keep FOLDER] [--sets NAME ...] [--methods NAME ...]
                                          [--seeds N]

Sets are those of `known_sets`, each profiled once for every seed until its score on validation rows no longer improves;
the data stays the same. Of every method it shows the
seconds of one thread, the peak of memory above that of a program that computes none, the adjusted Rand index of as many
groups as are known, and Spearman's correlation over pairs of tasks with other seeds (stability) and with the mean of
all other methods' ranks (agreement).

On `emotions` and `yeast` random subsets of tasks are trained further from the profiled network: the shares by which
their validation losses fall are compared with those that grad_tag estimates, and its seconds with those of training all
subsets that it estimates. How affinities agree with gains that are measured is in `jobs.bench.ground_truth`.
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
from jobs.bench.known_sets import KNOWN_SETS, KnownSet, _table, alphabets, images, school, told
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
from stg_ray.training.trainer import Rows, Trainer

SETS = {
    "emotions": KnownSet(lambda _: _table("mulan/emotions.parquet"), 60, "mulan"),
    **{s: KNOWN_SETS[s] for s in ("emotions, turned", "scene, turned", "yeast, turned", "cifar10", "landmine")},
    **{s: KNOWN_SETS[s] for s in ("yeast", "bibtex")},
    "cifar100, all": KnownSet(images("cifar100", 10_000), 10, "cifar100"),
    "omniglot": KnownSet(alphabets, 10, "omniglot", own_rows=True),
    "school": KnownSet(school, 10, "own_rows", own_rows=True),
}
DEFAULT = list(SETS)[:7]
"""The others have many tasks, or a network that takes long: name them."""
FEW_TASKS = 40
"""Beyond as many, transfer_gain is left out, which takes a step for each pair of tasks a look."""
MEASURED = ("emotions", "yeast")
"""Sets of which subsets are trained."""
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
            if name in MEASURED and "grad_tag" in arguments.methods:
                result[name] |= {"subsets": subsets_trained(runs[0], result[name]["methods"]["grad_tag"]["seconds"])}
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
        tasks = told(arrays)
    method = "landscape" if about.own_rows else "label_correlation"  # which have a meaning; not computed here
    values = {
        "seed": seed,
        "data": {"npz": str(path), "constant_tasks": "drop", "tasks": tasks},
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


def subsets_trained(run: RunDir, seconds: float) -> dict[str, float]:
    """Estimated and trained falls of the validation losses of random subsets, both from the profiled network.

    Args:
        seconds: that grad_tag took.
    """
    source = source_of(run, "grad_tag")
    estimator = GradTag(source)
    sums: dict[str, np.ndarray] = {}
    for number in range(GradTag.n_units(source)):
        partial = estimator.partial(number)
        for key in KEYS:
            name = f"{SPLITS[int(partial['is_validation'])]}.{key}"
            sums[name] = sums.get(name, 0) + partial[key]
    everything = estimator.subsets.draw(len(source.index.tasks))
    members = everything[:SUBSETS]
    estimated = gains_of(sums, members, estimator.subsets.ridge)[members]
    rows = rows_of_split(source, "val")
    target, network = as_labels(rows.labels), source.network()

    def losses(own: TaskNetwork, columns: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            of_rows = own.eval().layout.losses(own(torch.as_tensor(rows.inputs[:])), target[:, columns])
        return of_rows.sum(dim=0).numpy()

    before = losses(network, np.arange(len(source.index.tasks)))
    falls, began = [], time.perf_counter()
    for subset in members:
        own = np.flatnonzero(subset)
        further = trained(source, own.tolist(), 0, FURTHER_EPOCHS, start=network)
        falls.append(1 - losses(further.network, own) / before[own])
    measured = np.concatenate(falls)
    training = (time.perf_counter() - began) / len(members) * len(everything)
    relative = np.abs(estimated - measured) / (1 - measured)  # of the losses
    return {
        "relative_error": round(float(relative.mean()), 3),
        "cost": round(seconds / training, 3),
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
            others = "" if values["agreement"] is None else f"others {values['agreement']:.2f}"
            agrees = f"{known}{stable}{others}"
            rows.append((f"{name}: {method}", f"{values['seconds']:.1f} s, {values['mib']} MiB; {agrees}", ""))
        if "subsets" in own:
            rows.append((f"{name}: grad_tag and trained subsets", str(own["subsets"]), "relative error 0.05"))
    return rows


if __name__ == "__main__":
    main()
