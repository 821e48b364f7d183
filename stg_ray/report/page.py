"""The page of a run: one self-contained HTML file that opens from disk, without a network.

Text, tables and charts are made here, and need no script; a small one adds sorting, search, names under the pointer and
downloads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stg_ray.artifacts.outlook import outlook_sentence
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.report import facts
from stg_ray.report.charts.graph import MOST_TASKS, group_map, mean_ranks, task_graph
from stg_ray.report.charts.intervals import interval_bar, plans_at_cost, reach
from stg_ray.report.charts.palette import css_variables
from stg_ray.report.evidence import REGIONS, Evidence
from stg_ray.report.groups_view import MOST_CARDS, SHOWN_IN_MANY, cards_of, known_of
from stg_ray.report.headline import headline_of, tiles_of
from stg_ray.report.main_tasks import main_tasks_of
from stg_ray.report.samples import ambiguous_of, suspects_of
from stg_ray.report.sections import curves_of, map_of, matrices_of, membership_of, number_of_groups, search_of
from stg_ray.report.task_samples import samples_of_tasks
from stg_ray.report.task_table import gains_over_one, table_of
from stg_ray.report.terminal import cost_text, difference_texts, failure_text, looks_text
from stg_ray.report.words import learner_sentence, search_sentence
from stg_ray.shown import sentence, shown_name

TEMPLATES = resources.files("stg_ray.report") / "templates"


def write_page(run_dir: RunDir, config: Config) -> None:
    """Write report.html from the run's artifacts."""
    run_dir.write_bytes("report.html", page_of(Evidence(run_dir, config)).encode(errors="backslashreplace"))


