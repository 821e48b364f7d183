"""The training of one network: prepare it, train it and keep its best epoch, score it, write it.

Networks are kept under the hash of all that decides them, so that plans share equal ones and none is taken for another.
An unfinished network has a checkpoint of one of its last epochs, from which a later trial of the same network goes on.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from stg_ray.artifacts.contents import contents_of
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config, TrainingConfig
from stg_ray.config.recipes import as_number
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.data.rows import TaskRows
from stg_ray.models import BranchedNetwork, TaskNetwork, build_network, load_weights, save_network
from stg_ray.retraining.held_out import Choices, halves
from stg_ray.retraining.kept import (
    RESULTS,
    checkpoint_of,
    digest_of,
    files_of,
    is_trained,
    network_folder,
    note_scores,
    plain,
)
from stg_ray.retraining.scoring import Scores, scores_of
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.seeds import Stream
from stg_ray.tasks import observed
from stg_ray.training.adaptive import AdaptiveWeights
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.length import Course, Length, without_validation
from stg_ray.training.ranks import ALONE, Ranks
from stg_ray.training.sparingly import Sparingly
from stg_ray.training.trainer import Rows, Trainer, check_finite
from stg_ray.training.validation import Validation


def train_network(
    run: Storage,
    config: Config,
    spec: NetworkSpec,
    *,
    device: torch.device | str,
    report: Callable[[int, Sequence[float]], None],
    count: Callable[[int], None] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train the network of `spec` on the training rows of its tasks, and write its folder, unless it is finished.

    Where the spec pauses, training stops there, with a checkpoint and the scores so far; test rows are not read.

    The loss of a batch is the weighted mean over its labels, by the tasks' weights. The epoch, and with `epochs: auto`
    the length, are chosen by the mean primary metric on the validation rows, weighted alike; where training starts from
    the profiled network, that is a candidate as epoch 0. The scores are on validation rows, each half as the network
    was after the epoch that the other half finds best (see `held_out`), and on test rows.

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
    if ranks.from_first(lambda: is_trained(run, config, spec), device):
        return
    config = spec.settled(config)
    trial = _Trial.prepare(run, config, spec, device, ranks)
    state = trial.train(report, count)
    if ranks.is_first and spec.pause is not None:
        note_scores(run, trial.folder, state.scores, state.ended)
    elif ranks.is_first:
        trial.write(state, trial.score(state))


@dataclass
class _State(Course):
    """State of an unfinished training, carried from epoch to epoch.

    Attributes:
        seconds: of training so far.
        scores: on the validation rows, of every epoch.
    """

    seconds: float = 0.0
    scores: list[float] = field(default_factory=list)


@dataclass
class _Trial:
    """A network that is being trained, with its rows of every split.

    Attributes:
        rows: of the network's tasks, by split.
        validation: the validation rows, with the weights (k,) of the tasks.
        choices: outputs on the validation rows, for the score on them.
    """

    run: Storage
    folder: str
    spec: NetworkSpec
    rows: dict[str, TaskRows]
    validation: Validation
    trainer: Trainer
    choices: Choices

    @classmethod
    def prepare(
        cls, run: Storage, config: Config, spec: NetworkSpec, device: torch.device | str, ranks: Ranks
    ) -> _Trial:
        """Read the rows, build the network at its start, and set up its training."""
        index = read_index(run.sub("parts"))
        columns = [index.names.index(name) for name in spec.tasks]
        rows = {
            split: TaskRows(run.sub("parts"), index, split, columns, spec.fold) for split in ("train", *spec.scored)
        }
        train, settings, network = rows["train"], _settings(config, spec), _network_at_start(run, config, spec, index)
        weights = np.ones(len(columns)) if spec.weights is None else np.array(spec.weights)
        counting = np.array([name == spec.main for name in spec.tasks], dtype=float) if spec.main else weights
        validation = Validation(rows["val"].inputs, rows["val"].labels, counting, config.metric)
        batches = CommonBatches(
            len(train),
            settings.batch_size,
            labels_per_sample=float((observed(train.labels) @ weights).mean()),
            draws=Draws(spec.draws, Stream.NETWORK_BATCHES, Stream.NETWORK_AUGMENTATION),
            ranks=ranks,
        )
        if not validation.has_score(network.layout.tasks):
            settings = without_validation(settings, batches.n_steps)
        trainer = Trainer(
            network,
            Rows(train.inputs, torch.from_numpy(train.labels), train.samples),
            batches,
            settings,
            device=device,
            task_weights=_adaptive(spec, weights, rows["val"]) if spec.adaptive else spec.weights,
        )
        choices = Choices(rows["val"].rows)
        return cls(run, network_folder(spec, config), spec, rows, validation, trainer, choices)

    @property
    def ranks(self) -> Ranks:
        return self.trainer.batches.ranks

    @property
    def checkpoint(self) -> str:
        return checkpoint_of(self.folder)

    def train(self, report: Callable[[int, Sequence[float]], None], count: Callable[[int], None] | None) -> _State:
        """Train the epochs that are left until the end or the pause, and keep checkpoints of them."""
        record = None if count is None else partial(_count_rows, count)
        state, trainer, device = self._restore(), self.trainer, self.trainer.compute.device
        length = Length.of(trainer.settings, trainer.batches.n_steps)
        if state.epoch == 0 and self.spec.start is not None:
            # Training on fewer tasks need not be better than the profile: then that network is kept.
            state.keep_if_best(trainer.network, self._validation_score())
        last = min(self.spec.pause if isinstance(self.spec.pause, int) else length.most, length.most)
        checkpoints, reports, told = Sparingly(), Sparingly(), 0
        while not state.ended and state.epoch < last:
            began = time.monotonic()
            epoch = state.epoch + 1
            totals = trainer.epoch(epoch, record)
            check_finite(self.ranks.sum(totals, device), self.spec.tasks, epoch)  # all ranks leave here, or none
            state.epoch = epoch
            state.scores.append(self._validation_score())
            state.keep_if_best(trainer.network, state.scores[-1])
            length.after_epoch(state, trainer)
            state.seconds += time.monotonic() - began
            is_last = bool(state.ended) or epoch == last
            if self.ranks.is_first and (is_last or checkpoints.is_due):
                checkpoints.do(partial(self._save, state))
            if self.ranks.world > 1 or is_last or reports.is_due:
                reports.do(partial(report, epoch, state.scores[told:]))
                told = len(state.scores)
        return state

    def score(self, state: _State) -> dict[str, Scores]:
        """Put the network back to its best epoch, and score it on the validation and the test rows.

        A probe is scored as its last epoch left it, and on the validation rows only.
        """
        assert state.best_weights is not None, "at least one epoch was trained"
        if self.spec.probe:
            return {"val": self._scores("val", self.trainer.evaluate(self.rows["val"].inputs))}
        self.trainer.network.load_state_dict(state.best_weights)
        validated = torch.from_numpy(self.choices.held_out.outputs)
        tested = self.trainer.evaluate(self.rows["test"].inputs)
        return {"val": self._scores("val", validated), "test": self._scores("test", tested)}

    def _scores(self, split: str, outputs: torch.Tensor) -> Scores:
        return scores_of(self.trainer.network.layout, outputs, self.rows[split].labels, self.validation.metric)

    def write(self, state: _State, scores: dict[str, Scores]) -> None:
        """Write the network, unless it is a probe, and, last, network.json with its scores and its cost."""
        network, epochs = self.trainer.network, state.epoch
        if not self.spec.probe:
            save_network(self.run, f"{self.folder}/network.pt", network)
            self.choices.held_out.write(self.run, self.folder)
        about = {
            "tasks": list(self.spec.tasks),
            "seed": self.spec.seed,
            **({"branches": self.spec.branches} if self.spec.branches else {}),
            "epochs": epochs,
            "best_epoch": state.best_epoch,
            **({} if self.spec.epochs != "auto" else {"ended": state.ended}),
            "cost": len(self.rows["train"]) * epochs * network.n_parameters,
            "parameters": network.n_parameters,
            "seconds": round(state.seconds, 3),
            "device": self.trainer.compute.device_name,
            "course": plain(state.scores),
            "scores": scores,
            "results": RESULTS,
            "files": contents_of(self.run, [] if self.spec.probe else files_of(self.folder)),
            **({"probe": True} if self.spec.probe else {}),
        }
        self.run.write_json(f"{self.folder}/network.json", about | {"digest": digest_of(about)})
        self.run.delete(self.checkpoint)

    def _validation_score(self) -> float:
        """The score on the validation rows, by rank 0 for all of them, so that they decide alike."""
        return self.ranks.from_first(self._judge, self.trainer.compute.device)

    def _judge(self) -> float:
        """Score the network as it is, and keep its outputs where they are chosen."""
        outputs, rows = self.trainer.evaluate(self.rows["val"].inputs), self.choices.rows
        parts = [np.ones(len(rows), dtype=bool), *halves(rows)]
        score, *of_halves = self.validation.scores_of(self.trainer.network.layout, outputs, parts)
        self.choices.keep_if_best(outputs, of_halves)
        return score

    def _save(self, state: _State) -> None:
        buffer = io.BytesIO()
        of_trial = {"state": dict(vars(state)), "choices": self.choices.state_dict(), "results": RESULTS}
        torch.save({**self.trainer.state_dict(), **of_trial}, buffer)
        self.run.write_bytes(self.checkpoint, buffer.getvalue())

    def _restore(self) -> _State:
        """Go on from the last epoch's checkpoint, if there is one."""
        data = self.ranks.from_first(
            lambda: self.run.read_bytes(self.checkpoint) if self.run.exists(self.checkpoint) else None,
            self.trainer.compute.device,
        )
        if data is None:
            return _State()
        saved = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        if saved.get("results", 1) != RESULTS:  # begun by a version that would have trained otherwise
            return _State()
        state = _State(**saved["state"])
        if self.spec.pause is not None and len(state.scores) < state.epoch:  # begun by a version that did not keep them
            return _State()
        self.trainer.load_state_dict(saved)
        self.choices.load_state_dict(saved["choices"])
        return state


