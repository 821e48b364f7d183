"""The trials of networks: those that can are trained in step, each is kept, judged and written by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial

import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.retraining.kept import is_trained
from stg_ray.retraining.learning import Steps
from stg_ray.retraining.network import NetworkTraining
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.training.ranks import ALONE, Ranks
from stg_ray.training.sparingly import Sparingly

Report = Callable[[int, Sequence[float]], None]


def train_network(
    run: Storage,
    config: Config,
    spec: NetworkSpec,
    *,
    device: torch.device | str,
    report: Report,
    count: Callable[[int], None] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train the network of `spec` on the training rows of its tasks, and write its folder, unless it is finished.

    Where the spec pauses, training stops there, with a checkpoint and the scores so far; test rows are not read.

    What it learns is in `learning`, by `retrain.learner`. The epoch, and with `epochs: auto` the length, are chosen by
    the score on validation rows; where training starts from the profiled network, that is a candidate as epoch 0. The
    scores are on validation rows, each half as the network was after the epoch that the other half finds best (see
    `held_out`), and on test rows.

    Ranks that train it together share the rows of every batch; rank 0 evaluates and writes. The same network comes out
    but for rounding, unless it has batch norm, whose statistics are of each rank's rows, or dropout.

    Args:
        run: the run directory, with parts/ and, if the spec starts from it, the profiled network.
        config: of the run.
        spec: the network, its tasks and its seeds.
        device: where it is trained.
        report: called with the number of epochs done, and the scores on validation rows of those since the last call,
            now and then and in the end; where several ranks train together, after every epoch on each of them.
        count: called with the number of samples that this rank takes in a step.
        ranks: this process among those that train the network together.

    Raises:
        StgRayError: a task's loss became non-finite, or there are fewer rows than ranks.
    """
    failures = train_networks(run, config, [spec], device=device, report=report, count=count, ranks=ranks)
    if failures:
        raise failures[spec]


def train_networks(  # noqa: PLR0913  what it tells, each by a function
    run: Storage,
    config: Config,
    specs: Sequence[NetworkSpec],
    *,
    device: torch.device | str,
    report: Report,
    goes_on: Callable[[int], None] | None = None,
    count: Callable[[int], None] | None = None,
    ranks: Ranks = ALONE,
) -> dict[NetworkSpec, Exception]:
    """Train networks as `train_network` does each: those whose `Learning.stack` is equal in step, the others in turn.

    What a network becomes does not depend on the others, but for rounding (see `StackedTrainer`).

    Args:
        report: called with the number of epochs done of all networks together, and, of a single one, its scores.
        goes_on: called first with the number of epochs that earlier trials have done, if there are any.

    Returns:
        Why those that could not be trained were not.
    """
    failures: dict[NetworkSpec, Exception] = {}
    left = []
    for spec in specs:
        if not ranks.from_first(partial(is_trained, run, config, spec), device):
            try:
                left.append(NetworkTraining(run, config, spec, device, ranks))
            except Exception as error:  # whatever it is, the others go on
                failures[spec] = error
    if goes_on is not None and (epochs := sum(training.state.epoch for training in left)):
        goes_on(epochs)
    reports = _Reports(report, left)
    for members in _alike(left):
        failures |= _train_in_step(members, reports, count)
    return failures


class _Reports:
    """Reports of trainings, now and then.

    Args:
        report: see `train_networks`.
        trainings: all of the trial.
    """

    def __init__(self, report: Report, trainings: Sequence[NetworkTraining]) -> None:
        self.report, self.trainings = report, trainings
        self.sparingly = Sparingly()
        self.told = [training.state.epoch for training in trainings]

    def after_epoch(self, *, is_due: bool) -> None:
        """Report how far they are, if it is due or has not been for long."""
        if is_due or self.sparingly.is_due:
            states = [training.state for training in self.trainings]
            scores = states[0].scores[self.told[0] :] if len(states) == 1 else []
            self.sparingly.do(partial(self.report, sum(state.epoch for state in states), scores))
            self.told = [state.epoch for state in states]


def _alike(trainings: Sequence[NetworkTraining]) -> Iterable[list[NetworkTraining]]:
    """Cut trainings into those that can be trained in step: that are alike, and have come equally far."""
    found: dict[Hashable, list[NetworkTraining]] = {}
    for number, training in enumerate(trainings):
        stack = training.learning.stack
        found.setdefault(number if stack is None else (stack, training.state.epoch), []).append(training)
    return found.values()


def _train_in_step(
    members: Sequence[NetworkTraining], reports: _Reports, count: Callable[[int], None] | None
) -> dict[NetworkSpec, Exception]:
    """Train the epochs that are left of networks that have come equally far, and keep checkpoints of them."""
    failures: dict[NetworkSpec, Exception] = {}
    checkpoints = Sparingly()
    steps: Steps | None = None
    for training in members:
        if training.is_over:  # it was before: only its scores were not written
            failures |= _finish(training)
    while going := [each for each in members if not each.is_over and each.spec not in failures]:
        if steps is None or len(steps.learnings) > len(going):
            steps = Steps([training.learning for training in going])
        failures |= _train_epoch(going, steps, count)
        whole = [training for training in going if training.spec not in failures]
        over = [training for training in whole if training.is_over]
        is_due = checkpoints.is_due
        kept = [each for each in whole if (each.spec.pause is not None if each.is_over else is_due)]
        if kept or len(whole) - len(over) < len(going):
            steps.hand_over()
        if kept:
            checkpoints.do(partial(_save, kept))
        reports.after_epoch(is_due=bool(over) or going[0].ranks.world > 1)
        for training in over:
            steps.release(training.learning)
            failures |= _finish(training)
    return failures


def _finish(training: NetworkTraining) -> dict[NetworkSpec, Exception]:
    try:
        training.finish()
    except Exception as error:
        return {training.spec: error}
    return {}


def _train_epoch(
    going: Sequence[NetworkTraining], steps: Steps, count: Callable[[int], None] | None
) -> dict[NetworkSpec, Exception]:
    """Train networks for an epoch, and judge each; return why those that failed did."""
    failures: dict[NetworkSpec, Exception] = {}
    began = time.monotonic()
    losses = steps.epoch(going[0].state.epoch + 1, count)
    seconds = (time.monotonic() - began) / len(going)
    for training, own in zip(going, losses, strict=True):
        try:
            training.after_epoch(own, seconds)
        except Exception as error:
            failures[training.spec] = error
    return failures


def _save(trainings: Sequence[NetworkTraining]) -> None:
    for training in trainings:
        if training.ranks.is_first:
            training.save()