def page_of(evidence: Evidence) -> str:
    """Return the page of a run as HTML."""
    environment = Environment(
        loader=PackageLoader("stg_ray.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"name": _name, "shown": shown_name, "duration": facts.duration, "sentence": sentence}
    environment.globals["number"] = _number
    script = (TEMPLATES / "page.js").read_text()
    html: str = environment.get_template("page.html.j2").render(
        **_first_screen(evidence),
        **_sections(evidence),
        **_about(evidence),
        style=Markup((TEMPLATES / "style.css").read_text()),
        colors=css_variables(len(evidence.groups.groups)),
        dark_colors=css_variables(len(evidence.groups.groups), dark=True),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return html


def _first_screen(evidence: Evidence) -> dict[str, Any]:
    """The answer, the comparisons, the groups and the graph of tasks."""
    summary = evidence.summary
    tiles = tiles_of(summary)
    largest = reach([tile.difference for tile in tiles if tile.difference is not None])
    cards = cards_of(evidence, gains_over_one(evidence))
    on_first = cards if len(cards) <= MOST_CARDS else cards[: MOST_CARDS - 1]
    room = next(n for most, n in SHOWN_IN_MANY.items() if len(on_first) <= most)
    ranks = mean_ranks(list(evidence.matrices.values()), _weights(evidence))
    is_small = len(summary.index.tasks) <= MOST_TASKS
    return {
        "summary": summary,
        "headline": headline_of(summary, evidence.chosen, evidence.plans),
        "tiles": [
            (tile, tile.difference and interval_bar(tile.difference, largest, tile.outcome, _tile_text(tile)))
            for tile in tiles
        ],
        "cards": cards,
        "first_cards": on_first,
        "room": room,
        "known": known_of(evidence),
        "graph": task_graph(evidence.groups, ranks)
        if is_small
        else group_map(evidence.groups, ranks, evidence.centres),
        "graph_of_tasks": is_small,
        "looks_text": looks_text(summary) if summary.looks > 1 else "",
        "failures": [failure_text(failure) for failure in summary.failures],
    }


def _sections(evidence: Evidence) -> dict[str, Any]:
    """Everything below the first screen."""
    summary, chosen = evidence.summary, evidence.chosen
    deployed = "" if chosen is None else evidence.plans[chosen["plan"]].of_all_draws.name
    differences = [row.difference for row in summary.plans if row.difference is not None]
    largest = reach(differences)
    return {
        "plans": [(row, difference_texts(row), cost_text(row), _plan_bar(row, largest)) for row in summary.plans],
        "plans_chart": plans_at_cost(summary.plans, summary.metric, deployed),
        "deployed": deployed,
        "has_equal_cost": any(row.plan.base == "all_in_one_equal_cost" for row in summary.plans),
        "table": table_of(evidence),
        "matrices": matrices_of(evidence),
        "strip": _strip(evidence),
        "number_chart": number_of_groups(evidence),
        "membership": membership_of(evidence),
        "map": map_of(evidence),
        "suspects": suspects_of(evidence),
        "ambiguous": ambiguous_of(evidence),
        "curves": curves_of(evidence),
        "mains": main_tasks_of(evidence),
        "learner_text": learner_sentence(evidence.config),
        "forecast_text": "" if summary.forecast is None else f"Forecast: {outlook_sentence(summary.forecast)}.",
        "search_chart": search_of(evidence),
        "search_text": "" if summary.search is None else search_sentence(summary.search),
    }


def _about(evidence: Evidence) -> dict[str, Any]:
    """Facts for the foot of the page, and what its downloads hold."""
    stages = facts.stages_of(evidence)
    groups = evidence.groups
    order = evidence.order.tolist()
    samples = None if evidence.regions is None else samples_of_tasks(evidence)
    return {
        "run": evidence.run.uri,
        "python": f'sr.load("{evidence.run.uri}")',
        "seed": evidence.config.seed,
        "n_trainings": len(evidence.trainings),
        "stages": stages,
        "seconds": sum(stage.seconds for stage in stages),
        "versions": facts.versions_of(evidence),
        "devices": facts.devices_of(evidence),
        "changed": facts.settings_of(evidence),
        "config": evidence.config.to_yaml(hide_secrets=True),
        "data": _json(
            {
                "groups": groups.to_dict(),
                "names": [shown_name(name) for name in groups.tasks],
                "order": order,
                "centres": [shown_name(name) for name in evidence.centres],
                "regions": None if evidence.regions is None else
                evidence.regions[list(REGIONS)].round(4).to_numpy().tolist(),
                "samples": samples and vars(samples),
            }
        ),
    }  # fmt: skip


def _weights(evidence: Evidence) -> list[float]:
    """The weights with which the methods made the groups; where none of them did, all count."""
    weights = evidence.groups.affinities or {}
    own = [float(weights.get(name, 0.0)) for name in evidence.matrices]
    return own if any(own) else [1.0] * len(own)


def _tile_text(tile: Any) -> str:
    d = tile.difference
    interval = f", 95 % interval {d.low:+.4f} to {d.high:+.4f}" if d.is_known else ""
    return f"{tile.title}: {d.mean:+.4f}{interval}"


def _strip(evidence: Evidence) -> str:
    """The stops of a gradient with the colours of the groups, each as long as its tasks in their order."""
    sizes = np.bincount(evidence.groups.labels, minlength=len(evidence.groups.groups))
    ends = 100 * np.cumsum(sizes) / sizes.sum()
    starts = [0.0, *ends[:-1].tolist()]
    return ",".join(f"var(--g{g}) {a:.3f}% {b:.3f}%" for g, (a, b) in enumerate(zip(starts, ends, strict=True)))


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else form % value


def _plan_bar(row: Any, largest: float) -> Markup | str:
    if row.difference is None:
        return ""
    mean = row.difference.mean
    zero_is_outside = row.difference.is_known and (row.difference.low > 0 or row.difference.high < 0)
    outcome = "open" if not zero_is_outside else "better" if mean > 0 else "worse"
    return interval_bar(row.difference, largest, outcome, f"{row.title}: {mean:+.4f} against all in one")


def _name(name: str, most: int | None = None) -> Markup:
    """A name that a user gave, isolated from the direction of the text around it; cut only where there is no room."""
    text = shown_name(name)
    if most is None or len(text) <= most:
        return Markup("<bdi>{}</bdi>").format(text)
    return Markup('<bdi title="{}">{}…</bdi>').format(text, text[: most - 1])


def _json(value: Any) -> Markup:
    """A value for a script of data: nothing in it can end the script, and what is no number is null."""
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
    text = json.dumps(finite, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
