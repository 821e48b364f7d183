"""The tune stage: it compares settings of the network of all tasks on validation rows, and writes what it found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.data.rows import TaskRows
from stg_ray.errors import InputError, StgRayError
from stg_ray.progress import StageProgress
from stg_ray.stages import TUNING
from stg_ray.training.length import without_validation
from stg_ray.training.validation import Validation
from stg_ray.tuning.halving import Round, Score, Until, best_first, halve, rounds_of
from stg_ray.tuning.space import Settings, configured, draw_trials, space_of


class Networks(Protocol):
    """Networks of all tasks under different settings: `retraining.AllTaskNetworks`."""

    reasons: dict[int, str]
    epochs: dict[int, int]

    def train(self, numbers: Sequence[int], until: Until) -> dict[int, Score]:
        """Train some networks until an epoch or their end; the best score of each so far."""
        ...

    def give_up(self, numbers: set[int]) -> None:
        """Delete what is needed to train networks further."""
        ...


def run(run_dir: RunDir, config: Config, progress: StageProgress, *, networks: Callable[..., Networks]) -> None:
    """Search for settings by successive halving, and write tune.json. Test rows are not read.

    An interrupted search finds the scores and checkpoints of its trials, and ends like an undisturbed one.

    Args:
        networks: `retraining.AllTaskNetworks`, which is passed in: no stage imports another.

    Raises:
        InputError: there is nothing to compare, or nothing to compare by.
        StgRayError: no trial could be trained to its end.
    """
    index = read_index(run_dir.sub("parts"))
    _check_score(run_dir, config, index)
    trials, rounds = plan_trials(config, index)
    trained = networks(run_dir, config, trials, progress)
    history = halve(rounds, trained.train)
    ranked = best_first(history[-1])
    if not ranked:
        first, reason = min(trained.reasons.items(), default=(0, "no task has a score"))
        raise StgRayError(f"no trial of tuning could be trained to its end (trial {first}: {reason})")
    chosen = ranked[0]
    trained.give_up(set(range(len(trials))) - {chosen})
    rows = [_row(n, trials[n], history, trained) for n in range(len(trials))]
    found = trials[chosen] if chosen else {}
    run_dir.write_json(
        TUNING,
        {
            "chosen": chosen,
            "found": found,
            "score": history[-1][chosen],
            "as_configured": history[-1].get(0),
            "rounds": [{"trials": len(scores), "until": r.until} for scores, r in zip(history, rounds, strict=False)],
            "epochs": sum(trained.epochs.values()),
            "trials": rows,
        },
    )
    failed = f", {len(trained.reasons)} of which failed" if trained.reasons else ""
    best = ", ".join(f"{key} {value:g}" for key, value in found.items()) or "the configuration as given"
    progress.summary = f"{len(trials)} trials{failed}; the best: {best}"


def plan_trials(config: Config, index: PartIndex) -> tuple[list[Settings], list[Round]]:
    """Return the settings of each trial, and the rounds.

    Raises:
        InputError: the space has nothing but the values as configured.
    """
    space = space_of(config, index.input_shape)
    trials = draw_trials(space, configured(config, space), config.tune.trials, config.seed)
    if len(trials) == 1:
        raise InputError("tune.space has no values but those that are configured: name others, or set tune.trials=0")
    n_steps = math.ceil(index.n_samples() / config.profile.batch_size)
    whole = without_validation(config.profile, n_steps).epochs  # of auto, what is taken where scores do not tell
    assert isinstance(whole, int), "auto is resolved"
    return trials, rounds_of(len(trials), whole)


def _row(number: int, settings: Settings, history: list[dict[int, Score]], trained: Networks) -> dict[str, Any]:
    """The row of a trial in tune.json: how far it came, and its best score so far."""
    scores = [scores[number] for scores in history if number in scores]
    row = {"settings": settings, "rounds": len(scores), "epochs": trained.epochs.get(number, 0), "score": scores[-1]}
    return row | ({"failed": trained.reasons[number]} if number in trained.reasons else {})


def _check_score(run: RunDir, config: Config, index: PartIndex) -> None:
    """Refuse to compare without a score."""
    rows = TaskRows(run.sub("parts"), index, "val", range(len(index.tasks)))
    validation = Validation(rows.inputs, rows.labels, np.ones(len(index.tasks)), config.metric)
    if not validation.has_score(index.tasks):
        raise InputError(
            "tuning compares scores on validation rows, and no task has one there: give more validation rows "
            "(data.split), or set tune.trials=0"
        )
