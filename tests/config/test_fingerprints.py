"""Fingerprints are those of version 0.1: run directories and networks of before are taken for the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import pytest

from stg_ray.config import WHERE_IT_RUNS, Config
from stg_ray.config.data import Section
from stg_ray.config.fingerprints import fingerprint_values, of_before, since
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.retraining.specs import NetworkSpec

PARTS = ("seed", "data")
ALL = (*PARTS, "model", "profile", "affinity", "grouping", "retrain")
PARQUET = {
    "seed": 3,
    "data": {
        "parquet": {"files": "bibtex/*.parquet", "features": ["x_*"], "labels": ["y_*"], "split": "split"},
        "limit": 5000,
    },
    "grouping": {"method": "budget", "budget": {"networks": 3}},
    "profile": {"epochs": 6},
    "retrain": {"start": "both", "epochs": 6},
}
JOINED = {"data": ["mnist", "kmnist"], "profile": {"epochs": 6}, "retrain": {"epochs": 6}}
OF_VERSION_0_1 = [
    ("digits", ("01d68545482dbb45", "cb302a118d5c857c", "326b838107737747", "0860c0a81b6953a2")),
    (PARQUET, ("01a650f930367f94", "3a4e3124e13e05a5", "d4217baa041dd406", "b652936ff4c5d4bb")),
    (JOINED, ("f67ffc7d958a2168", "2085dfcb6d4c25ec", "c1d156acd3905828", "9080ec4da3043fd0")),
]
"""Configurations, with the epochs that were the default, and the fingerprints of their parts, of the whole run, and of
two networks."""


DEFAULTS_OF_0_1 = [
    "affinity.methods=[data_map, landscape]",
    "model.dropout=0",
    *(f"{section}.{value}" for section in ("profile", "retrain") for value in ("lr=0.005", "weight_decay=0.0001")),
]
"""Values that were defaults then, as every run directory of that version has them in its config.yaml."""


@pytest.mark.parametrize(("source", "expected"), OF_VERSION_0_1, ids=["digits", "parquet", "joined"])
def test_they_have_not_changed(source: str | dict, expected: tuple[str, ...]) -> None:
    size = [] if source == "digits" else ["model.width=128", "model.depth=2"]
    config = load_config(source, [*DEFAULTS_OF_0_1, *size])
    scratch = NetworkSpec("ours", 0, ("a", "b"), 0, 0, 3)
    profiled = NetworkSpec("ours", 1, ("a",), 1, 1, 3, (0.5,), "abc")
    networks = (scratch.fingerprint(config), profiled.fingerprint(config))
    assert (config.fingerprint(PARTS), config.fingerprint(ALL), *networks) == expected


class Later(Section):
    workers: int = 1
    width: int = 8


class Before(Section):
    epochs: int = 3


class Now(Section):
    epochs: int = 3
    momentum: Annotated[float | None, since("0.2")] = None
    later: Annotated[Later, since("0.2")] = Later()
    parts: list[Before] = []


class Part(Before):
    momentum: Annotated[float | None, since("0.2")] = None


class Changed(Section):
    epochs: int = 3
    dropout: Annotated[float | str, since("0.2", as_before=0.0)] = "auto"


class Around(Section):
    model: Changed = Changed()


def test_a_later_key_whose_default_is_another_has_the_value_of_before_in_runs_of_before() -> None:
    assert fingerprint_values(Changed(dropout=0.0)) == {"epochs": 3}
    assert fingerprint_values(Changed()) == {"epochs": 3, "dropout": "auto"}
    assert of_before(Around, {"model": {"epochs": 2}}) == {"model": {"epochs": 2, "dropout": 0.0}}
    assert of_before(Around, {"model": {"dropout": 0.5}}) == {"model": {"dropout": 0.5}}
    assert of_before(Around, {"model": "no section"}) == {"model": "no section"}
    assert of_before(Around, {}) == {}


def test_a_later_key_counts_once_it_is_set() -> None:
    assert fingerprint_values(Now()) == {"epochs": 3, "parts": []}
    assert fingerprint_values(Now(momentum=0.5)) == {"epochs": 3, "momentum": 0.5, "parts": []}
    assert fingerprint_values(Now(later=Later(width=9)))["later"] == {"workers": 1, "width": 9}
    assert "later" not in fingerprint_values(Now(later=Later(workers=4)), exclude=WHERE_IT_RUNS), "it is where it runs"
    assert "later" in fingerprint_values(Now(later=Later(workers=4)))
    assert fingerprint_values(Now(parts=[Part(), Part(momentum=0.1)]))["parts"] == [
        {"epochs": 3},
        {"epochs": 3, "momentum": 0.1},
    ]


def test_a_task_set_in_python_has_fingerprints_of_its_own() -> None:
    one, two = (load_config({"data": {"task_set": digest}}) for digest in ("abc", "abd"))
    assert one.fingerprint(PARTS) != two.fingerprint(PARTS)
    assert one.differences(two) == ["data.task_set is 'abc', now 'abd'"]
    for data in ({"task_set": "abc", "npz": "mine.npz"}, [{"task_set": "abc"}, "mnist"]):
        with pytest.raises(InputError, match=r"found npz, task_set|cannot be joined"):
            load_config({"data": data})


def test_the_rule_of_auto_decides_only_networks_whose_length_is_auto() -> None:
    config, patient = load_config("digits"), load_config("digits", ["retrain.patience=9"])
    number = NetworkSpec("ours", 0, ("a",), 0, 0, 3)
    auto = replace(number, epochs="auto")
    assert number.fingerprint(config) == number.fingerprint(patient)
    assert auto.fingerprint(config) not in (number.fingerprint(config), auto.fingerprint(patient))


def test_a_run_of_version_0_1_goes_on_with_the_epochs_that_were_the_default() -> None:
    values = {"data": {"npz": "mine.npz"}}
    older = load_config({**values, "profile": {"epochs": 6}, "retrain": {"epochs": 6}})
    assert load_config(values).resolved_as(older).differences(older) == []
    asked = load_config({**values, "profile": {"epochs": "auto"}})
    assert older.differences(asked.resolved_as(older)) == ["profile.epochs is 6, now 'auto'"]


def test_differences_are_told_of_later_keys_too() -> None:
    digits = load_config("digits")
    values = {**digits.model_dump(), "data": {"task_set": "abc"}}
    assert Config.model_validate(values).differences(digits) == [
        "data.preset is None, now 'digits'",
        "data.task_set is 'abc', now None",
    ]
