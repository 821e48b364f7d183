"""What helps each main task that a run was asked about, for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from stg_ray.report.auxiliary import TITLES, difference_of, sentence, tried_of
from stg_ray.report.charts.intervals import interval_bar, reach
from stg_ray.report.evidence import Evidence
from stg_ray.stages import AUXILIARY


@dataclass(frozen=True)
class Effect:
    """A mean effect and its 95 % interval."""

    mean: float
    low: float
    high: float
    is_known: bool = True

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Effect:
        """Read it from auxiliary.json."""
        return cls(values["mean"], values["low"], values["high"])

    @property
    def outcome(self) -> str:
        """Whether zero is outside: better, worse, or open."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "open"


@dataclass(frozen=True)
class Row:
    """A line of one of the two tables.

    Attributes:
        name: of a task, or of a way to train the main one.
        cells: texts before the bar; the last is the mean effect.
        bar: the effect and its interval, drawn; empty for what the others are compared with.
        interval: in words.
        kept: whether the task is kept.
    """

    name: str
    cells: tuple[str, ...]
    bar: Markup | str = ""
    interval: str = ""
    kept: bool = False


@dataclass(frozen=True)
class MainTask:
    """A main task.

    Attributes:
        name: of the task.
        sentence: what was found.
        metric: that effects are differences of.
        tried: the tasks that were trained with it, the most helpful first.
        ways: to train it.
    """

    name: str
    sentence: str
    metric: str
    tried: list[Row]
    ways: list[Row]


def main_tasks_of(evidence: Evidence) -> list[MainTask]:
    """Return the main tasks of `auxiliary.json`, in their order; none where the run was not asked about any."""
    if not evidence.run.exists(AUXILIARY):
        return []
    mains = evidence.run.read_json(AUXILIARY)["mains"]
    return [
        MainTask(name, sentence(name, about), about["metric"], list(_tried(about)), list(_ways(about)))
        for name, about in mains.items()
    ]


def _tried(about: Mapping[str, Any]) -> Iterator[Row]:
    tried = tried_of(about)
    largest = reach([Effect.of(task["effect"]) for _, task in tried])
    for name, task in tried:
        estimate = "" if task["estimate"] is None else f"{task['estimate']:+.2f}"
        mean, interval = difference_of(task["effect"])
        yield Row(name, (estimate, mean), _bar(name, task["effect"], largest), interval, task["kept"])


def _ways(about: Mapping[str, Any]) -> Iterator[Row]:
    largest = reach([Effect.of(row["gain"]) for row in about["ways"].values() if "gain" in row])
    for way, row in about["ways"].items():
        scores = (str(1 + len(row["tasks"])), f"{row['val']:.4f}", f"{row['test']:.4f}")
        if "gain" in row:
            mean, interval = difference_of(row["gain"])
            yield Row(TITLES[way], (*scores, mean), _bar(TITLES[way], row["gain"], largest), interval)
        else:
            yield Row(TITLES[way], (*scores, ""))


def _bar(title: str, values: Mapping[str, float], largest: float) -> Markup:
    effect = Effect.of(values)
    return interval_bar(effect, largest, effect.outcome, f"{title}: {effect.mean:+.4f}")
