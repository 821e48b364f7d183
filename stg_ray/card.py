"""Model cards: what networks predict, how well, what they were trained on, and how to use them.

An export has one of its networks, and a run directory one of every plan's, in models/PLAN/README.md.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex
from stg_ray.models.trunks import trunk_name
from stg_ray.shown import counted, shown
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

USE = """\
## Use

```python
import json
from pathlib import Path

import torch

serving = json.loads(Path("serving.json").read_text())
programs = [torch.export.load(network["file"]).module() for network in serving["networks"]]
inputs = torch.zeros(1, *serving["input"]["shape"][1:], dtype=getattr(torch, serving["input"]["dtype"]))
task = serving["tasks"][0]["name"]
group = serving["serving"][task]
begin, end = serving["networks"][group]["columns"][task]
outputs = programs[group](inputs)[:, begin:end]  # logits, or standardised values of a regression
```

Inputs are as the data has them: each program normalises them itself. Beyond this, only PyTorch is needed.
"""

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
        serving: by the network that serves a task, or by all that have it.
    """

    run: Storage
    config: Config
    plan: str
    seeds: tuple[int, ...]
    serving: Serving


def model_card(index: PartIndex, groups: Groups, origin: Origin | None = None) -> str:
    """Return the card of exported networks, in Markdown.

    Args:
        index: of the task set.
        groups: the plan, with the tasks of each network.
        origin: the run, whose scores on test rows the card has; without one it has none.
    """
    files = [f"group-{group}.pt2" for group in range(len(groups.groups))]
    return _card(index, groups, origin, files, USE)


def plan_card(index: PartIndex, groups: Groups, origin: Origin) -> str:
    """Return the card of a plan's networks in their run directory, as `model_card` does."""
    files = [f"group-{group}/" for group in range(len(groups.groups))]
    then = PREDICTS if origin.config.retrain.learner == "joint" else ADAPTS
    return _card(index, groups, origin, files, USE_HERE.format(plan=origin.plan, then=then))


def _card(index: PartIndex, groups: Groups, origin: Origin | None, files: Sequence[str], use: str) -> str:
    title = "Networks of a task set" if origin is None else f"{origin.plan} of {_source(origin.config)}"
    number, method = counted(len(groups.groups), "network"), _cell(groups.method)
    lines = [
        HEAD.format(title=_cell(title), groups=number, tasks=len(index.tasks), method=method),
        "## Networks\n",
        "| file | tasks |",
        "| --- | --- |",
        *(f"| {file} | {_cell(', '.join(members))} |" for file, members in zip(files, groups.groups, strict=True)),
        "",
        *_tasks(index, groups, origin),
        *_inputs(index),
        use,
        *(_training(index, origin) if origin else []),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _inputs(index: PartIndex) -> list[str]:
    """The names of the features, in their order, where they have names."""
    if index.features is None:
        return []
    names = _cell(", ".join(index.features[:SHOWN_FEATURES]))
    more = f" and {len(index.features) - SHOWN_FEATURES:,} more" if len(index.features) > SHOWN_FEATURES else ""
    return ["## Inputs\n", f"{counted(len(index.features), 'feature')}, in this order: {names}{more}.", ""]


def _tasks(index: PartIndex, groups: Groups, origin: Origin | None) -> list[str]:
    scores = _scores(index, origin) if origin else {}
    lines = [
        "## Tasks\n",
        "| task | kind | served by | metric | score on test rows |",
        "| --- | --- | --- | --- | --- |",
    ]
    for task in index.tasks:
        metric = primary_metric(task, origin.config.metric) if origin else ""
        value = scores.get(task.name, math.nan)
        score = "" if math.isnan(value) else f"{value:.4f}"
        together = origin is not None and origin.serving == "ensemble"
        served = "all that have it" if together else f"group-{groups.serving[task.name]}"
        lines.append(f"| {_cell(task.name)} | {task.kind} | {served} | {_cell(metric)} | {score} |")
    return [*lines, ""]


def _scores(index: PartIndex, origin: Origin) -> dict[str, float]:
    """The primary metric of each task on test rows, the mean over the trainings."""
    if not origin.run.exists("results.parquet"):
        return {}
    table = origin.run.read_parquet("results.parquet").to_pandas()
    table = table[(table["split"] == "test") & (table["plan"] == origin.plan)]
    table = table[(table["serving"] == origin.serving) & table["seed"].isin(origin.seeds)]
    metrics = {task.name: primary_metric(task, origin.config.metric) for task in index.tasks}
    table = table[table["metric"] == table["task"].map(metrics)]
    means: dict[str, float] = table.groupby("task")["value"].mean().to_dict()
    return means


def _training(index: PartIndex, origin: Origin) -> list[str]:
    rows = {split: sum(index.rows[split]) for split in ("train", "val", "test")}
    numbers = ", ".join(f"{number:,} {split}" for split, number in rows.items())
    epochs = origin.config.retrain.epochs
    several = len(origin.seeds) > 1
    seeds = f"{'seeds' if several else 'seed'} {', '.join(map(str, origin.seeds))}"
    return [
        "## Training\n",
        f"- Data: {_cell(_source(origin.config))}; rows: {numbers}.",
        f"- Trunk {_cell(trunk_name(origin.config.model, index.input_shape))}, {seeds}, "
        f"{'as long as the score on validation rows improved' if epochs == 'auto' else f'{epochs} epochs'}. "
        "The epoch was chosen on validation rows.",
        f"- Scores{' are means over the trainings; they' if several else ''} are those of rows of the same source that "
        "were not trained on. They say nothing of other data.",
    ]


def _source(config: Config) -> str:
    return config.data.set_name if config.data.task_set is None else "a task set given in Python"


def _cell(text: str) -> str:
    """Return a text as one cell of a table: names may hold anything."""
    return html.escape(shown(text.replace("\n", " ")), quote=False).replace("|", "\\|")
