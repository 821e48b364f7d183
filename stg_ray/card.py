"""Model cards: what networks predict, how well, what they were trained on, and how to use them.

An export has one of its networks, and a run directory one of every plan's, in models/PLAN/README.md.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import network_place
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex
from stg_ray.errors import InputError
from stg_ray.models.trunks import trunk_name
from stg_ray.shown import counted, ranged, shown
from stg_ray.training.metrics import primary_metric

HEAD = """\
---
library_name: pytorch
tags: [multi-task-learning, stg_ray]
---
# {title}

{groups} for {tasks} tasks. Tasks of a group share a network (groups: {method}).
"""

SHOWN_FEATURES = 200
"""Names of features that a card lists."""

CARD = "README.md"
"""Name of a card's file: sites that show folders show it."""

USE = '''\
## Use

```python
import json
from pathlib import Path

import torch

about = json.loads(Path("serving.json").read_text())
networks = about["networks"]
programs = [torch.export.load(network["file"]).module() for network in networks]


def output(task, outputs):
    """Logits of a task, or standardised values of a regression: {serves}."""
{output}


@torch.no_grad()
def predict(inputs):
    """Predict every task for inputs (N, ...) as the data has them: each program normalises them itself."""
    outputs, predictions = [program(inputs) for program in programs], {{}}
    for task in about["tasks"]:
        columns = output(task["name"], outputs)
        if task["kind"] == "binary":
            prediction = columns[:, 0].sigmoid()  # (N,) probabilities
        elif task["kind"] == "multiclass":
            prediction = columns.softmax(dim=1)  # (N, C) probabilities
        else:
            prediction = columns[:, 0] * task["scale"] + task["center"]  # (N,) values in the unit of the labels
        predictions[task["name"]] = prediction
    return predictions


inputs = torch.zeros(1, *about["input"]["shape"][1:], dtype=getattr(torch, about["input"]["dtype"]))
predictions = predict(inputs)
```

Beyond this, only PyTorch is needed.
'''

OUTPUTS: dict[Serving, dict[str, str]] = {
    "argmax": {
        "serves": "those of the network that serves it",
        "output": """\
    group = about["serving"][task]
    return outputs[group][:, slice(*networks[group]["columns"][task])]""",
    },
    "ensemble": {
        "serves": "the weighted sum of all networks that have it",
        "output": """\
    weights = {group: weight for group, weight in enumerate(about["ensemble"][task]) if weight > 0}
    return sum(weights[group] * outputs[group][:, slice(*networks[group]["columns"][task])] for group in weights)""",
    },
}
"""What the code of an export's card says of each way of serving."""

USE_HERE = """\
## Use

In this folder, with stg_ray installed:

```python
import stg_ray as sr

predictor = sr.load("../..", "{plan}")
{then}
```

The weights of each network are in `network.pt`; those of the networks that the run chose are in `network.safetensors`,
too, where that package was installed.
"""

PREDICTS = "predictions = predictor.predict(inputs)  # (N, ...), as the data has them"

ADAPTS = "adapted = predictor.adapt(inputs, labels)  # to one task, by a few of its rows; then adapted.predict(inputs)"


@dataclass(frozen=True)
class Origin:
    """The run that networks come from.

    Attributes:
        run: its directory.
        config: its configuration.
        plan: as in `plans/`.
        seeds: of the trainings.
    """

    run: Storage
    config: Config
    plan: str
    seeds: tuple[int, ...]


def check_place(folder: Storage) -> None:
    """Refuse a folder in which a card would replace a file that is none.

    Raises:
        InputError: its README.md is not a card.
    """
    front = HEAD[: HEAD.index("# ")].encode()
    if folder.is_file(CARD) and not folder.read_bytes(CARD).startswith(front):
        raise InputError(f"{folder.uri} has a {CARD} that is no export's, and would be replaced: choose another folder")


def model_card(index: PartIndex, groups: Groups, serves_by: Serving, origin: Origin | None = None) -> str:
    """Return the card of exported networks, in Markdown.

    Args:
        index: of the task set.
        groups: the plan, with the tasks of each network.
        serves_by: the way in which the networks serve the tasks.
        origin: the run, whose scores on test rows the card has; without one it has none.
    """
    files = [f"group-{group}.pt2" for group in range(len(groups.groups))]
    return _card(index, groups, serves_by, origin, files, USE.format(**OUTPUTS[serves_by]))


def plan_card(index: PartIndex, groups: Groups, serves_by: Serving, origin: Origin) -> str:
    """Return the card of a plan's networks in their run directory, as `model_card` does."""
    files = [f"group-{group}/" for group in range(len(groups.groups))]
    then = PREDICTS if origin.config.retrain.learner == "joint" else ADAPTS
    return _card(index, groups, serves_by, origin, files, USE_HERE.format(plan=origin.plan, then=then))


