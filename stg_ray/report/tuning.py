"""What tuning compared and found, for the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.stages import TUNING

SHOWN_TRIALS = 5
"""The best of them, and the configuration as given."""


@dataclass(frozen=True)
class Tuning:
    """The content of tune.json, in words and as a table.

    Attributes:
        found: the content of the file.
    """

    found: dict[str, Any]

    @classmethod
    def of(cls, run: RunDir, config: Config) -> Tuning | None:
        """Read the tuning of a run; None where nothing was tuned."""
        return cls(run.read_json(TUNING)) if config.tune.trials else None

    @property
    def headers(self) -> list[str]:
        """Headers of the table's columns."""
        return ["trial", *self._as_given["settings"], "epochs", "score"]

    @property
    def rows(self) -> list[list[str]]:
        """The best trials, those first that came farthest, and the configuration as given."""
        numbers = sorted(range(len(self.found["trials"])), key=self._order)
        shown = numbers[:SHOWN_TRIALS]
        return [self._row(number) for number in [*shown, *({0} - set(shown))]]

    @property
    def sentence(self) -> str:
        """What tuning found, and how much better that is."""
        chosen, score, given = (self.found[key] for key in ("chosen", "score", "as_configured"))
        others = len(self.found["trials"]) - 1
        if chosen == 0:
            return f"Tuning: none of {others} other settings is better than the configuration as given ({score:.4f})."
        if given is not None:
            better = f"{score:.4f} on validation rows, as configured {given:.4f}"
        else:
            better = f"{score:.4f} on validation rows; as configured it cannot be trained: {self._as_given['failed']}"
        before = self._as_given["settings"]
        values = ", ".join(
            f"{key} {value:g}" + ("" if value == before[key] else f" (was {before[key]:g})")
            for key, value in self.found["found"].items()
        )
        return f"Tuning: trial {chosen} of {others + 1} is the best ({better}): {values}."

    @property
    def _as_given(self) -> dict[str, Any]:
        trial: dict[str, Any] = self.found["trials"][0]
        return trial

    def _order(self, number: int) -> tuple[bool, bool, int, float, int]:
        trial = self.found["trials"][number]
        return (number != self.found["chosen"], "failed" in trial, -trial["rounds"], -(trial["score"] or 0.0), number)

    def _row(self, number: int) -> list[str]:
        trial = self.found["trials"][number]
        score = "failed" if "failed" in trial else f"{trial['score']:.4f}"
        name = "given" if number == 0 else str(number)
        return [name, *(f"{value:g}" for value in trial["settings"].values()), str(trial["epochs"]), score]
