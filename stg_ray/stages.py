"""The table of stages: the sections of the configuration that each reads, its files in the run directory, its needs."""

from __future__ import annotations

from dataclasses import dataclass

LOOKS = ".stages/looks.json"
"""The trainings of a run that were scored on its test rows."""

AUXILIARY = "auxiliary.json"
"""Which tasks help each main task that was asked about."""

TUNING = "tune.json"
"""What tuning compared, and the settings that it found."""


@dataclass(frozen=True)
class Stage:
    """A stage of the main path, as the run directory and the pipeline know it.

    Attributes:
        name: its name on the command line.
        adds: sections of the configuration that decide its artifacts, in addition to those of earlier stages.
        artifacts: files and folders that are deleted before it runs anew. Trained networks are kept under .networks/,
            by the fingerprint of what decides them.
        scratch: files and folders that it needs to resume, and that are deleted once it is done.
        needs_ray: whether it runs in a Ray session.
        changes: of its results since version 0.1, the oldest first: one is added when the same configuration gives
            other results than before. A finished stage of before is kept, and this is said; a half-made one is not.
        counted: a file that outlives the artifacts, and is watched with them.
        switch: section and key of the setting that is 0 where a run does not have the stage.
    """

    name: str
    adds: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    needs_ray: bool = False
    changes: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    switch: tuple[str, str] | None = None

    @property
    def results(self) -> int:
        """Number of its results: under the same number the same configuration gives the same. Its markers hold it."""
        return 1 + len(self.changes)

    @property
    def sections(self) -> tuple[str, ...]:
        """All sections of the configuration that decide its artifacts."""
        return tuple(section for stage in (*earlier(self.name), self) for section in stage.adds)


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "parts",
            adds=("seed", "data"),
            artifacts=("parts",),
            changes=(
                "0.2 tells by other rules what labels mean",
                "0.2 divides features that are all 0 or 1 by one number",
                "0.2 lays more than 32,768 rows out in more parts",
                "0.2 takes features of joined sets by their names",
            ),
        ),
        Stage(
            "tune",
            adds=("metric", "model", "tune", "profile"),
            artifacts=(TUNING,),
            scratch=(".ray/tune",),
            needs_ray=True,
            switch=("tune", "trials"),
        ),
        Stage(
            "profile",
            artifacts=(".ray/profile", "profile"),
            scratch=(".ray/profile",),
            needs_ray=True,
        ),
        Stage(
            "affinity",
            adds=("affinity",),
            artifacts=("affinity", AUXILIARY),
            scratch=("affinity/partials", ".ray/affinity"),
            needs_ray=True,
            changes=(
                "0.2 draws affinity.coordinates and the dropout of tag anew",
                "0.2 pairs the rows of all parts for affinity.statistic=pooled",
                "0.2 knows no errors of tag, which are those of one training",
                "0.2 standardises the labels of regressions that are correlated",
                "0.2 compares gradients of rows of fewer parts where there are more than 32",
            ),
        ),
        Stage(
            "group",
            adds=("grouping",),
            artifacts=("groups.json", "groups.added.json"),
            changes=(
                "0.2 draws some certainties, and groups under a budget, anew",
                "0.2 asks by another test whether the tasks have structure",
                "0.2 takes groups of the same tasks, by grouping.overlap_above, for one",
            ),
        ),
        Stage(
            "retrain",
            adds=("search", "meta", "retrain"),
            artifacts=(
                *("results.parquet", "costs.parquet", "failures.json", "chosen.json", "search.json", "forecast.json"),
                *("plans", "models"),
            ),
            scratch=(".ray/retrain",),
            needs_ray=True,
            changes=(
                "0.2 trains all_in_one_equal_cost and all_in_one_ensemble, as two networks, beside one group too",
                "0.2 scores validation rows by an epoch that others of them chose",
                "0.2 draws random groups anew where there is a grouping.budget",
                "0.2 chooses what to deploy by the error from row to row, too",
                "0.2 has the smaller ensembles that are in all_in_one_ensemble among the plans",
                "0.2 trains all_in_one_equal_cost for as many rows as ours where labels are missing",
                "0.2 gives regressions no R2 on rows whose labels are all one value",
            ),
            counted=(LOOKS,),
        ),
        Stage("report", artifacts=("report.html",)),
    )
}
"""The stages by name, in the order in which they run; `Config.stages` are those of a run."""


def earlier(name: str) -> list[Stage]:
    """Return the stages before a stage."""
    return list(STAGES.values())[: list(STAGES).index(name)]


def onwards(name: str) -> list[Stage]:
    """Return a stage and those after it."""
    return list(STAGES.values())[list(STAGES).index(name) :]
