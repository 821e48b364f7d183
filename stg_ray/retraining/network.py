"""One network in training: its epochs are kept and judged, in the end it is scored and written.

Networks are kept under the hash of all that decides them, so that plans share equal ones and none is taken for another.
An unfinished network has a checkpoint of one of its last epochs, from which a later trial of the same network goes on.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field

import numpy as np
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
    network_folder,
    note_scores,
    plain,
)
from stg_ray.retraining.learning import LEARNINGS, Learning
from stg_ray.retraining.learning.base import Setting
from stg_ray.retraining.scoring import Scores
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.training.length import Course, Length
from stg_ray.training.ranks import Ranks
from stg_ray.training.trainer import check_finite


@dataclass
class _State(Course):
    """State of an unfinished training, carried from epoch to epoch.

    Attributes:
        seconds: of training so far.
        scores: on the validation rows, of every epoch.
    """

    seconds: float = 0.0
    scores: list[float] = field(default_factory=list)


class NetworkTraining:
    """A network that is being trained: as far as its spec says, from its last checkpoint on.

    Args:
        run: the run directory, with parts/ and, if the spec starts from it, the profiled network.
        config: of the run.
        spec: the network, its tasks and its seeds.
        device: where it is trained.
        ranks: this process among those that train it together.

    Attributes:
        folder: that it is written into.
        learning: what it learns.
        state: as far as it has come.
    """

    def __init__(
        self, run: Storage, config: Config, spec: NetworkSpec, device: torch.device | str, ranks: Ranks
    ) -> None:
        config = spec.settled(config)
        self.run, self.spec, self.ranks, self.folder = run, spec, ranks, network_folder(spec, config)
        self.learning: Learning = LEARNINGS[config.retrain.learner](Setting.of(run, config, spec, device, ranks))
        self.choices = Choices(self.learning.positions)
        self.without_folds: np.ndarray | None = None
        self.state = self._restore()
        self.length = Length.of(self.learning.settings, self.learning.n_steps)
        self.last = min(spec.pause if isinstance(spec.pause, int) else self.length.most, self.length.most)
        if self.state.epoch == 0 and spec.start is not None:
            # Training on fewer tasks need not be better than the profile: then that network is kept.
            self.state.keep_if_best(self.learning.network, self._validation_score())

    @property
    def is_over(self) -> bool:
        """Whether it is trained as far as its spec says."""
        return bool(self.state.ended) or self.state.epoch >= self.last

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.learning.compute.device

    @property
    def checkpoint(self) -> str:
        """The name of its checkpoint."""
        return checkpoint_of(self.folder)

    def after_epoch(self, losses: torch.Tensor, seconds: float) -> None:
        """Score the network after its next epoch, keep it if it is the best, and decide whether it goes on.

        Args:
            losses: (K,) sums of the tasks' losses in this epoch, over this rank's rows.
            seconds: that the epoch took.

        Raises:
            StgRayError: one of them is not finite.
        """
        began, state, learning = time.monotonic(), self.state, self.learning
        summed = self.ranks.sum(losses, self.device)
        check_finite(summed, self.spec.tasks, state.epoch + 1, learning.rates)  # all ranks leave here, or none
        state.epoch += 1
        state.scores.append(self._validation_score())
        state.keep_if_best(learning.network, state.scores[-1])
        self.length.after_epoch(state, learning)
        state.seconds += seconds + time.monotonic() - began

    def finish(self) -> None:
        """Score the network and write it, or, where it pauses, the scores so far; test rows are not read then."""
        if not self.ranks.is_first:
            return
        if self.spec.pause is not None:
            note_scores(self.run, self.folder, self.state.scores, self.state.ended)
        else:
            self._write(self._scored())

    def _scored(self) -> dict[str, Scores]:
        """Put the network back to its best epoch, and score it on the validation and the test rows.

        A probe is scored as its last epoch left it, and on the validation rows only.
        """
        learning, state = self.learning, self.state
        assert state.best_weights is not None, "at least one epoch was trained"
        if self.spec.probe:
            outputs = learning.outputs("val")
            self.without_folds = learning.scores_without_folds(outputs)
            return {"val": learning.scores("val", outputs)}
        learning.network.load_state_dict(state.best_weights)
        validated = torch.from_numpy(self.choices.held_out.outputs)
        return {"val": learning.scores("val", validated), "test": learning.scores("test", learning.outputs("test"))}

    def _write(self, scores: dict[str, Scores]) -> None:
        """Write the network, unless it is a probe, and, last, network.json with its scores and its cost."""
        network, state, epochs = self.learning.network, self.state, self.state.epoch
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
            **({"probe": True, **self._folds()} if self.spec.probe else {}),
        }
        self.run.write_json(f"{self.folder}/network.json", about | {"digest": digest_of(about)})
        self.run.delete(self.checkpoint)

    def _folds(self) -> dict[str, list[list[float | None]]]:
        """What a probe's scores are without each fold of the rows: its outputs are not kept."""
        return {} if self.without_folds is None else {"without_folds": [plain(fold) for fold in self.without_folds]}

    def _validation_score(self) -> float:
        """The score on the validation rows, by rank 0 for all of them, so that they decide alike."""
        return self.ranks.from_first(self._judge, self.device)

    def _judge(self) -> float:
        """Score the network as it is, and keep its outputs where they are chosen."""
        outputs = self.learning.outputs("val")
        score, *of_halves = self.learning.judge(outputs)
        self.choices.keep_if_best(outputs, of_halves)
        return score

    def save(self) -> None:
        """Keep a checkpoint, from which a later process can go on."""
        buffer = io.BytesIO()
        of_trial = {"state": dict(vars(self.state)), "choices": self.choices.state_dict(), "results": RESULTS}
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
