"""The networks of a run, trained or found trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.progress import StageProgress
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trials import run_trials


@dataclass
class Trained:
    """The networks of a run, trained or found trained.

    Attributes:
        specs: of the networks, those that failed too; equal networks of different plans are trained once.
        reasons: of those that failed, by their folders.
        n_kept: networks that were finished before.
        n_trained: networks that were submitted.
    """

    specs: list[NetworkSpec] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    n_kept: int = 0
    n_trained: int = 0

    def train(
        self, run: RunDir, config: Config, specs: Iterable[NetworkSpec], progress: StageProgress, what: str = ""
    ) -> None:
        """Train those of the networks that are not among these yet, and not finished.

        Args:
            what: they are, for the progress, such as `of the search`.
        """
        new = [spec for spec in specs if spec not in self.specs]
        seen = {network_folder(spec, config) for spec in self.specs}
        unique = {folder: spec for spec in reversed(new) if (folder := network_folder(spec, config)) not in seen}
        missing = [spec for folder, spec in reversed(unique.items()) if not is_finished(run, folder)]
        if missing:
            self.reasons |= run_trials(run, config, missing, progress, what)
        self.specs += new
        self.n_trained += len(missing)
        self.n_kept += len(unique) - len(missing)
