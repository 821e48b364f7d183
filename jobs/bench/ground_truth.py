"""Ground truth for affinities: gains of all pairs of tasks and of random groups, trained for real, several times.

    python -m jobs.bench.ground_truth [--sets NAME ...] [--trainings MOST] [--groups N] [--keep FOLDER]
                                      [--processes N] [--device cuda] [--quick]

Every task is trained alone, with each of the others, and in random groups of 3 to 6, from scratch, each network until
its score on validation rows no longer improves. The gain of a task in a network is its score there above that alone,
both of one training; 45 % of the rows are for validation, and scores on them are cross-fitted
(`stg_ray.retraining.held_out`), so that test rows are not read. Trainings with other seeds are added, at least three,
until the standard error of a pair's gain is below half of the spread of the gains, or there are `--trainings`.

Networks are kept in FOLDER by the fingerprint of all that decides them: the same command goes on. The scores of each
training are kept in ground_truth.jsonl, beside this file, by the settings that decide them: they are paid for once.

Every affinity that has a meaning for the set is computed at three profiles, and compared with the gains by Spearman's
correlation, over all ordered pairs (i, j), over the partners of each task (the mean over tasks), and over the tasks of
the random groups, where the affinity of a task to a group is its mean to the others in it. In brackets are 90 %
intervals by a bootstrap over tasks.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import rankdata

import stg_ray as sr
from jobs.bench.affinity_methods import SETS as OF_METHODS
from jobs.bench.affinity_methods import computed, source_of
from jobs.bench.known_sets import KNOWN_SETS, KnownSet, _table, images
from jobs.bench.measure import show
from jobs.bench.trained_groups import Members, scores_of
from stg_ray.affinities.estimators import check_methods
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import AFFINITY_METHODS
from stg_ray.data.parts import read_index
from stg_ray.errors import InputError
from stg_ray.progress import Reporter

SETS = {
    "emotions": OF_METHODS["emotions"],
    "yeast": KNOWN_SETS["yeast"],
    "landmine": KNOWN_SETS["landmine"],
    "bibtex, 30": KnownSet(lambda _: _table("mulan/bibtex.parquet", 30, (0.02, 1)), 12, "mulan"),
    "cifar10": KnownSet(images("cifar10", 5_000), 8, "cifar10"),
}
ACTING = ("tag", "etap", "transfer_gain")
"""Affinities whose rows are the tasks that help, not those that are helped."""
LEAST, PROFILES, DRAWS = 3, 3, 1000
"""Trainings of each network at least; profiles at which affinities are computed; draws of the bootstrap."""
SIZES = (3, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["emotions", "yeast", "landmine"])
    parser.add_argument("--trainings", type=int, default=10, help="of each network at most")
    parser.add_argument("--groups", type=int, default=60, help="number of random groups")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the networks here, and go on with those that are there")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="where networks are trained; all processes share a GPU")
    parser.add_argument("--quick", action="store_true", help="few epochs and groups, to see that it works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.trainings, arguments.groups = LEAST, 5
    os.environ["OMP_NUM_THREADS"] = "1"
    result: dict[str, Any] = {"benchmark": "ground_truth", "groups": arguments.groups, "sets": {}}
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        for name in [name for name in arguments.sets if SETS[name].is_there]:
            runs = [profiled(name, seed, Path(arguments.keep or scratch), arguments.quick) for seed in range(PROFILES)]
            gains = measured(name, runs[0], arguments)
            result["sets"][name] = gains.about() | {"methods": compared(gains, [run.run_dir for run in runs])}
            rows += rows_of(name, result["sets"][name])
    show("Affinities and measured gains", rows, result)


def profiled(name: str, seed: int, folder: Path, quick: bool) -> sr.Run:
    """Profile a set on rows that every seed has; nearly half of them are for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    if not path.exists():
        arrays = dict(SETS[name].build(0))
        arrays.pop("groups", None)
        place = np.random.default_rng(0).permutation(len(arrays["inputs"])) % 20
        np.savez(path, split=np.select([place < 10, place < 19], ["train", "val"], "test"), **arrays)
    method = "landscape" if SETS[name].own_rows else "label_correlation"  # which have a meaning; not computed here
    training = {"epochs": 2 if quick else "auto"}
    values = {
        "seed": seed,
        "data": {"npz": str(path), "constant_tasks": "drop", "tasks": {"*": {"missing": [-1]}}},
        "profile": {"workers": 1, **training},
        "affinity": {"methods": [method]},
        "retrain": training,
    }
    out = folder / f"{name}-{seed}{'-quick' if quick else ''}"
    return sr.run(sr.load_config(values), str(out), until="profile", reporter=Reporter(Console(quiet=True)))


