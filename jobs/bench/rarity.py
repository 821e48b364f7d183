"""Do groups follow how rare the labels are? Every affinity on task sets whose groups are known, or cross the rates.

    STG_RAY_DATA=... python -m jobs.bench.rarity [--quick] [--keep FOLDER] [--sets bibtex ...] [--seeds 2]

The sets are those of `known_sets`. For each affinity alone, and the defaults of this version and of 0.1, are printed

    rarity   share of the variance of log(positives) that the groups explain (eta squared), and what as many random
             groups explain; as many groups as auto chooses from two on. Only where nothing known follows the rates,
             and all tasks have labels that are positive or not
    ARI      adjusted Rand index with the known groups; as many groups as are known
    auto     the same, and the number is chosen: one group where no structure is found
    seconds  of one thread, from the profile to the matrix

and, of sets for which all of them have a meaning (regressions have no confidence), means and, leave-one-set-out, the
agreement of the choice that is best on all other sets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

import stg_ray as sr
from jobs.bench.known_sets import KNOWN_SETS, profiled
from jobs.bench.measure import show
from stg_ray.affinities.estimators import check_methods, estimator_of, methods_for
from stg_ray.affinities.gradients.samples import class_counts
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.cluster.session import session
from stg_ray.config.loading import set_values
from stg_ray.errors import InputError
from stg_ray.models import load_weights

ALONE = (
    "confidence_adjusted",
    "logit_adjusted",
    "confidence_correlation",
    "logit_correlation",
    "data_map",
    "landscape",
    "label_correlation",
)
DEFAULT, BEFORE = "default", "default of 0.1"
CHOICES = (DEFAULT, BEFORE, *ALONE)
CROSSING = {"topics, rare", "topics, many", "gaussian"}
"""Planted sets in which every group has every rate."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few epochs and one seed, to see that it works")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the profiles here, and use those that are there")
    parser.add_argument("--sets", nargs="+", choices=list(KNOWN_SETS), default=list(KNOWN_SETS))
    parser.add_argument("--seeds", type=int, default=1, help="profiles of each set")
    arguments = parser.parse_args()
    seeds = range(1 if arguments.quick else arguments.seeds)
    there = [name for name in arguments.sets if KNOWN_SETS[name].is_there]
    result: dict[str, dict[str, dict[str, float]]] = {}
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, session(None):
        folder = Path(arguments.keep or scratch)
        for name in there:
            runs = [measured(profiled(name, seed, folder, quick=arguments.quick)) for seed in seeds]
            result[name] = {choice: _mean([run[choice] for run in runs]) for choice in runs[0]}
            rows += [(f"{name}: {choice}", *_texts(name, values)) for choice, values in result[name].items()]
    summary = _summary(result)
    if summary["values"]:
        rows += [(f"mean over sets: {choice}", text, "") for choice, text in summary["texts"].items()]
        rows += [("chosen without the set it is judged on", summary["left_out"], "0.08 above the default of 0.1")]
    left_out = [name for name in arguments.sets if name not in there]
    about = {"benchmark": "rarity", "quick": arguments.quick, "seeds": len(seeds), "left_out": left_out}
    show("Groups and how rare the labels are", rows, {**about, "sets": result, "mean": summary["values"]})


