"""The pages that are made from the sources are up to date."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.bench import measurements
from stg_ray.config import reference


def test_the_settings_are_those_of_the_configuration() -> None:
    assert reference.GUIDE.read_text() == reference.page(), "python -m stg_ray.config.reference writes it anew"


def test_a_setting_stands_there_with_its_default_and_its_meaning() -> None:
    page = reference.page()
    assert "- `retrain.seeds` (default: 1): Number of trainings of every network" in page
    assert "- `grouping.budget.max_size` (default: none): Largest number of tasks in a network" in page
    assert "`retrain.lr`" in page, "what sections have in common is named in both"


def test_the_measurements_are_those_of_the_lines() -> None:
    assert measurements.GUIDE.read_text() == measurements.page(measurements.read()), (
        "python -m jobs.bench.measurements writes it anew"
    )


def test_every_measurement_has_one_value_a_command_a_date_and_a_machine(repository: Path) -> None:
    for row in measurements.read():
        assert all(row[key] for key in ("section", "what", "value", "command", "date", "machine")), row
        assert ";" not in row["value"], json.dumps(row)
        program, _, what = row["command"].split()[:3]
        module = repository / f"{what.replace('.', '/')}.py"
        assert program == "stg-ray" or module.is_file(), row["command"]
