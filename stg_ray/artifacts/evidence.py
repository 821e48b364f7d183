"""Evidence that groups keep: how their number was chosen, and how good a selection under a budget is.

Numbers are rounded when a record is made, so that one read from groups.json equals the one that was written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

DECIMALS = 6
"""Of scores, memberships and bounds in groups.json."""


def n_resamples(n_tasks: int) -> int:
    """Return how many matrices or graphs that other samples might have given are drawn, for the certainty of groups.

    Of more than a thousand tasks, whose matrices take memory and time, they are half as many.
    """
    return 20 if n_tasks <= 1000 else 10


@dataclass(frozen=True)
class Structure:
    """Whether tasks have any structure, measured by their graph's spectral groups.

    Attributes:
        excess: how far the groups hold together better than those of graphs without structure, of the kind that comes
            closest.
        threshold: an excess that a graph without structure hardly exceeds.
        unit: deviations, standard deviations of the silhouettes; or modularity, which version 0.1 compared.
    """

    excess: float
    threshold: float
    unit: str = "modularity"

    @property
    def is_found(self) -> bool:
        """Whether the excess is beyond chance."""
        return self.excess > self.threshold

    def rounded(self) -> Structure:
        """Round both numbers for groups.json."""
        return Structure(round(self.excess, DECIMALS), round(self.threshold, DECIMALS), self.unit)

    def __str__(self) -> str:
        return f"{self.excess:.3g}, threshold {self.threshold:.3g}"


@dataclass(frozen=True)
class NumberChoice:
    """Evidence for an automatic number of groups.

    Attributes:
        criterion: silhouette, eigengap, bic or stability.
        curve: score by number of groups; empty where there are too few tasks for more than one.
        structure: None where one group was out of the question.
    """

    criterion: str
    curve: dict[int, float]
    structure: Structure | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the form of groups.json."""
        curve = [{"groups": n, self.criterion: score} for n, score in self.curve.items()]
        evidence = None
        if self.structure is not None:
            evidence = {f"excess_{self.structure.unit}": self.structure.excess, "threshold": self.structure.threshold}
        return {"criterion": self.criterion, "curve": curve, "structure": evidence}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NumberChoice:
        """Read the form of groups.json."""
        criterion, evidence = values["criterion"], values["structure"]
        curve = {point["groups"]: point[criterion] for point in values["curve"]}
        structure = None
        if evidence is not None:
            unit = next(key for key in evidence if key.startswith("excess_")).removeprefix("excess_")
            structure = Structure(evidence[f"excess_{unit}"], evidence["threshold"], unit)
        return cls(criterion, curve, structure)


@dataclass(frozen=True)
class SelectionScore:
    """Evidence for groups that were selected under a budget.

    Attributes:
        score: mean score of the tasks (see `grouping.selection`).
        bound: no selection that keeps the budget has a larger mean score.
        gap: how much better another selection could be at most; 0 where this one is proved best.
        optimal: whether it is proved best.
        method: "all groups" (a mixed-integer programme over every group) or "search".
    """

    score: float
    bound: float
    gap: float
    optimal: bool
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Return the form of groups.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SelectionScore:
        """Read the form of groups.json."""
        return cls(**values)
