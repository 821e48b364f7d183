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

import torch

from stg_ray.artifacts.contents import contents_of
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.models import save_network
from stg_ray.retraining.held_out import Choices
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
from stg_ray.retraining.learning import LEARNINGS, Learning
from stg_ray.retraining.learning.base import Setting
from stg_ray.retraining.scoring import Scores
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.training.length import Course, Length
from stg_ray.training.ranks import ALONE, Ranks
from stg_ray.training.sparingly import Sparingly
from stg_ray.training.trainer import check_finite


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
    if ranks.from_first(lambda: is_trained(run, config, spec), device):
        return
    config = spec.settled(config)
    learning = LEARNINGS[config.retrain.learner](Setting.of(run, config, spec, device, ranks))
    trial = _Trial(run, network_folder(spec, config), spec, ranks, learning, Choices(learning.positions))
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
    """A network that is being trained.

    Attributes:
        folder: that it is written into.
        learning: what it learns.
        choices: outputs on the validation rows, for the score on them.
    """

    run: Storage
    folder: str
    spec: NetworkSpec
    ranks: Ranks
    learning: Learning
    choices: Choices

    @property
    def device(self) -> torch.device:
        return self.learning.compute.device

    @property
    def checkpoint(self) -> str:
        return checkpoint_of(self.folder)

    def train(self, report: Callable[[int, Sequence[float]], None], count: Callable[[int], None] | None) -> _State:
        """Train the epochs that are left until the end or the pause, and keep checkpoints of them."""
        state, learning = self._restore(), self.learning
        length = Length.of(learning.settings, learning.n_steps)
        if state.epoch == 0 and self.spec.start is not None:
            # Training on fewer tasks need not be better than the profile: then that network is kept.
            state.keep_if_best(learning.network, self._validation_score())
        last = min(self.spec.pause if isinstance(self.spec.pause, int) else length.most, length.most)
        checkpoints, reports, told = Sparingly(), Sparingly(), 0
        while not state.ended and state.epoch < last:
            began = time.monotonic()
            epoch = state.epoch + 1
            totals = learning.epoch(epoch, count)
            summed = self.ranks.sum(totals, self.device)
            check_finite(summed, self.spec.tasks, epoch, learning.rates)  # all ranks leave here, or none
            state.epoch = epoch
            state.scores.append(self._validation_score())
            state.keep_if_best(learning.network, state.scores[-1])
            length.after_epoch(state, learning)
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
        learning = self.learning
        if self.spec.probe:
            return {"val": learning.scores("val", learning.outputs("val"))}
        learning.network.load_state_dict(state.best_weights)
        validated = torch.from_numpy(self.choices.held_out.outputs)
        return {"val": learning.scores("val", validated), "test": learning.scores("test", learning.outputs("test"))}

    def write(self, state: _State, scores: dict[str, Scores]) -> None:
        """Write the network, unless it is a probe, and, last, network.json with its scores and its cost."""
        network, epochs = self.learning.network, state.epoch
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
            "cost": self.learning.n_samples * epochs * network.n_parameters,
            "parameters": network.n_parameters,
            "seconds": round(state.seconds, 3),
            "device": self.learning.compute.device_name,
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
        return self.ranks.from_first(self._judge, self.device)

    def _judge(self) -> float:
        """Score the network as it is, and keep its outputs where they are chosen."""
        outputs = self.learning.outputs("val")
        score, *of_halves = self.learning.judge(outputs)
        self.choices.keep_if_best(outputs, of_halves)
        return score

    def _save(self, state: _State) -> None:
        buffer = io.BytesIO()
        of_trial = {"state": dict(vars(state)), "choices": self.choices.state_dict(), "results": RESULTS}
        torch.save({**self.learning.state_dict(), **of_trial}, buffer)
        self.run.write_bytes(self.checkpoint, buffer.getvalue())

    def _restore(self) -> _State:
        """Go on from the last epoch's checkpoint, if there is one."""
        data = self.ranks.from_first(
            lambda: self.run.read_bytes(self.checkpoint) if self.run.exists(self.checkpoint) else None,
            self.device,
        )
        if data is None:
            return _State()
        saved = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        if saved.get("results", 1) != RESULTS:  # begun by a version that would have trained otherwise
            return _State()
        state = _State(**saved["state"])
        if self.spec.pause is not None and len(state.scores) < state.epoch:  # begun by a version that did not keep them
            return _State()
        self.learning.load_state_dict(saved)
        self.choices.load_state_dict(saved["choices"])
        return state