def _card(
    index: PartIndex, groups: Groups, serves_by: Serving, origin: Origin | None, files: Sequence[str], use: str
) -> str:
    title = "Networks of a task set" if origin is None else f"{origin.plan} of {_source(origin.config)}"
    number, method = counted(len(groups.groups), "network"), _cell(groups.method)
    lines = [
        HEAD.format(title=_cell(title), groups=number, tasks=len(index.tasks), method=method),
        "## Networks\n",
        "| file | tasks |",
        "| --- | --- |",
        *(f"| {file} | {_cell(', '.join(members))} |" for file, members in zip(files, groups.groups, strict=True)),
        "",
        *_tasks(index, groups, serves_by, origin),
        *_inputs(index),
        use,
        *(_training(index, groups, origin) if origin else []),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _inputs(index: PartIndex) -> list[str]:
    """The names of the features, in their order, where they have names."""
    if index.features is None:
        return []
    names = _cell(", ".join(index.features[:SHOWN_FEATURES]))
    more = f" and {len(index.features) - SHOWN_FEATURES:,} more" if len(index.features) > SHOWN_FEATURES else ""
    return ["## Inputs\n", f"{counted(len(index.features), 'feature')}, in this order: {names}{more}.", ""]


def _tasks(index: PartIndex, groups: Groups, serves_by: Serving, origin: Origin | None) -> list[str]:
    scores = _scores(index, serves_by, origin) if origin else {}
    lines = [
        "## Tasks\n",
        "| task | kind | served by | metric | score on test rows |",
        "| --- | --- | --- | --- | --- |",
    ]
    for task in index.tasks:
        metric = primary_metric(task, origin.config.metric) if origin else ""
        value = scores.get(task.name, math.nan)
        score = "" if math.isnan(value) else f"{value:.4f}"
        served = "all that have it" if serves_by == "ensemble" else f"group-{groups.serving[task.name]}"
        lines.append(f"| {_cell(task.name)} | {task.kind} | {served} | {_cell(metric)} | {score} |")
    return [*lines, ""]


def _scores(index: PartIndex, serves_by: Serving, origin: Origin) -> dict[str, float]:
    """The primary metric of each task on test rows, the mean over the trainings."""
    if not origin.run.exists("results.parquet"):
        return {}
    table = origin.run.read_parquet("results.parquet").to_pandas()
    table = table[(table["split"] == "test") & (table["plan"] == origin.plan)]
    table = table[(table["serving"] == serves_by) & table["seed"].isin(origin.seeds)]
    metrics = {task.name: primary_metric(task, origin.config.metric) for task in index.tasks}
    table = table[table["metric"] == table["task"].map(metrics)]
    means: dict[str, float] = table.groupby("task")["value"].mean().to_dict()
    return means


def _length(groups: Groups, origin: Origin) -> str:
    """The epochs that the networks were trained for, by their network.json: not all plans train as the settings say."""
    folders = [network_place(origin.plan, g, seed) for g in range(len(groups.groups)) for seed in origin.seeds]
    files = [file for folder in folders if origin.run.exists(file := f"{folder}/network.json")]  # some may have failed
    networks = [origin.run.read_json(file) for file in files]
    epochs = [network["epochs"] for network in networks]
    by_scores = any("ended" in network for network in networks)
    text = ranged(min(epochs), max(epochs), "epoch")
    return f"{text}, as long as the score on validation rows improved" if by_scores else text


def _training(index: PartIndex, groups: Groups, origin: Origin) -> list[str]:
    rows = {split: sum(index.rows[split]) for split in ("train", "val", "test")}
    numbers = ", ".join(f"{number:,} {split}" for split, number in rows.items())
    several = len(origin.seeds) > 1
    seeds = f"{'seeds' if several else 'seed'} {', '.join(map(str, origin.seeds))}"
    return [
        "## Training\n",
        f"- Data: {_cell(_source(origin.config))}; rows: {numbers}.",
        f"- Trunk {_cell(trunk_name(origin.config.model, index.input_shape))}, {seeds}, "
        f"{_length(groups, origin)}. "
        "The epoch was chosen on validation rows.",
        f"- Scores{' are means over the trainings; they' if several else ''} are those of rows of the same source that "
        "were not trained on. They say nothing of other data.",
    ]


def _source(config: Config) -> str:
    return config.data.set_name if config.data.task_set is None else "a task set given in Python"


def _cell(text: str) -> str:
    """Return a text as one cell of a table: names may hold anything."""
    return html.escape(shown(text.replace("\n", " ")), quote=False).replace("|", "\\|")