def measured(run: RunDir) -> dict[str, dict[str, float]]:
    """Measure all affinities of a profiled run, and the defaults of this version and of 0.1."""
    torch.set_num_threads(1)
    source = RunSource(run, run.read_config(), load_weights(run, "profile/network.pt"))
    tasks = source.index.tasks
    counts = class_counts([source.part(number).labels for number in range(source.index.n_parts())], tasks)
    are_binary = all(task.kind == "binary" for task in tasks)
    positives = np.array([count[1] for count in counts]) if are_binary else None
    known = [task.group for task in tasks]
    matrices, seconds = {}, {}
    for method in ALONE:
        own = RunSource(run, set_values(source.config, [f"affinity.methods=[{method}]"]), source.weights)
        try:
            check_methods(own.settings, own.index)
        except InputError:
            continue  # it has no meaning for these tasks
        began = time.monotonic()
        estimator = estimator_of(method, own.settings, own.index)
        instance = estimator(own)
        matrices[method] = estimator.combine(map(instance.partial, range(estimator.n_units(own))), tasks)
        seconds[method] = time.monotonic() - began
    by_default = methods_for(set_values(source.config, ["affinity.methods=auto"]).affinity, source.index)
    choices = {DEFAULT: by_default, BEFORE: ["data_map", "landscape"], **{method: [method] for method in ALONE}}
    found = {}
    for choice, methods in choices.items():
        if set(methods) <= set(matrices):
            values = scores([matrices[method] for method in methods], known, positives)
            found[choice] = {**values, "seconds": sum(seconds[method] for method in methods)}
    return found


def scores(
    matrices: Sequence[TaskMatrix], known: Sequence[str | None], positives: np.ndarray | None
) -> dict[str, float]:
    """Return the share of the variance of log(positives) that groups explain, and their agreement with known ones."""
    chosen = sr.group(matrices, min_groups=2)
    values = {"groups": float(len(chosen.groups))}
    if positives is not None:
        values["rarity"] = eta_squared(np.log(np.maximum(positives, 1)), chosen.labels)
        values["by_chance"] = (len(chosen.groups) - 1) / (len(known) - 1)
    if None not in known:
        values["ari"] = float(adjusted_rand_score(known, sr.group(matrices, n_groups=len(set(known))).labels))
        values["auto"] = float(adjusted_rand_score(known, sr.group(matrices).labels))
    return values


def eta_squared(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the variance of values (K,) that lies between groups."""
    means = np.array([values[labels == group].mean() for group in labels])
    total = np.square(values - values.mean()).sum()
    return float(np.square(means - values.mean()).sum() / total) if total > 0 else 0.0


def _mean(values: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([own[key] for own in values])), 3) for key in values[0]}


def _is_of_rates(name: str, values: dict[str, float]) -> bool:
    """Whether groups of this set may be asked for how much they follow the rates."""
    return "rarity" in values and ("ari" not in values or name in CROSSING)


def _texts(name: str, values: dict[str, float]) -> tuple[str, str]:
    agreement = f"ARI {values['ari']:.2f}, auto {values['auto']:.2f}; " if "ari" in values else ""
    text = f"{values['groups']:.0f} groups"
    if "rarity" in values:
        text += f" explain {values['rarity']:.2f} (random {values['by_chance']:.2f})"
    return f"{agreement}{text}; {values['seconds']:.1f} s", "below 0.3" if _is_of_rates(name, values) else ""


def _summary(result: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return means over the sets for which every choice has a meaning, and the agreement of the choice that is best on
    all others of them; nothing where there are none."""
    common = {name: found for name, found in result.items() if set(CHOICES) <= set(found)}
    values: dict[str, dict[str, float]] = {}
    for choice in CHOICES if common else ():
        agreements = [found[choice]["ari"] for found in common.values() if "ari" in found[choice]]
        followed = [found[choice]["rarity"] for name, found in common.items() if _is_of_rates(name, found[choice])]
        values[choice] = {
            "ari": round(float(np.mean(agreements)), 3) if agreements else float("nan"),
            "rarity": round(float(np.mean(followed)), 3) if followed else float("nan"),
        }
    judged = [name for name, found in common.items() if "ari" in found["default"]]
    left_out = []
    for name in judged:
        others = [common[other] for other in judged if other != name]
        if others:
            best = max(CHOICES, key=lambda choice: np.mean([found[choice]["ari"] for found in others]))
            left_out.append(common[name][best]["ari"])
    return {
        "values": values,
        "texts": {choice: f"ARI {v['ari']:.3f}; rarity {v['rarity']:.3f}" for choice, v in values.items()},
        "left_out": f"ARI {np.mean(left_out):.3f}" if left_out else "",
    }


if __name__ == "__main__":
    main()
