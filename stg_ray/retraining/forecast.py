"""What grouping is expected to bring, told when half of the first training of its plans is done.

The gradients of the profiled network, the structure of the affinities and short trainings from the profile do not tell
it; half of a training from scratch tells about as much as a whole one (jobs/bench/forecasts.py). So the networks of our
groups, of all tasks and of random groups pause there in the first training, their predictions for the validation rows
are compared, and afterwards they go on: a forecast costs no training that the plans do not need.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.outlook import ENSEMBLE, FORECAST, ONE, RANDOM
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.nodes import cluster_nodes
from stg_ray.cluster.placement import place_trials
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.progress import StageProgress
from stg_ray.retraining.held_out import FILE, HeldOut
from stg_ray.retraining.jackknife import folds_of, jackknife_error, n_filled
from stg_ray.retraining.kept import checkpoint_of, is_finished, network_folder
from stg_ray.retraining.library import Library
from stg_ray.retraining.plans import Plan, n_networks
from stg_ray.retraining.specs import NetworkSpec, epochs_of_plans
from stg_ray.retraining.trials import run_trials
from stg_ray.training.looks import share_with_looks

LENGTH = 0.5
"""Share of a training after which its networks are compared."""

WIDTH = 2.0
"""Half the width of an interval, in errors: 21 of 23 gains of whole trainings were within (jobs/bench/forecasts.py)."""

PAUSED = "paused-{}.npz"
"""File of a network's folder: what it predicted for validation rows when it paused after so many epochs."""

LEAST_SECONDS = 120.0
"""Seconds of all trainings below which `auto` tells nothing: the pause, a second start of Ray Tune, takes five."""

OURS = "ours"


@dataclass(frozen=True)
class Gain:
    """What our groups are expected to gain over a plan, in the mean over tasks of their primary metrics.

    Attributes:
        mean: of it.
        low, high: of an interval that covers 9 of 10 gains.
    """

    mean: float
    low: float
    high: float


def forecast(
    run: RunDir, config: Config, plans: dict[str, Plan], specs: Sequence[NetworkSpec], progress: StageProgress
) -> dict[str, Any] | None:
    """Train half of the first training of some plans, compare them on validation rows, and write forecast.json.

    Args:
        run: with the artifacts of all earlier stages.
        config: of the run.
        plans: by name.
        specs: of their networks, in all trainings.
        progress: of the retrain stage.

    Returns:
        The content of forecast.json: `epochs` after which the networks were compared (None: whole trainings, where one
        was finished before and did not pause there), the number of `networks` of an
        ensemble of all-task networks, `expected` gains over other plans by their names, and the `outlook`: gain, none
        or open. None where it is not asked for, or is not worth a pause, or networks are initialisations; where ours or
        one network of all tasks is not among the plans, one cannot be trained, or no task has a score.
    """
    if run.exists(FORECAST):  # this stage was interrupted
        found: dict[str, Any] = run.read_json(FORECAST)
        return found
    wanted = config.retrain.forecast
    if config.retrain.learner != "joint":  # what initialisations predict once they have adapted is not of these rows
        return None
    is_needed = (
        "searched" in config.retrain.plans and config.search.start == "auto"
    )  # it decides how groups are measured
    if wanted == "never" or (wanted == "auto" and not is_needed and _seconds(run, config, specs) < LEAST_SECONDS):
        return None
    epochs: int | None = round(LENGTH * epochs_of_plans(run, config))
    first = _first(config, specs)
    if not epochs or OURS not in first or ONE not in first:
        return None
    networks = {network_folder(spec, config): spec for own in first.values() for spec in own}
    file = PAUSED.format(epochs)
    if any(is_finished(run, folder) and not _is_kept(run, folder, file) for folder in networks):
        file, epochs = FILE, None
    if not _trained(run, config, networks, file, epochs, progress):
        return None
    gains = _gains(run, config, plans, first, file)
    if not gains:
        return None
    about = {
        "epochs": epochs,
        "networks": n_networks(plans[OURS].groups),
        "expected": {key: asdict(gain) for key, gain in gains.items()},
        "outlook": _outlook(gains[ONE]),
    }
    run.write_json(FORECAST, about)
    return about


def _trained(
    run: RunDir,
    config: Config,
    networks: Mapping[str, NetworkSpec],
    file: str,
    epochs: int | None,
    progress: StageProgress,
) -> bool:
    """Train networks, by their folders, to so many epochs (None: to their end), until they have that file of what they
    predict for validation rows; whether all could be trained.

    Once networks are finished nothing but the file tells what they predicted when they paused, and a stage that is done
    again is to expect the same.
    """
    missing = {folder: replace(spec, pause=epochs) for folder, spec in networks.items()
               if not (is_finished(run, folder) if epochs is None else _is_kept(run, folder, file))}  # fmt: skip
    if not missing:
        return True
    progress.has_more = True  # the time to the end is not that of these trainings alone
    failed = run_trials(run, config, list(missing.values()), progress, "of the forecast")
    progress.has_more = False
    if failed:
        return False
    if epochs is not None:
        index = read_index(run.sub("parts"))
        for folder, spec in missing.items():
            data = run.read_bytes(checkpoint_of(folder))
            saved = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
            rows = TaskRows(run.sub("parts"), index, "val", [index.names.index(name) for name in spec.tasks]).rows
            HeldOut(rows, saved["choices"]["outputs"].numpy()).write(run, folder, file)
    return True


