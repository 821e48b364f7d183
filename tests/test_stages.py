"""The table of stages agrees with the pipeline, the configuration, the command line and the stages themselves."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from stg_ray.config import Config
from stg_ray.options import STAGE_NAMES
from stg_ray.pipeline import RUNS
from stg_ray.stages import STAGES, earlier, onwards

SOURCE = Path(__file__).parents[1] / "stg_ray"
ROOMS = sorted(file.parent.name for file in SOURCE.glob("*/stage.py"))


def test_the_pipeline_runs_the_stages_in_their_order() -> None:
    assert list(RUNS) == list(STAGES)
    assert tuple(list(STAGES)[1:]) == STAGE_NAMES, "the parts are laid out with the first stage that is named"


def test_every_section_is_added_by_one_stage() -> None:
    added = [section for stage in STAGES.values() for section in stage.adds]
    assert sorted(added) == sorted(Config.model_fields)


@pytest.mark.parametrize("room", ROOMS)
def test_a_stage_module_exports_run(room: str) -> None:
    run = import_module(f"stg_ray.{room}.stage").run
    parameters = list(inspect.signature(run).parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["run_dir", "config", "progress"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[3:])


def test_there_is_a_module_for_every_stage() -> None:
    runs = {getattr(run, "func", run) for run in RUNS.values()}
    assert runs == {import_module(f"stg_ray.{room}.stage").run for room in ROOMS}


def test_no_two_stages_leave_the_same_artifact() -> None:
    artifacts = [name for stage in STAGES.values() for name in stage.artifacts]
    assert len(set(artifacts)) == len(artifacts)


def test_a_stage_depends_on_its_sections_and_those_of_earlier_stages() -> None:
    assert STAGES["affinity"].sections == ("seed", "data", "metric", "model", "tune", "profile", "affinity")
    assert STAGES["report"].sections == STAGES["retrain"].sections == tuple(Config.model_fields)
    for name in STAGES:
        assert [stage.name for stage in (*earlier(name), *onwards(name))] == list(STAGES)
