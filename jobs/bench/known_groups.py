"""Do the affinities find the groups that are known? CIFAR-100's super-classes, and the fifteen tasks on CIFAR-10.

    STG_RAY_DATA=... python -m jobs.bench.known_groups [--quick] [--keep FOLDER]

CIFAR-100: 100 one-vs-rest tasks, 25,000 images, 6 epochs of the small CNN, three seeds; 20 groups against the 20
super-classes (adjusted Rand index and normalised mutual information), and the number of groups that auto chooses.

CIFAR-10: the fifteen tasks of STG-MTL, 20,000 images, 5 epochs, five seeds, k-means of the data maps, by their
correlation and by their distance. In three groups: is the random task alone, or only with the upside-down one, and are
living and not living together? The ten classes in two groups: are they machines and animals, exactly?
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import stg_ray as sr
from jobs.bench.measure import show
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.cluster.session import session
from stg_ray.data.parts import read_index
from stg_ray.progress import Reporter

MACHINES = {"airplane", "automobile", "ship", "truck"}
QUESTIONS = (
    "random labels alone, or only with upside down",
    "living and not living together",
    "ten classes: machines and animals",
)
COMBINATIONS = {
    "data maps": (["data_map"], "spectral"),
    "data maps, k-means": (["data_map"], "kmeans"),
    "confidence correlation": (["confidence_correlation"], "spectral"),
    "confidence correlation, k-means": (["confidence_correlation"], "kmeans"),
    "landscape": (["landscape"], "spectral"),
    "logit correlation": (["logit_correlation"], "spectral"),
    "data maps and landscape": (["data_map", "landscape"], "spectral"),
    "data maps and landscape, graph attention": (["data_map", "landscape"], "gat"),
    "data maps and landscape, semidefinite": (["data_map", "landscape"], "sdp"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images and seeds, to see that it works")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the runs here, and go on with those that are there")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting")
    arguments = parser.parse_args()
    if not (Path(os.environ.get("STG_RAY_DATA", "nowhere")) / "cifar100").is_dir():
        raise SystemExit("set STG_RAY_DATA to a folder with cifar10/ and cifar100/")
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, session(None):
        runs = Runs(Path(arguments.keep or scratch), arguments.quick, arguments.set)
        rows, result = cifar100(runs)
        more_rows, more = cifar10(runs)
    result = {"benchmark": "known_groups", "quick": arguments.quick, "set": arguments.set, **result, **more}
    show("Known groups", [*rows, *more_rows], result)


class Runs:
    """Runs up to the affinities, kept by preset and seed."""

    def __init__(self, folder: Path, quick: bool, overrides: list[str]) -> None:
        self.folder, self.quick, self.overrides = folder, quick, overrides
        self.seconds: list[float] = []

    def __call__(self, preset: str, seed: int, images: int, epochs: int) -> tuple[dict[str, TaskMatrix], list]:
        limit, epochs = (2000, 1) if self.quick else (images, epochs)
        own = [f"seed={seed}", f"data.limit={limit}", f"profile.epochs={epochs}"]
        # By default data_map and landscape.
        own.append("affinity.methods=[data_map, confidence_correlation, landscape, logit_correlation]")
        config = sr.load_config(preset, [*own, *self.overrides])
        began = time.monotonic()
        out = str(self.folder / f"{preset}-{seed}")
        run = sr.run(config, out, until="affinity", reporter=Reporter(Console(quiet=True))).run_dir
        self.seconds.append(time.monotonic() - began)
        names = config.affinity.methods
        matrices: dict[str, TaskMatrix] = {
            name: TaskMatrix.from_table(run.read_parquet(f"affinity/{name}.parquet")) for name in names
        }
        return matrices, list(read_index(run.sub("parts")).tasks)


def cifar100(runs: Runs) -> tuple[list[tuple[str, str, str]], dict]:
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in COMBINATIONS}
    chosen = []
    for seed in range(1 if runs.quick else 3):
        matrices, tasks = runs("cifar100", seed, 25_000, 6)
        truth = [task.group for task in tasks]
        for name, (methods, clusterer) in COMBINATIONS.items():
            groups = sr.group([matrices[m] for m in methods], method=clusterer, n_groups=20)
            found = groups.labels
            scores[name].append((adjusted_rand_score(truth, found), normalized_mutual_info_score(truth, found)))
        chosen.append(len(sr.group([matrices["data_map"], matrices["landscape"]]).groups))
    expected = {
        "data maps": "ARI 0.33",
        "confidence correlation": "ARI 0.33",
        "landscape": "ARI 0.36 (median)",
        "data maps and landscape": "0.40, 0.73",
    }
    rows = []
    for name, values in scores.items():
        ari, nmi = np.array(values).T
        each = ", ".join(f"{v:.2f}" for v in ari)
        rows.append(
            (
                f"CIFAR-100: {name}",
                f"ARI {ari.mean():.3f} ({each}; median {np.median(ari):.3f}), NMI {nmi.mean():.3f}",
                expected.get(name, ""),
            )
        )
    rows.append(("CIFAR-100: groups by auto", ", ".join(map(str, chosen)), "10 to 30"))
    rows.append(("CIFAR-100: seconds to the affinities", f"{statistics.median(runs.seconds):.0f}", ""))
    return rows, {"cifar100": scores, "cifar100_auto": chosen, "cifar100_seconds": list(runs.seconds)}


def cifar10(runs: Runs) -> tuple[list[tuple[str, str, str]], dict]:
    right: dict[str, dict[str, list[bool]]] = {
        method: {question: [] for question in QUESTIONS} for method in ("confidence_correlation", "data_map")
    }
    for seed in range(1 if runs.quick else 5):
        matrices, _ = runs("cifar10-15", seed, 20_000, 5)
        for method, own in right.items():
            for question, answer in answers(matrices[method]).items():
                own[question].append(answer)
    rows = []
    for method, own in right.items():
        every = {**own, "all three": [all(answer) for answer in zip(*own.values(), strict=True)]}
        rows += [(f"CIFAR-10, {method}: {q}", f"{sum(a)} of {len(a)} seeds", "4 of 5 seeds") for q, a in every.items()]
    return rows, {"cifar10": right}


def answers(matrix: TaskMatrix) -> dict[str, bool]:
    """Of `QUESTIONS`, by k-means."""
    of = sr.group(matrix, method="kmeans", n_groups=3).serving
    with_random = {task for task, group in of.items() if group == of["random labels"]}
    ten = TaskMatrix(matrix.tasks[:10], matrix.values[:10, :10], matrix.kind)
    two = [set(group) for group in sr.group(ten, method="kmeans", n_groups=2).groups]
    found = (with_random <= {"random labels", "upside down"}, of["living"] == of["not living"], MACHINES in two)
    return dict(zip(QUESTIONS, found, strict=True))


if __name__ == "__main__":
    main()
