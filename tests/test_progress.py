"""Progress without a terminal: few lines, each of which says something new."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stg_ray import progress
from stg_ray.progress import Reporter


def test_a_stage_that_waits_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), soft_wrap=True)
    with Reporter(console).stage("retrain") as stage:
        stage.waits_for("a CPU")
        monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
        stage.waits_for("a CPU")
        stage.waits_for("a CPU")
    first, last = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first == "retrain   waiting for a CPU (starting, or in use; see ray status)"
    assert last.startswith("retrain   done in")
