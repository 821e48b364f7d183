"""Networks of all tasks under different settings, trained until an epoch: what tuning compares.

Each is the all-in-one network of a configuration with its settings, paused: where a plan takes the same settings, its
network goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.tuning import as_all_tasks
from stg_ray.data.parts import read_index
from stg_ray.progress import StageProgress
from stg_ray.retraining.kept import checkpoint_of, is_trained, network_folder, scores_until
from stg_ray.retraining.specs import NetworkSpec, Pause
from stg_ray.retraining.trials import run_trials


@dataclass
class AllTaskNetworks:
    """Networks of all tasks, by the number of their settings.

    Attributes:
        run: the run directory, with parts/.
        config: of the run; the networks are trained as its profile is.
        settings: of each network, by their names in `config.tuning.TUNED`.
        progress: of the stage that trains them.
        reasons: why those failed that did.
        epochs: that each was trained for so far.
    """

    run: RunDir
    config: Config
    settings: Sequence[Mapping[str, int | float]]
    progress: StageProgress
    reasons: dict[int, str] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = as_all_tasks(self.config)
        self.tasks = tuple(read_index(self.run.sub("parts")).names)

    def train(self, numbers: Sequence[int], until: Pause) -> dict[int, float | None]:
        """Train some networks until an epoch or their end, as trials of Ray Tune; the others are given up.

        Returns:
            The best score of each on the validation rows, by its number; None if it failed.
        """
        self.give_up(set(range(len(self.settings))) - set(numbers))
        specs = {number: self._spec(number, until) for number in numbers}
        missing = [spec for spec in specs.values() if not is_trained(self.run, self.config, spec)]
        length = "until they end" if until == "end" else f"until epoch {until}"
        failed = run_trials(self.run, self.config, missing, self.progress, f"of tuning, {length}") if missing else {}
        return {number: self._score(number, spec, failed) for number, spec in specs.items()}

    def give_up(self, numbers: set[int]) -> None:
        """Delete the checkpoints of networks that are trained no further; their scores are kept."""
        for number in numbers:
            self.run.delete(checkpoint_of(network_folder(self._spec(number, "end"), self.config)))

    def _score(self, number: int, spec: NetworkSpec, failed: Mapping[str, str]) -> float | None:
        folder = network_folder(spec, self.config)
        assert spec.pause is not None, "every one of these networks pauses"
        scores = scores_until(self.run, folder, spec.pause)
        if scores is None:
            self.reasons[number] = failed.get(folder, "its trial ended early")
            return None
        self.epochs[number] = len(scores)
        return best if math.isfinite(best := max(scores)) else None

    def _spec(self, number: int, until: Pause) -> NetworkSpec:
        seed, settings = self.config.seed, tuple(self.settings[number].items())
        return NetworkSpec(
            *("tune", number, self.tasks, seed, seed, self.config.retrain.epochs), settings=settings, pause=until
        )