def _settings(config: Config, spec: NetworkSpec) -> TrainingConfig:
    """The settings of a network's training: with its epochs, and its learning rate where it starts from the profile."""
    share = 1.0 if spec.start is None else config.retrain.profiled_lr
    return config.retrain.model_copy(update={"epochs": spec.epochs, "lr": as_number(config.retrain.lr) * share})


def _adaptive(spec: NetworkSpec, weights: np.ndarray, validation: TaskRows) -> AdaptiveWeights:
    """The weights of a network that is for its main task."""
    return AdaptiveWeights(weights.tolist(), spec.tasks.index(spec.main), validation.inputs, validation.labels)


def _network_at_start(run: Storage, config: Config, spec: NetworkSpec, index: PartIndex) -> TaskNetwork:
    """The network as its training begins: freshly initialised, or cut out of the profiled one."""
    by_name = {task.name: task for task in index.tasks}
    network = build_network(config.model, index, [by_name[name] for name in spec.tasks], spec.draws)
    if spec.start is not None:
        network.load_from(load_weights(run, "profile/network.pt"), index.tasks)
    if spec.branches:
        frozen = config.retrain.freeze_shared and spec.start is not None
        return BranchedNetwork(network, spec.branches, config.retrain.shared_layers, frozen=frozen)
    return network


def _count_rows(count: Callable[[int], None], rows: np.ndarray, outputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Tell `count` the number of rows of a batch."""
    del outputs, labels
    count(len(rows))
