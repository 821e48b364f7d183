"""The one table of stages: what each reads of the configuration, leaves in the run directory, and needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stage of the main path, as the run directory and the pipeline know it.

    Attributes:
        adds: sections of the configuration that decide its artifacts, beside those of the stages before it.
        artifacts: what is taken away before it runs anew. Trained networks stay under .networks/, by what decided them.
        scratch: what it needs to resume, and nobody needs once it is done.
        needs_ray: whether it runs in a Ray session.
    """

    name: str
    adds: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    needs_ray: bool = False

    @property
    def sections(self) -> tuple[str, ...]:
        """All sections of the configuration that decide its artifacts."""
        return tuple(section for stage in (*earlier(self.name), self) for section in stage.adds)


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("parts", adds=("seed", "data"), artifacts=("parts",)),
        Stage(
            "profile",
            adds=("model", "profile"),
            artifacts=(".ray/profile", "profile"),
            scratch=(".ray/profile",),
            needs_ray=True,
        ),
        Stage("affinity", adds=("affinity",), artifacts=("affinity",), scratch=("affinity/partials",), needs_ray=True),
        Stage("group", adds=("grouping",), artifacts=("groups.json", "groups.added.json")),
        Stage(
            "retrain",
            adds=("retrain",),
            artifacts=("results.parquet", "costs.parquet", "failures.json", "plans", "models"),
            scratch=(".ray/retrain",),
            needs_ray=True,
        ),
        Stage("report", artifacts=("report.html",)),
    )
}
"""By name, in the order in which they run."""


def earlier(name: str) -> list[Stage]:
    """The stages before one."""
    return list(STAGES.values())[: list(STAGES).index(name)]


def onwards(name: str) -> list[Stage]:
    """A stage and those after it."""
    return list(STAGES.values())[list(STAGES).index(name) :]
