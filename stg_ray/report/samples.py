"""Training samples to look at: those whose labels may be wrong, and those that the network was undecided about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stg_ray.data.parts import part_name, read_part
from stg_ray.data_maps.files import DataMap
from stg_ray.errors import InputError
from stg_ray.report.charts.raster import thumbnail
from stg_ray.report.evidence import Evidence
from stg_ray.tasks.sparse_rows import SparseRows

SHOWN = 12
"""Samples of each kind."""
MOST_OF_A_TASK = 3
"""Ambiguous samples that are shown of one task."""
LOOKED_AT = 2**22
"""Values of the data map in which ambiguous samples are looked for; rows of the parts are in random order."""
SHOWN_VALUES = 6
"""Inputs of a row that is no image."""


@dataclass(frozen=True)
class Sample:
    """A training sample, as one task sees it.

    Attributes:
        sample: its row in the task set.
        label: as it is in the parts.
        class_name: of the label, as the data has it.
        confidence, variability: mean and standard deviation of p(label) over the epochs.
        picture: data URI; empty where it is no image.
        values: first inputs of a row that is no image, as text.
    """

    task: str
    sample: int
    label: int
    confidence: float
    variability: float
    picture: str = ""
    values: str = ""
    class_name: str = ""


def suspects_of(evidence: Evidence) -> list[Sample]:
    """Return the samples that the network believed least, few of each task, so that one does not fill the list."""
    table = evidence.suspects
    if table is None or table.empty:
        return []
    each = max(2, SHOWN // max(1, table["task"].nunique()))
    table = table.groupby("task", sort=False).head(each).nsmallest(SHOWN, "confidence", keep="first")
    rows = table[["task", "sample", "label", "confidence", "variability"]].itertuples(index=False, name=None)
    return _with_inputs(evidence, [Sample(*row) for row in rows])


def ambiguous_of(evidence: Evidence) -> list[Sample]:
    """Return the samples whose confidence varied most, few of each task, among the first rows of the parts."""
    try:
        data_map = DataMap(evidence.run.uri)
    except InputError:  # a run without one
        return []
    kinds = [task.kind for task in evidence.summary.index.tasks]
    columns = np.array([t for t, kind in enumerate(kinds) if kind != "regression"])
    n = min(len(data_map), max(1, LOOKED_AT // len(kinds)))
    if not len(columns):
        return []
    values = data_map[np.arange(n)][:, columns]
    spread = np.nan_to_num(values[:, :, 1], nan=0.0)
    task = spread.argmax(axis=1)  # that of which each sample is shown
    found: list[Sample] = []
    for row in np.argsort(-spread.max(axis=1), kind="stable").tolist():
        name = data_map.tasks[columns[task[row]]]
        confidence, variability = values[row, task[row]].tolist()
        if variability > 0 and sum(each.task == name for each in found) < MOST_OF_A_TASK:
            found.append(Sample(name, row, -1, confidence, variability))
        if len(found) == SHOWN:
            break
    numbers = _numbers_of(evidence, n)
    return _with_inputs(evidence, [replace(each, sample=int(numbers[each.sample])) for each in found])


def _numbers_of(evidence: Evidence, n: int) -> np.ndarray:
    """The numbers in the task set of the first n training rows of the parts."""
    numbers: list[np.ndarray] = []
    for p in range(evidence.summary.index.n_parts()):
        if sum(map(len, numbers)) >= n:
            break
        batch = evidence.run.sub("parts").read_arrow(f"{part_name('train', p)}.arrow")
        numbers.append(batch.column("sample").to_numpy())
    return np.concatenate(numbers)[:n]


def _with_inputs(evidence: Evidence, samples: list[Sample]) -> list[Sample]:
    """Add the labels and what can be seen of the inputs."""
    wanted = np.array(sorted({each.sample for each in samples}))
    names, tasks = evidence.summary.index.names, evidence.summary.index.tasks
    seen: dict[int, tuple[str, str, np.ndarray]] = {}
    for p in range(evidence.summary.index.n_parts()):
        if len(seen) == len(wanted):
            break
        part = read_part(evidence.run.sub("parts"), "train", p)
        for row in np.flatnonzero(np.isin(part.samples, wanted)).tolist():
            inputs = part.inputs
            values = _first_of(inputs, row) if isinstance(inputs, SparseRows) or inputs.ndim != 4 else ""
            picture = "" if values or isinstance(inputs, SparseRows) else picture_of(inputs[row])
            seen[int(part.samples[row])] = (picture, values, np.asarray(part.labels[row]))
    complete = []
    for each in samples:
        picture, values, labels = seen.get(each.sample, ("", "", np.full(len(names), each.label)))
        t = names.index(each.task)
        label = int(labels[t])
        classes = tasks[t].classes
        class_name = str(label if classes is None else classes[label])
        complete.append(replace(each, picture=picture, values=values, label=label, class_name=class_name))
    return complete


def picture_of(image: np.ndarray) -> str:
    """Return an input (C, H, W) as a data URI; empty where it has not the channels of a picture."""
    return thumbnail(image) if image.shape[0] in (1, 3) else ""


def _first_of(inputs: np.ndarray | SparseRows, row: int) -> str:
    """The first inputs of a row as text; of a sparse one those that are not zero."""
    if isinstance(inputs, SparseRows):
        one = inputs.take(np.array([row]))
        pairs = zip(one.columns[:SHOWN_VALUES].tolist(), one.values[:SHOWN_VALUES].tolist(), strict=True)
        return ", ".join(f"{column}: {value:g}" for column, value in pairs) + ", …"
    values = np.asarray(inputs[row]).ravel()
    text = ", ".join(f"{value:.4g}" for value in values[:SHOWN_VALUES].tolist())
    return text + (", …" if len(values) > SHOWN_VALUES else "")