@dataclass
class Gains:
    """Measured gains of K tasks.

    Attributes:
        pairs: (R, K, K) gain of the row's task by training with the column's, by training; NaN on the diagonal.
        groups: (M, K) which tasks are in each random group.
        of_groups: (R, M, K) gain of each task in each of them; NaN where it is not in the group.
        seconds: that were spent on networks that were not there yet.
    """

    pairs: np.ndarray
    groups: np.ndarray
    of_groups: np.ndarray
    seconds: float = 0.0

    @property
    def error(self) -> float:
        """Standard error of a pair's gain: root mean square over pairs."""
        return float(np.sqrt(np.nanmean(self.pairs.var(axis=0, ddof=1)) / len(self.pairs)))

    @property
    def spread(self) -> float:
        """Standard deviation of the pairs' gains, without that of the error; 0 where there is no more than that."""
        return float(np.sqrt(max(0.0, np.nanvar(self.pairs.mean(axis=0)) - self.error**2)))

    def about(self) -> dict[str, Any]:
        """Return what was measured, in short."""
        mean, half = self.pairs.mean(axis=0), len(self.pairs) // 2
        everywhere = np.ones(len(mean))
        first, second = self.pairs[:half].mean(axis=0), self.pairs[half : 2 * half].mean(axis=0)
        return {
            "tasks": len(mean),
            "trainings": len(self.pairs),
            "networks": len(self.pairs) * (len(mean) * (len(mean) + 1) // 2 + len(self.groups)),
            "seconds": round(self.seconds),
            "mean gain of pairs": round(float(np.nanmean(mean)), 4),
            "mean gain in groups": round(float(np.nanmean(self.of_groups)), 4),
            "error": round(self.error, 4),
            "spread": round(self.spread, 4),
            "halves": {
                "pairs": round(over_pairs(first, second, everywhere), 2),
                "partners": round(over_partners(first, second, everywhere), 2),
            },
        }


def measured(name: str, run: sr.Run, arguments: argparse.Namespace) -> Gains:
    """Train the networks that are not there yet, until gains are known well enough."""
    names = list(read_index(run.run_dir.sub("parts")).names)
    groups = random_groups(len(names), arguments.groups)
    pairs = list(itertools.combinations(range(len(names)), 2))
    members: list[Members] = [(t,) for t in range(len(names))] + pairs + groups
    began, trainings = time.monotonic(), list[np.ndarray]()
    keep_as = None if arguments.quick else name
    while True:
        scores = scores_of(run, members, len(trainings), arguments.processes, arguments.device, keep_as)
        trainings.append(scores - np.diag(scores[: len(names)]))
        gains = as_gains(np.array(trainings), names, pairs, groups)
        gains.seconds = time.monotonic() - began
        if len(trainings) >= arguments.trainings or (len(trainings) >= LEAST and gains.error < gains.spread / 2):
            return gains


def random_groups(n_tasks: int, n_groups: int) -> list[tuple[int, ...]]:
    """Different random groups of 3 to 6 tasks, or of all but one where there are few."""
    rng, groups = np.random.default_rng(1), list[tuple[int, ...]]()
    largest = min(SIZES[1], n_tasks - 1)
    while len(groups) < n_groups and len(groups) < 2 ** (n_tasks - 1) // 2:
        chosen = rng.choice(n_tasks, rng.integers(SIZES[0], largest + 1), replace=False)
        if (group := tuple(int(t) for t in sorted(chosen))) not in groups:
            groups.append(group)
    return groups


def as_gains(gains: np.ndarray, names: list[str], pairs: list[tuple[int, int]], groups: list[tuple[int, ...]]) -> Gains:
    """Sort gains (R, networks, K) of tasks alone, pairs and groups."""
    n_tasks = len(names)
    of_pairs = np.full((len(gains), n_tasks, n_tasks), np.nan)
    for m, (a, b) in enumerate(pairs, n_tasks):
        of_pairs[:, a, b], of_pairs[:, b, a] = gains[:, m, a], gains[:, m, b]
    is_in = np.array([[t in group for t in range(n_tasks)] for group in groups])
    return Gains(of_pairs, is_in, gains[:, n_tasks + len(pairs) :])


def compared(gains: Gains, runs: list[RunDir]) -> dict[str, dict[str, list[float]]]:
    """Correlate the affinities of all methods with the gains: the mean over the profiles, and its interval."""
    found = {"measured pairs": correlations(gains, [gains.pairs.mean(axis=0)])}
    for method in AFFINITY_METHODS.own:
        source = source_of(runs[0], method)
        try:
            check_methods(source.settings, source.index)
        except InputError:
            continue
        own = [kept(run, method) for run in runs]
        found[method] = correlations(gains, [values.T if method in ACTING else values for values in own])
    return found


def kept(run: RunDir, method: str) -> np.ndarray:
    """An affinity (K, K) of a run, large values alike; computed once."""
    file = f"bench/{method}.arrow"
    if not run.exists(file):
        matrix = computed(run, method)
        run.write_arrays(file, {"values": matrix.values if matrix.kind == "affinity" else -matrix.values})
    return run.read_arrays(file)["values"]


def correlations(gains: Gains, affinities: list[np.ndarray]) -> dict[str, list[float]]:
    """Spearman's correlations of affinities with gains: the mean, and the bounds of its interval."""
    pairs, of_groups, is_in = gains.pairs.mean(axis=0), gains.of_groups.mean(axis=0), gains.groups.astype(float)
    own = [np.where(np.eye(len(a), dtype=bool), 0.0, np.nan_to_num(a, nan=np.nanmin(a))) for a in affinities]
    to_groups = [np.where(gains.groups, is_in @ a.T / (is_in.sum(axis=1) - 1)[:, None], np.nan) for a in own]
    cases: dict[str, Callable[[np.ndarray], float]] = {
        "pairs": lambda times: _mean([over_pairs(a, pairs, times) for a in own]),
        "partners": lambda times: _mean([over_partners(a, pairs, times) for a in own]),
        "groups": lambda times: _mean([weighted_spearman(a, of_groups, times[None, :]) for a in to_groups]),
    }
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=DRAWS)
    found = {}
    for name, of in cases.items():
        bounds = np.nanquantile([of(times) for times in draws], [0.05, 0.95])
        found[name] = [round(float(value), 2) for value in (of(np.ones(len(pairs))), *bounds)]
    return found


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def over_pairs(a: np.ndarray, b: np.ndarray, times: np.ndarray) -> float:
    """Spearman's correlation over ordered pairs of tasks, each task as often as it was drawn."""
    return weighted_spearman(a, b, np.outer(times, times))


