"""A model card: what exported networks predict, how well, what they were trained on, and how to use them."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex
from stg_ray.shown import counted, shown
from stg_ray.training.metrics import primary_metric

HEAD = """\
---
library_name: pytorch
tags: [multi-task-learning, stg_ray]
---
# {title}

{groups} for {tasks} tasks. Tasks of a group share a network; stg_ray chose the groups.
"""

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


@dataclass(frozen=True)
class Origin:
    """The run that networks come from.

    Attributes:
        run: its directory.
        config: its configuration.
        plan: as in `plans/`.
        seed: of the training.
        serving: by the network that serves a task, or by all that have it.
    """

    run: Storage
    config: Config
    plan: str
    seed: int
    serving: Serving


def model_card(index: PartIndex, groups: Groups, origin: Origin | None = None) -> str:
    """Return a model card in Markdown.

    Args:
        index: of the task set.
        groups: the plan, with the tasks of each network.
        origin: the run, whose scores on test rows the card has; without one it has none.
    """
    title = "Networks of a task set" if origin is None else f"{origin.plan} of {_source(origin.config)}"
    lines = [
        HEAD.format(title=_cell(title), groups=counted(len(groups.groups), "network"), tasks=len(index.tasks)),
        "## Networks\n",
        "| file | tasks |",
        "| --- | --- |",
        *(f"| group-{group}.pt2 | {_cell(', '.join(members))} |" for group, members in enumerate(groups.groups)),
        "",
        *_tasks(index, groups, origin),
        USE,
        *(_training(index, origin) if origin else []),
    ]
    return "\n".join(lines).rstrip() + "\n"


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
        served = f"group-{groups.serving[task.name]}"
        lines.append(f"| {_cell(task.name)} | {task.kind} | {served} | {_cell(metric)} | {score} |")
    return [*lines, ""]


def _scores(index: PartIndex, origin: Origin) -> dict[str, float]:
    """The primary metric of each task on test rows, in this training."""
    if not origin.run.exists("results.parquet"):
        return {}
    table = origin.run.read_parquet("results.parquet").to_pandas()
    table = table[(table["split"] == "test") & (table["plan"] == origin.plan) & (table["seed"] == origin.seed)]
    table = table[table["serving"] == origin.serving]
    metrics = {task.name: primary_metric(task, origin.config.metric) for task in index.tasks}
    table = table[table["metric"] == table["task"].map(metrics)]
    return dict(zip(table["task"], table["value"].astype(float), strict=True))


def _training(index: PartIndex, origin: Origin) -> list[str]:
    rows = {split: sum(index.rows[split]) for split in ("train", "val", "test")}
    numbers = ", ".join(f"{number:,} {split}" for split, number in rows.items())
    epochs = origin.config.retrain.epochs
    return [
        "## Training\n",
        f"- Data: {_cell(_source(origin.config))}; rows: {numbers}.",
        f"- Trunk {_cell(origin.config.model.trunk)}, seed {origin.seed}, "
        f"{'as long as the score on validation rows improved' if epochs == 'auto' else f'{epochs} epochs'}. "
        "The epoch was chosen on validation rows.",
        "- Scores are those of rows of the same source that were not trained on. They say nothing of other data.",
    ]


def _source(config: Config) -> str:
    return config.data.set_name if config.data.task_set is None else "a task set given in Python"


def _cell(text: str) -> str:
    """Return a text as one cell of a table: names may hold anything."""
    return html.escape(shown(text.replace("\n", " ")), quote=False).replace("|", "\\|")
