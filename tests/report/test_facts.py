"""The settings on the page: those that differ from the defaults, and who set them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from stg_ray.artifacts.left_to_auto import note_auto
from stg_ray.config.loading import load_config, set_values
from stg_ray.report import facts
from stg_ray.report.evidence import Evidence
from stg_ray.report.page import page_of
from stg_ray.retraining.results import costs_table
from tests.support.run_maker import make_run


def test_settings_that_were_changed_are_listed_and_no_others(tmp_path: Path) -> None:
    config = load_config({"data": {"npz": "mine.npz"}, "retrain": {"seeds": 5}}, ["profile.lr=0.5", "seed=3"])
    changed = {setting.key: (setting.value, setting.default) for setting in facts.changed_settings(config)}
    assert set(changed) == {"seed", "data.npz", "profile.lr", "retrain.seeds"}
    assert changed["retrain.seeds"][0] == "5"
    secret = {"function": "my:tasks", "arguments": {"password": "xyzzy", "rows": 7}}
    listed = {setting.key: setting.value for setting in facts.changed_settings(load_config({"data": secret}))}
    assert "xyzzy" not in str(listed)
    assert "7" in str(listed)


def test_defaults_of_optional_sections_were_given_by_nobody() -> None:
    table = {"files": {"train": "a.csv", "test": "b.csv"}, "features": "x_*", "classes": "kind"}
    budget = {"networks": 2, "apart": [["a", "b"]]}
    config = load_config({"data": {"csv": table}, "grouping": {"method": "budget", "budget": budget}})
    changed = {setting.key: (setting.value, setting.default) for setting in facts.changed_settings(config)}
    assert {key: value for key, value in changed.items() if key.startswith("data.")} == {
        "data.csv.files.train": ("a.csv", "none"),
        "data.csv.files.test": ("b.csv", "none"),
        "data.csv.features": ("[x_*]", "[]"),
        "data.csv.classes": ("kind", "none"),
    }
    assert {key for key in changed if "budget." in key} == {"grouping.budget.networks", "grouping.budget.apart"}
    latin = load_config({"data": {"csv": {**table, "encoding": "latin-1"}}})
    (encoding,) = [each for each in facts.changed_settings(latin) if each.key == "data.csv.encoding"]
    assert (encoding.value, encoding.default) == ("latin-1", "utf-8")
    parts = {"join": ["digits", {"csv": table, "name": "mine", "tasks": {"a*": {"kind": "regression"}}}]}
    (joined,) = [setting.value for setting in facts.changed_settings(load_config({"data": parts}))]
    assert joined == (
        "[{preset: digits}, {csv: {features: [x_*], classes: kind, files: {train: a.csv, test: b.csv}}, name: mine, "
        "tasks: {a*: {kind: regression}}}]"
    )


def test_what_was_given_comes_before_what_auto_stood_for(tmp_path: Path) -> None:
    settings = {"model": {"width": 256}, "retrain": {"seeds": 5}, "profile": {"lr": 0.001}}
    run = make_run(str(tmp_path / "run"), 12, settings=settings)
    config = run.read_config()
    assert {setting.set_by for setting in facts.settings_of(Evidence(run, config))} == {""}, "nobody noted it"
    note_auto(run, load_config({**config.model_dump(), "model": {"width": "auto"}}))
    listed = facts.settings_of(Evidence(run, config))
    by_key = {setting.key: setting for setting in listed}
    assert by_key["retrain.seeds"].set_by == by_key["profile.lr"].set_by == "given"
    assert by_key["model.width"].set_by == by_key["grouping.groups"].set_by == "auto"
    assert (by_key["model.width"].value, by_key["grouping.groups"].value) == ("256", "4")
    order = [setting.set_by for setting in listed]
    assert order == sorted(order, key=["given", "auto"].index)
    assert "auto → <bdi>256</bdi>" in page_of(Evidence(run, config))


def test_a_network_of_several_plans_was_trained_once(tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "run"), 12)
    config = run.read_config()
    costs = run.read_parquet("costs.parquet").to_pandas()
    evidence = Evidence(run, config)
    n_rows = len(costs)
    assert f"{n_rows} trainings" in page_of(evidence), "each network by itself"
    run.write_parquet("costs.parquet", pa.Table.from_pandas(costs.drop(columns="network")))
    assert f"{n_rows} trainings" in page_of(Evidence(run, config)), "version 0.1 did not say"
    networks = [{**row, "digest": f"{row['seed']} {row['group']}"} for row in costs.to_dict("records")]
    run.write_parquet("costs.parquet", costs_table(networks))
    evidence = Evidence(run, config)
    n_trained = len({network["digest"] for network in networks})
    assert n_trained < n_rows == len(evidence.costs)
    assert page_of(evidence).count(f" {n_trained} trainings") == 2
    (retrain,) = [stage for stage in facts.stages_of(evidence) if stage.name == "retrain"]
    assert retrain.work.startswith(f"{n_trained} networks, ")


def test_what_auto_came_to_is_said_once_where_all_networks_are_alike(tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "run"), 12)
    note_auto(run, config := run.read_config())
    by_key = {setting.key: setting.value for setting in facts.settings_of(Evidence(run, config))}
    assert (config.retrain.epochs, config.model.trunk) == ("auto", "auto")
    assert by_key["retrain.epochs"] == "400"
    assert by_key["model.trunk"] == "mlp"


def test_what_a_preset_sets_is_told_from_what_was_given(tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "run"), 12)
    config = load_config("digits", ["retrain.seeds=7"])
    note_auto(run, config)
    by_key = {setting.key: setting.set_by for setting in facts.settings_of(Evidence(run, config))}
    assert by_key["model.width"] == by_key["profile.epochs"] == "preset"
    assert by_key["retrain.seeds"] == by_key["data.preset"] == "given"


def test_what_tuning_found_is_told(tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "run"), 12)
    config = set_values(run.read_config(), ["tune.trials=3", "profile.lr=0.1", "retrain.lr=0.1"])
    note_auto(run, run.read_config())
    run.write_json("tune.json", {"found": {"lr": 0.1}})
    by_key = {setting.key: setting.set_by for setting in facts.settings_of(Evidence(run, config))}
    assert by_key["profile.lr"] == by_key["retrain.lr"] == "tuning"
    assert by_key["tune.trials"] == "given"