def over_partners(a: np.ndarray, b: np.ndarray, times: np.ndarray) -> float:
    """Mean over tasks of Spearman's correlation over their partners."""
    of_tasks = [weighted_spearman(a[i], b[i], times) for i in range(len(a))]
    return float(np.average(of_tasks, weights=times))


def weighted_spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Spearman's correlation, where values count as often as they were drawn; 0 where one is constant.

    Ranks are those among all values, which repeated ones do not change but for a scale.
    """
    weights = np.broadcast_to(weights, a.shape)
    there = np.isfinite(a) & np.isfinite(b) & (weights > 0)
    x, y, w = rankdata(a[there]), rankdata(b[there]), weights[there]
    if len(x) < 2:
        return 0.0
    x, y = x - np.average(x, weights=w), y - np.average(y, weights=w)
    scale = np.sqrt((w * x * x).sum() * (w * y * y).sum())
    return float((w * x * y).sum() / scale) if scale > 0 else 0.0


def rows_of(name: str, found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The lines of the table."""
    about = {key: value for key, value in found.items() if key not in ("methods", "halves")}
    rows = [(f"{name}: {key}", str(value), "") for key, value in about.items()]
    halves = ", ".join(f"{key} {value:.2f}" for key, value in found["halves"].items())
    rows.append((f"{name}: gains of one half of the trainings and the other", halves, ""))
    for method, own in found["methods"].items():
        text = ", ".join(f"{key} {mean:.2f} ({low:.2f} {high:.2f})" for key, (mean, low, high) in own.items())
        rows.append((f"{name}: {method}", text, ""))
    return rows


if __name__ == "__main__":
    main()
