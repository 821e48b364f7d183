"""The page of a run: one self-contained HTML file that opens from disk, without a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.report import figures
from stg_ray.report.summary import Summary, summarize
from stg_ray.report.terminal import certainty_text, cost_text, difference_texts, failure_text, looks_text
from stg_ray.report.words import search_sentence

N_SUSPECTS_SHOWN = 12


def write_page(run_dir: RunDir, config: Config) -> None:
    """Write report.html from the run's artifacts."""
    from plotly.offline import get_plotlyjs

    summary = summarize(run_dir, config)
    environment = Environment(
        loader=PackageLoader("stg_ray.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        summary=summary,
        run=run_dir.uri,
        config=config.to_yaml(hide_secrets=True),
        difference_texts=difference_texts,
        cost_text=cost_text,
        certainty_text=certainty_text,
        failure_text=failure_text,
        looks_text=looks_text,
        sections=_sections(run_dir, config, summary),
        suspects=_suspects(run_dir),
        plotly=Markup(get_plotlyjs()),
    )
    run_dir.write_bytes("report.html", page.encode())


def _sections(run: RunDir, config: Config, summary: Summary) -> list[dict[str, Any]]:
    """Return the title, explanation and figure of each section that has something to show."""
    matrices = {
        name: TaskMatrix.from_table(run.read_parquet(f"affinity/{name}.parquet")) for name in config.affinity.methods
    }
    shares = _shares(run)
    candidates = [
        (
            "Did grouping help?",
            "Dots right of the dotted line: better than one network for all tasks.",
            figures.plans(summary),
        ),
        ("Task by task", "Tasks are in the order of their groups.", figures.tasks(summary)),
        *(
            (f"How alike: {name.replace('_', ' ')}", values.parameters["about"], figures.matrix(summary, values))
            for name, values in matrices.items()
        ),
        (
            "The search",
            f"{search_sentence(summary.search)} Every dot is a group, the larger ones are those of its plan."
            if summary.search is not None
            else "",
            figures.search(summary),
        ),
        (
            "Number of groups",
            "The number with the largest score is chosen, provided that the groups hold together better than those of "
            "graphs without structure: the same pairs shuffled, Gaussian points of the same spread, and tasks that are "
            "alike by one common factor only.",
            figures.number_of_groups(summary),
        ),
        (
            "Data maps",
            "Easy samples are predicted with high confidence throughout training, hard ones with low confidence: look "
            "for wrong labels among them. The confidence of ambiguous ones varies.",
            figures.regions(summary, shares) if shares is not None else None,
        ),
    ]
    return [
        {"title": title, "text": text, "figure": Markup(_div(figure))}
        for title, text, figure in candidates
        if figure is not None
    ]


def _div(figure: go.Figure) -> str:
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True}
    )
    return html


def _shares(run: RunDir) -> np.ndarray | None:
    """Return the shares (K, 3) of the data map's regions by task; None where all tasks are regressions."""
    if not run.exists("profile/regions.parquet"):
        return None
    table = run.read_parquet("profile/regions.parquet")
    return np.stack([table.column(name).to_numpy() for name in ("easy", "ambiguous", "hard_to_learn")], axis=1)


def _suspects(run: RunDir) -> list[dict[str, Any]]:
    """Return the samples that the network believed least, few of each task, so that one does not fill the table."""
    if not run.exists("profile/suspects.parquet"):
        return []
    table = run.read_parquet("profile/suspects.parquet").to_pandas()
    each = max(2, N_SUSPECTS_SHOWN // max(1, table["task"].nunique()))
    table = table.groupby("task", sort=False).head(each).nsmallest(N_SUSPECTS_SHOWN, "confidence", keep="first")
    records: list[dict[str, Any]] = table.to_dict("records")
    return records
