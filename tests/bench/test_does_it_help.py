"""The table of whether grouping helps shows what was kept, set by set, and what was kept is taken by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.bench import does_it_help as bench
from jobs.bench.compared_sets import SETS, config_of


def found(name: str, low: float, **means: float) -> dict[str, Any]:
    differences = {key: {"mean": low + 0.01, "low": low, "high": low + 0.02} for key in bench.DIFFERENCES}
    return {"set": name, "tasks": 6, "chosen": "ours", "means": means, **differences}


def test_differences_without_zero_are_bold_and_plans_that_were_not_trained_are_left_out() -> None:
    header, _, clear, unclear = bench.table(
        {"a": found("a", 0.001, ours=0.5, searched=0.6), "b": found("b", -0.001, ours=0.7)}
    ).splitlines()
    assert header.startswith("| set (tasks) | ours | searched | chosen |")
    assert clear.startswith("| a (6) | 0.500 | 0.600 | ours | **+0.011** (+0.001 +0.021) |")
    assert unclear.startswith("| b (6) | 0.700 |  | ours | +0.009 (-0.001 +0.019) |")


def test_what_was_found_of_a_set_takes_the_place_of_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "KEPT", tmp_path / "kept.jsonl")
    first, *_, last = SETS
    for low, name in enumerate((last, first, last)):
        bench.keep(found(name, float(low)))
    assert list(bench.kept()) == [first, last], "in the order of the sets"
    assert bench.kept()[last]["against_one"]["low"] == 2


def test_the_recipe_is_part_of_what_a_set_is_known_by(tmp_path: Path) -> None:
    (config, other) = (config_of("gaussian", tmp_path, False, overrides) for overrides in ([], ["model.width=16"]))
    assert isinstance(config.model.width, int)
    assert config.fingerprint(bench.DECISIVE) != other.fingerprint(bench.DECISIVE)
    assert "branches" in config.retrain.plans
    assert "branches" not in config_of("digits, turned", tmp_path, False, []).retrain.plans, "it has one layer"
