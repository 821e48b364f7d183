"""Training samples of every task to look at: those of the task that is chosen on the page, beside its data map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stg_ray.data.parts import part_name, read_part
from stg_ray.data_maps.files import DataMap
from stg_ray.errors import InputError
from stg_ray.report.evidence import Evidence
from stg_ray.report.samples import LOOKED_AT, picture_of
from stg_ray.shown import shown_name

OF_A_TASK = 6
"""Samples of each kind that a task has on the page."""
PICTURE_BYTES = 400_000
"""All pictures together, at most: where tasks are many, those of the last have numbers only."""

Row = tuple[int, int, float, float]
"""Sample, label, mean confidence, variability."""


@dataclass(frozen=True)
class TaskSamples:
    """Samples of every task, for the script of the page.

    Attributes:
        suspects: whose labels may be wrong, of each task.
        ambiguous: whose confidence varied most, of each task.
        classes: of every task as the data has them, where they are not the numbers of the labels.
        pictures: data URIs by the number of the sample; none where inputs are no images.
    """

    suspects: list[list[Row]]
    ambiguous: list[list[Row]]
    classes: list[list[str] | None]
    pictures: dict[int, str]


def samples_of_tasks(evidence: Evidence) -> TaskSamples:
    """Return the samples of every task that the artifacts tell of."""
    suspects, ambiguous = _suspects(evidence), _ambiguous(evidence)
    shown = [row[0] for t in range(len(suspects)) for row in (*suspects[t], *ambiguous[t])]
    tasks = evidence.summary.index.tasks
    classes = [None if t.classes is None else [shown_name(str(name)) for name in t.classes] for t in tasks]
    return TaskSamples(suspects, ambiguous, classes, _pictures(evidence, list(dict.fromkeys(shown))))


def _suspects(evidence: Evidence) -> list[list[Row]]:
    """The samples of each task that the network believed least; the table has them in that order."""
    names = evidence.summary.index.names
    found: dict[str, list[Row]] = {name: [] for name in names}
    if evidence.suspects is not None:
        first = evidence.suspects.groupby("task", sort=False).head(OF_A_TASK)
        columns = first[["task", "sample", "label", "confidence", "variability"]]
        for task, *row in columns.itertuples(index=False, name=None):
            found[task].append(_row(*row))
    return [found[name] for name in names]


def _ambiguous(evidence: Evidence) -> list[list[Row]]:
    """The samples of each task whose confidence varied most, among the first rows of the parts."""
    tasks = evidence.summary.index.tasks
    found: list[list[Row]] = [[] for _ in tasks]
    try:
        data_map = DataMap(evidence.run.uri)
    except InputError:  # a run without one
        return found
    n = min(len(data_map), max(OF_A_TASK, LOOKED_AT // len(tasks)))
    values = data_map[np.arange(n)]
    samples, labels = _first_rows(evidence, n)
    spread = np.nan_to_num(values[:, :, 1], nan=0.0)
    order = np.argsort(-spread, axis=0, kind="stable")[:OF_A_TASK]
    for t, task in enumerate(tasks):
        if task.kind != "regression":
            found[t] = [_row(samples[r], labels[r, t], *values[r, t].tolist()) for r in order[:, t] if spread[r, t] > 0]
    return found


def _row(sample: float, label: float, confidence: float, variability: float) -> Row:
    return int(sample), int(label), round(float(confidence), 2), round(float(variability), 2)


def _first_rows(evidence: Evidence, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers and the labels (n, K) of the first n training rows of the parts."""
    samples: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for p in range(evidence.summary.index.n_parts()):
        if sum(map(len, samples)) >= n:
            break
        part = read_part(evidence.run.sub("parts"), "train", p)
        samples.append(part.samples)
        labels.append(np.asarray(part.labels))
    return np.concatenate(samples)[:n], np.concatenate(labels)[:n]


def _pictures(evidence: Evidence, samples: list[int]) -> dict[int, str]:
    """Pictures of the samples, as many of the first ones as there is room for."""
    shape = evidence.summary.index.input_shape
    if len(shape) != 3 or not samples:
        return {}
    found: dict[int, str] = {}
    most = PICTURE_BYTES // max(1, len(_any_picture(evidence)))
    wanted = np.array(sorted(samples[:most]))
    for p in range(evidence.summary.index.n_parts()):
        if len(found) == len(wanted):
            break
        numbers = evidence.run.sub("parts").read_arrow(f"{part_name('train', p)}.arrow").column("sample").to_numpy()
        rows = np.flatnonzero(np.isin(numbers, wanted)).tolist()
        if rows:
            inputs = read_part(evidence.run.sub("parts"), "train", p).inputs
            found |= {int(numbers[row]): picture_of(inputs[row]) for row in rows}
    return found


def _any_picture(evidence: Evidence) -> str:
    """The first picture of all, for its size."""
    return picture_of(read_part(evidence.run.sub("parts"), "train", 0).inputs[0])
