"""Every plot is a Plotly figure that a notebook shows: of any run, or of its directory."""

from __future__ import annotations

import html
from pathlib import Path
from typing import get_args

import numpy as np
import plotly.graph_objects as go
import pytest

import stg_ray as sr
from stg_ray.artifacts.groups import Serving
from stg_ray.config import PlanName
from stg_ray.report.charts.palette import COLORS
from stg_ray.report.plots.common import SYMBOLS
from tests.support.run_maker import make_regression, make_run

NAMES = ["plain", "<b>bold</b>", "a&b", 'quo"te', "tab\there", "ünïcödé", "x" * 200, "last"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sr.Run:
    return sr.Run.from_path(make_run(str(tmp_path_factory.mktemp("run")), len(NAMES), n_groups=2, names=NAMES).uri)


def test_every_plan_has_a_colour() -> None:
    assert set(COLORS) == set(get_args(PlanName))


def test_every_way_of_serving_has_a_symbol() -> None:
    assert set(SYMBOLS) == set(get_args(Serving))


@pytest.mark.parametrize("name", [name for name in sr.plot.__all__ if name not in ("data_map", "search")])
def test_every_plot_is_a_figure_of_a_run_and_of_its_directory(run: sr.Run, name: str) -> None:
    figure, again = getattr(sr.plot, name)(run), getattr(sr.plot, name)(run.uri)
    assert isinstance(figure, go.Figure)
    assert figure.to_json() == again.to_json()
    assert "<b>bold" not in figure.to_json(), "markup is shown literally"


def test_an_affinity_is_the_runs_own_in_the_order_of_the_groups(run: sr.Run) -> None:
    method = run.config.affinity.methods[-1]
    (trace,) = sr.plot.affinity(run, method).data
    position = {task: t for t, task in enumerate(run.affinities[method].tasks)}
    order = [position[task] for task in sorted(position, key=lambda task: list(trace.y).index(_written(task)))]
    labels = [run.groups.serving[run.groups.tasks[t]] for t in order]
    assert labels == sorted(labels)
    expected = run.affinities[method].values[np.ix_(order, order)].copy()
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_array_equal(trace.z, expected)


def _written(name: str) -> str:
    return html.escape(name).replace("\t", r"\t")


def test_a_data_map_is_that_of_its_task(run: sr.Run) -> None:
    (trace,) = sr.plot.data_map(run, "a&b").data
    values = np.asarray(run.data_map)[:, 2]
    np.testing.assert_array_equal(trace.y, values[:, 0])
    np.testing.assert_array_equal(trace.x, values[:, 1])


def test_regressions_are_left_out_of_data_maps(tmp_path: Path) -> None:
    run = make_run(str(tmp_path), 6, n_groups=2)
    make_regression(run, 1)
    (easy, *_) = sr.plot.regions(run.uri).data
    assert sorted(easy.y) == [f"task {t:04d}" for t in (0, 2, 3, 4, 5)]
    assert len(easy.x) == 5
    with pytest.raises(sr.InputError, match="'task 0001' has no data map, as it is a regression"):
        sr.plot.data_map(run.uri, "task 0001")


def test_what_is_not_there_is_said(run: sr.Run, tmp_path: Path) -> None:
    with pytest.raises(sr.InputError, match="unknown task 'plane': did you mean 'plain'"):
        sr.plot.data_map(run, "plane")
    with pytest.raises(sr.InputError, match="unknown affinity 'gone'"):
        sr.plot.affinity(run, "gone")
    with pytest.raises(sr.InputError, match="searched for no groups"):
        sr.plot.search(run)
    with pytest.raises(sr.InputError, match="unknown column 'accuracy'"):
        sr.plot.training(run, "accuracy")
    with pytest.raises(sr.InputError, match="is no run directory"):
        sr.plot.plans(tmp_path)
