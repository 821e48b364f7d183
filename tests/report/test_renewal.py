"""A stage that changes results leaves no old page: it makes the page anew, or says the command that does."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.findings import check_run
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from tests.support.run_maker import make_run


def test_after_other_groups_the_command_is_said(tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "a run"), 12)
    said = StringIO()
    run_stage("group", run.uri, overrides=["grouping.groups=3"], reporter=Reporter(Console(file=said, width=400)))
    assert not run.exists("report.html")
    whole = f"stg-ray run '{run.uri}/config.yaml' --out '{run.uri}'"
    assert f"report    is to be made; all that is left: {whole}" in said.getvalue()
    (advice,) = (finding.advice for finding in check_run(run) if finding.text.startswith("report: not done"))
    assert advice == f"{whole} does it", "what comes before it is not done either"
    with pytest.raises(
        sr.InputError, match=r"retrain is not done .*: finish it first with stg-ray run, or stg-ray ret"
    ):
        sr.load(run.uri)


FAILING = """
from stg_ray.grouping.clusterers.base import Clusterer

class Failing(Clusterer):
    def memberships(self, data, numbers):
        raise RuntimeError("no luck")
"""


def test_groups_that_cannot_be_made_leave_those_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Reporter
) -> None:
    (tmp_path / "failing_clusterer.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    run = make_run(str(tmp_path / "run"), 12)
    config = run.read_config()

    def files() -> dict[str, bytes]:
        found = (path for path in Path(run.root).rglob("*") if path.is_file() and path.name != ".lease")
        return {str(path): path.read_bytes() for path in found}

    before = files()
    failing = ["grouping.method=failing_clusterer:Failing", "grouping.groups=2"]
    with pytest.raises(sr.InputError, match="raised RuntimeError: no luck"):
        run_stage("group", run.uri, overrides=failing, reporter=quiet)
    assert files() == before
    assert run.is_done("group", config)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_after_other_networks_the_page_is_made_anew(tmp_path: Path, quiet: Reporter) -> None:
    labels = np.arange(240)[:, None] // 2 ** np.arange(4) % 2
    np.savez(tmp_path / "tiny.npz", inputs=labels + np.random.default_rng(0).normal(size=(240, 4)), labels=labels)
    short = {"epochs": 1, "batch_size": 32}
    source = {"data": {"npz": str(tmp_path / "tiny.npz")}, "profile": short, "grouping": {"groups": 2}}
    run = sr.run({**source, "retrain": {**short, "plans": ["ours"]}}, tmp_path / "run", reporter=quiet)
    before = Path(run.report).read_text()
    again = run_stage("retrain", run.uri, overrides=["retrain.plans=[ours,all_in_one]"], reporter=quiet)
    page = Path(again.report).read_text()
    assert "all in one" in page
    assert page != before
    assert "score on validation rows by epoch" in page, "the course of each network"
