"""Configurations: defaults need no file, mistakes are answered with the nearest right thing."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import pytest

from stg_ray import config as package
from stg_ray.config import WHERE_IT_RUNS, Config, TrainingConfig
from stg_ray.config.loading import load_config, set_values
from stg_ray.config.sections import BY_DEVICE, TRAININGS
from stg_ray.errors import InputError


def test_a_preset_is_a_whole_configuration() -> None:
    config = load_config("digits")
    assert config.data.preset == "digits"
    assert config.grouping.groups == 4
    assert load_config("digits", ["grouping.groups=auto"]).grouping.groups == "auto"


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config("digits", ["profile.epochs=3", "retrain.plans=[]", "data.limit=100"])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(str(path)) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("profile.epoch=3", r"unknown key profile.epoch: did you mean profile.epochs\?"),
        ("profil.epochs=3", r"unknown key profil: did you mean profile\?"),
        ("epochs=3", r"unknown key epochs: did you mean profile.epochs or retrain.epochs\?"),
        ("profile.zzz=3", "unknown key profile.zzz: known: epochs, patience"),
        ("profile.groups=3", r"unknown key profile.groups: did you mean grouping.groups or search.groups\?"),
        ("data.labels=y", r"did you mean data.parquet.labels, data.csv.labels or data.arff.labels\?"),
        ("data.csv=mine.csv", r"data.csv is 'mine.csv': expected keys with values \(known: files, features, image"),
        ("data.csv={labels: y}", r"data.csv.files is missing"),
        ("data.csv={files: a.csv, labels: y}", r"of features, image; found none \(for example features: \["),
        ("data.csv={files: a.csv, features: x}", r"of labels, classes; found none \(for example labels: \["),
        ("profile.epochs=0", "profile.epochs is 0: input should be greater than or equal to 1"),
        ("profile.workers=some", "profile.workers is 'some'"),
        ("grouping.method=spectrl", "grouping.method: unknown grouping method 'spectrl': did you mean 'spectral'"),
        ("affinity.methods=[]", "methods are empty"),
        ("retrain.plans=[ours, ours]", "more than once"),
        ("model.trunk=resnt", "unknown trunk 'resnt'"),
        ("data.npz=x.npz", "exactly one of preset, .*; found preset, npz"),
        ("data.preset=digit", "unknown preset 'digit': did you mean 'digits'"),
        ("data.arguments={n: 3}", "arguments belong to a function"),
        ("affinity={methods: [tag]}\ngrouping={weights: {tag: 0}}", "all zero"),
        (
            "affinity={methods: [tag]}\ngrouping={weights: {mine: 1}}",
            "names 'mine', which is not among affinity.methods",
        ),
        ("affinity={methods: [tag]}\ngrouping={files: {tag: mine.csv}}", "named more than once"),
        ("grouping.method=budget", "belong together"),
        ("grouping.budget.networks=3", "belong together"),
        (
            "grouping.budget={networkz: 3}",
            r"unknown key grouping.budget.networkz: did you mean grouping.budget.networks",
        ),
        ("grouping={method: budget, budget: {networks: 3}}", "leave groups at auto"),
        ("grouping={groups: auto, min_groups: 5, max_groups: 4}", "min_groups is 5, more than max_groups, 4"),
        ("grouping.overlap_above=1.5", "grouping.overlap_above is 1.5"),
        ("profile.epochs", "expected section.key=value"),
        ("seed.x=1", "seed"),
        ("seed=1000000000000000", "seed is 1000000000000000: input should be less than or equal to"),
        ("retrain.seeds=1000000000000", "retrain.seeds is 1000000000000: input should be less than or equal to 1000"),
        ("retrain.random_groups=1000000000", "retrain.random_groups is 1000000000"),
        ("grouping.groups=yes", "grouping.groups is True: expected a whole number or auto"),
        ("retrain.seeds=true", "retrain.seeds is True: expected a whole number"),
        ("profile.lr=on", "profile.lr is True: expected a number or auto"),
        ("profile.workers=[1, true]", "profile.workers.1 is True: expected a whole number"),
        ("profile.looks={etap: true}", "profile.looks.etap is True: expected a whole number"),
        ("seed=false", "seed is False: expected a whole number"),
        ("profile.flip=1", "profile.flip is 1: expected true or false"),
        ("profile.flip='yes'", "profile.flip is 'yes': expected true or false"),
        ("profile.lr=.inf", "profile.lr is inf: input should be a finite number"),
        ("grouping.weights={data_map: .nan}", "finite number"),
        ("affinity.layers=[]", "no layer is named"),
        ("profile.workers=[2, 1]", r"the fewest workers come first: expected \[1, 2\]"),
        ("profile.epochs=[1", "not valid YAML"),
        ("profile={epochs: auto, snapshots: 4}", "snapshots=4 are taken at evenly spaced epochs"),
        ("retrain={epochs: auto, plans: [all_in_one_equal_cost]}", "has the epochs of ours, which is not among"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load_config("digits", override.split("\n"))
    assert "\n" not in str(raised.value)


def test_numbers_may_be_texts() -> None:
    """YAML 1.1 reads 1e-3, without a point, as one."""
    profile = load_config("digits", ["profile.lr=1e-3", "profile.epochs='3'", "profile.flip=on"]).profile
    assert (profile.lr, profile.epochs, profile.flip) == (0.001, 3, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"data": {"preset": "digits"}, "profile.epochs": 2},
            r"unknown key profile.epochs: keys with a point are .* expected {'profile': {'epochs': 2}}",
        ),
        ({"data.preset": "digits"}, r"unknown key data.preset: .* expected {'data': {'preset': 'digits'}}"),
        ({"data": {"csv.files": "a.csv"}}, r"unknown key data.csv.files: .* expected {'csv': {'files': 'a.csv'}}"),
        ({"data": {"preset": "digits"}, "profil.epochs": 2}, "unknown key profil.epochs: did you mean profile"),
    ],
)
def test_dotted_keys_of_mappings_are_met_with_nested_ones(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(values)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text, message in {
        "data: [": "not valid YAML",
        "- 1": "expected sections such as 'data: {preset: digits}', found a list",
        "": "found an empty file",
        "# data:\n": "found an empty file",
        "data": "found a text",
        "3": "found a number",
        "yes": "found a truth value",
        "model: {trunk: mlp}": "no data",
        "dta: {preset: digits}": r"did you mean 'data'\?",
        "data: {npz: a, function: my:load}": "exactly one",
        "data: {function: load}": "data.function is 'load': expected module:function",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_config(str(path))
    with pytest.raises(InputError, match="No such file"):
        load_config(str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load_config("digts")


def test_the_fingerprint_leaves_out_where_it_runs() -> None:
    config = load_config("digits")
    elsewhere = set_values(config, ["profile.workers=7", "profile.max_failures=0", "affinity.max_retries=9"])
    other = set_values(config, ["profile.lr=0.01"])
    sections = ("seed", "data", "model", "profile", "affinity", "grouping", "retrain")
    assert elsewhere.fingerprint(sections) == config.fingerprint(sections)
    assert config.differences(elsewhere) == []
    assert other.fingerprint(sections) != config.fingerprint(sections)
    assert config.differences(other) == ["profile.lr is 0.005, now 0.01"]


def test_new_images_are_scaled_as_those_of_a_preset_or_of_joined_sets() -> None:
    sets = [{"images": {"folder": name}, "image_size": 16} for name in ("a", "b")]
    assert load_config({"data": {**sets[0]}}).data.side_of_images == 16
    assert load_config({"data": sets}).data.side_of_images == 16
    assert load_config("celeba").data.side_of_images == 64
    assert load_config("digits").data.side_of_images is None


def test_every_setting_is_documented() -> None:
    """The string below a field says what the setting is."""
    for file in Path(package.__file__).parent.glob("*.py"):
        for section in ast.walk(ast.parse(file.read_text())):
            if isinstance(section, ast.ClassDef) and section.name.endswith("Config") and section.bases:
                assert ast.get_docstring(section), section.name
                for field, below in zip(section.body, section.body[1:], strict=False):
                    if isinstance(field, ast.AnnAssign):
                        documented = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                        assert documented, f"{section.name}.{ast.unparse(field.target)}"


def test_settings_that_are_named_by_their_keys_exist() -> None:
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    trainings = {name for name, section in sections.items() if issubclass(section, TrainingConfig)}
    assert set(TRAININGS) == trainings
    devices = {key for key, field in TrainingConfig.model_fields.items() if "auto" in get_args(field.annotation)}
    assert set(BY_DEVICE) == devices
    keys = {key for section in sections.values() for key in getattr(section, "model_fields", ())}
    assert set(WHERE_IT_RUNS) <= keys


def test_of_nested_settings_only_those_that_differ_are_told() -> None:
    table = {"csv": {"files": "a.csv", "features": ["x"], "labels": ["y_*"]}}
    before = load_config({"data": ["digits", table], "retrain": {"plans": ["ours"]}})
    limited = {**table, "limit": 5, "csv": {**table["csv"], "features": ["x", "z"]}}
    for data, expected in (
        (
            ["digits", {**table, "tasks": {"y_a": {"kind": "regression"}}}],
            ["y_a is not there, now {'kind': 'regression'}"],
        ),
        (["digits", limited], ["csv.features is ['x'], now ['x', 'z']", "limit is None, now 5"]),
    ):
        after = load_config({"data": data, "retrain": {"plans": ["ours"]}})
        told = [line.removeprefix("data.join.1.").removeprefix("tasks.") for line in before.differences(after)]
        assert told == expected
    (more,) = before.differences(load_config({"data": ["digits", table, "mnist"], "retrain": {"plans": ["ours"]}}))
    assert more.startswith("data.join.2 is not there, now {'preset': 'mnist', ")
    assert "None" not in more
    both = load_config({"data": ["digits", limited], "seed": 4})
    assert [line.partition(" ")[0] for line in before.differences(both, ["seed"])] == ["seed"]


def test_of_long_lists_what_differs_is_told() -> None:
    names = [f"x_{i}" for i in range(1000)]
    before, after, turned = (
        load_config({"data": {"csv": {"files": "a.csv", "features": each, "labels": ["y"]}}})
        for each in (names, [*names[:7], *names[8:], "z"], names[::-1])
    )
    assert before.differences(after) == ["data.csv.features is [..., 'x_7', ...] of 1000, now [..., 'z', ...] of 1000"]
    (line,) = before.differences(turned)
    assert line.startswith("data.csv.features is [..., 'x_0', 'x_1', ")
    assert ", now [..., 'x_999', 'x_998', " in line
    assert len(line) < 300