def _seconds(run: RunDir, config: Config, specs: Sequence[NetworkSpec]) -> float:
    """About how long all networks will train, as long each as the profile; 0 where that is not known."""
    if not run.exists("profile/metrics.parquet"):
        return 0.0
    epochs = run.read_parquet("profile/metrics.parquet").select(["epoch", "seconds"]).to_pandas().drop_duplicates()
    workers, placement = place_trials(cluster_nodes(), config.retrain.workers, config.retrain.gpu_share)
    distinct = {network_folder(spec, config) for spec in specs}
    seconds = float(epochs["seconds"].sum()) / share_with_looks(config.profile, len(read_index(run.sub("parts")).names))
    return seconds * len(distinct) * workers / placement.at_once


def _first(config: Config, specs: Iterable[NetworkSpec]) -> dict[str, list[NetworkSpec]]:
    """The networks of the first training of the plans that are compared; of an ensemble its second network."""
    first: dict[str, list[NetworkSpec]] = {}
    for spec in specs:
        is_second = spec.plan != ENSEMBLE or spec.group == 1  # its first is that of all tasks
        if spec.seed == config.seed and spec.plan in (OURS, ONE, ENSEMBLE, RANDOM) and is_second:
            first.setdefault(spec.plan, []).append(spec)
    groups = {plan: {spec.tasks for spec in own} for plan, own in first.items()}
    if groups.get(RANDOM) == groups.get(OURS):
        first.pop(RANDOM, None)  # of few tasks the draw may be ours
    return first


def _gains(
    run: RunDir, config: Config, plans: dict[str, Plan], first: dict[str, list[NetworkSpec]], file: str
) -> dict[str, Gain]:
    """What ours gain over the others, from what networks predict by their files; nothing where no task has a score."""
    index = read_index(run.sub("parts"))
    names, of_all = index.names, TaskRows(run.sub("parts"), index, "val", range(len(index.names)))
    specs = [spec for own in first.values() for spec in own]
    members = [[names.index(name) for name in spec.tasks] for spec in specs]
    outputs = (
        [HeldOut.read(run, network_folder(spec, config), file).of_all_rows(index.n_samples("val"))[of_all.rows]]
        for spec in specs
    )
    library = Library(index.tasks, [of_all.labels], [of_all.rows], members, outputs, config.metric)
    number = {(spec.plan, spec.group): n for n, spec in enumerate(specs)}
    predicting = {
        name: [[number[name, plans[name].groups.serving[task]]] for task in names]
        for name in (OURS, RANDOM)
        if name in first
    }
    alone = [number[ONE, 0], *([number[ENSEMBLE, 1]] if ENSEMBLE in first else [])]
    predicting |= {ONE: [alone[:1]] * len(names)}
    if len(alone) > 1:
        predicting |= {"second": [alone[1:]] * len(names), ENSEMBLE: [alone] * len(names)}
    size = n_networks(plans[OURS].groups)

    def gains_of(some: Library) -> dict[str, np.ndarray]:
        return _gains_of_tasks({name: _scores(some, own) for name, own in predicting.items()}, size)

    whole = gains_of(library)
    parts = [gains_of(library.of_rows(partial(_is_outside, block))) for block in range(n_filled([of_all.rows]))]
    return {
        name: _with_interval(gain, [part[name] for part in parts])
        for name, gain in whole.items()
        if np.isfinite(gain).any()
    }


def _is_kept(run: RunDir, folder: str, file: str) -> bool:
    """Whether that file of a network is there, and whole."""
    try:
        HeldOut.read(run, folder, file)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False
    return True


def _is_outside(block: int, rows: np.ndarray) -> np.ndarray:
    return np.asarray(folds_of(rows) != block)


def _scores(library: Library, predicting: Sequence[Sequence[int]]) -> np.ndarray:
    """The (K,) scores of tasks, each by the networks that predict it."""
    counts = np.zeros((len(predicting), len(library.members)), dtype=np.int64)
    for t, networks in enumerate(predicting):
        counts[t, list(networks)] = 1
    return np.array([library.score(t, counts[t]) for t in range(len(predicting))])


def _gains_of_tasks(scores: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """The (K,) gains of ours over each plan, from the scores of the plans.

    Where there are two networks of all tasks, one network scores as they do on average. What averaging takes away is a
    share 1 - 1/n of the variance of networks, so that n of them gain 2 (1 - 1/n) times what two gain.
    """
    ours, one = scores[OURS], scores[ONE]
    gains = {}
    if ENSEMBLE in scores:
        one = (one + scores["second"]) / 2
        gains[ENSEMBLE] = ours - one - 2 * (1 - 1 / size) * (scores[ENSEMBLE] - one)
    if RANDOM in scores:
        gains[RANDOM] = ours - scores[RANDOM]
    return {ONE: ours - one, **gains}


def _with_interval(gain: np.ndarray, left_out: Sequence[np.ndarray]) -> Gain:
    """The mean over tasks of gains (K,), with the larger of its errors: over rows by the jackknife, or over tasks."""
    known = np.isfinite(gain)
    mean, n_tasks = float(gain[known].mean()), int(known.sum())
    of_rows = (jackknife_error(np.array(left_out)[:, known]) if left_out else None) or 0.0
    of_tasks = gain[known].std(ddof=1) / np.sqrt(n_tasks) if n_tasks > 1 else 0.0
    error = WIDTH * float(max(of_rows, of_tasks))
    return Gain(mean, mean - error, mean + error)


def _outlook(over_one: Gain) -> str:
    """In a word: gain where it is clear, none where none is expected, else open."""
    if over_one.mean <= 0:
        return "none"
    return "gain" if over_one.low > 0 else "open"
