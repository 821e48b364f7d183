"""The plan says what is a bound, and what is not."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.placement import cpus_here
from stg_ray.config.loading import set_values
from stg_ray.data.parts import read_index, write_parts
from stg_ray.planning import timing
from stg_ray.planning.estimate import ROUGH, estimate
from stg_ray.planning.of_run import estimate_of_run
from stg_ray.progress import Reporter
from stg_ray.retraining.plans import make_plans, network_specs
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.settling import settle
from stg_ray.shown import counted
from tests.support.families import SETTINGS, sines
from tests.support.run_maker import make_run
from tests.support.trials import trained


@pytest.fixture(autouse=True)
def measured_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What plans say is read here, not how exact their times are; test_timing.py has these."""
    monkeypatch.setattr(timing.seconds, "__defaults__", (0.05,))


def test_a_length_that_is_left_to_the_scores_is_a_bound() -> None:
    settings = ["profile.epochs=auto", "retrain.epochs=auto", "retrain.max_epochs=7", "retrain.min_steps=1"]
    rows = estimate(sr.load_config("digits", [*settings, "retrain.plans=[ours, all_in_one_equal_cost]"]))
    by_stage = {name: text for name, text in rows if name}
    assert by_stage["profile"].startswith("at most 200 epochs")
    assert by_stage["total"].startswith("at most about")
    texts = [text for _, text in rows]
    assert any(re.match("at most .* of ours, 7 epochs", text) for text in texts)
    assert any(re.match("at most .* of all_in_one_equal_cost, 28 epochs", text) for text in texts), "as many as four"
    numbers = dict(estimate(sr.load_config("digits")))
    assert numbers["profile"].startswith("20 epochs")


def test_one_thing_is_one() -> None:
    text = "\n".join(line for _, line in estimate(sr.load_config("digits", ["profile.epochs=1", "retrain.epochs=1"])))
    assert re.findall(r"\b1 epoch\b", text)
    assert not re.findall(r"(?<![\d,.])1 (epochs|networks|groups|CPUs)\b", text), text


def test_workers_for_which_there_is_no_room_are_named() -> None:
    rows = estimate(sr.load_config("digits", ["profile.workers=900", "data.part_rows=1", "retrain.workers=800"]))
    (first,) = [place for place, (name, _) in enumerate(rows) if name == "beware"]
    texts = [text for _, text in rows]
    here = counted(cpus_here(), "worker")
    assert texts[first] == f"workers: {here} instead of 900: no more fit on the nodes"
    assert texts[first + 1].endswith(f"{here} for each network instead of 800: no more fit on the nodes")
    assert f", {here}, " in dict(rows)["profile"]


def test_trainings_that_leave_a_cluster_idle_are_told_what_would_not() -> None:
    images = np.random.default_rng(0).random((400, 3, 32, 32), dtype=np.float32)
    labels = np.random.default_rng(1).integers(0, 2, (400, 4))
    given: dict[str, Any] = {"retrain": {"plans": ["ours", "all_in_one"], "epochs": 2}, "grouping": {"groups": 3}}

    def said(cpus: int, kind: str = "CPU", **retrain: int) -> list[str]:
        config = sr.load_config(given | {"data": {"npz": "none"}, "retrain": given["retrain"] | retrain})
        with TemporaryDirectory() as place:
            write_parts(sr.TaskSet.from_arrays(images, labels), Storage(place))
            rows = estimate(config, {"a": {"CPU": 4.0}, "b": {"CPU": 8.0, kind: float(cpus)}}, parts=Storage(place))
        return [text for _, text in rows if "retrain.workers" in text]

    room = "room for 20 trials at a time, 4 networks of plans"
    assert said(16) == [f"{room}: with retrain.workers=5 so many workers train each together"]
    assert said(16, workers=5) == said(3) == []
    assert len(said(8, "GPU")) == 1


def test_gradients_are_named_where_they_are_compared() -> None:
    said = {}
    for methods in ("confidence_adjusted, logit_adjusted", "landscape", "logit_adjusted, grad_tag"):
        said[methods] = dict(estimate(sr.load_config("digits", [f"affinity.methods=[{methods}]"])))["affinity"]
    assert ["gradients of" in line for line in said.values()] == [False, True, True], said


def test_every_stage_has_a_time_and_the_total_is_their_sum() -> None:
    rows = dict(estimate(sr.load_config("digits", ["affinity.methods=[landscape, tag]", "tune.trials=3"])))
    assert list(filter(None, rows)) == ["parts", "tune", "profile", "affinity", "group", "retrain", "report", "total"]
    times = {name: re.findall(r"(under|about|roughly) (\d+) s", rows[name]) for name in rows if name}
    assert all(times.values()), rows
    parts = [time for name, own in times.items() if name != "total" for time in own]
    total = sum(int(seconds) for word, seconds in parts if word != "under")
    assert abs(total - int(times["total"][0][1])) <= len(times), rows
    for name in ROUGH:
        assert re.search(r"roughly|under 1 s", rows[name])
        assert name in rows["total"]
    assert "samples x epochs x parameters" in rows["profile"]
    assert "(1 snapshot)" in rows["profile"]


@pytest.mark.parametrize("search", [[], ["search.groups=4"]])
def test_a_budget_that_no_search_could_keep_is_planned_where_there_is_none(search: list[str]) -> None:
    for budget in ("{networks: 1}", "{min_size: 10}"):
        changes = ["grouping.method=budget", "grouping.groups=auto", f"grouping.budget={budget}", *search]
        assert "at most" in dict(estimate(sr.load_config("digits", changes)))["retrain"]


def test_what_is_left_of_a_run_is_told_by_its_parts(quiet: Reporter, tmp_path: Path) -> None:
    """Of a task set that was given in Python, and of a file that is gone, nothing else is left."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (90, 3))
    task_set = sr.TaskSet.from_arrays(scipy.sparse.random_array((90, 1200), density=0.01, rng=rng), labels)
    given = sr.run(task_set, tmp_path / "given", until="parts", reporter=quiet)
    np.savez(tmp_path / "mine.npz", inputs=rng.normal(size=(90, 4)), labels=labels)
    data = {"data": {"npz": str(tmp_path / "mine.npz")}}
    of_file = sr.run(data, tmp_path / "file", until="parts", reporter=quiet)
    (tmp_path / "mine.npz").unlink()
    for run in (given, of_file):
        said = dict(estimate_of_run(run.uri))
        assert said["parts"] == "done"
        assert "epochs" in said["profile"]
    with pytest.raises(sr.InputError, match="given in Python, and only the directory of its run holds it"):
        estimate_of_run(given.uri, ["data.limit=30"])


def test_networks_that_are_trained_are_not_planned_again(tmp_path: Path) -> None:
    retrain = {"plans": ["ours", "single_task"], "epochs": "auto", "max_epochs": 2, "min_steps": 1}
    means = {"ours": 0.6, "single_task": 0.5, "all_in_one": 0.5}  # of the page
    run = make_run(str(tmp_path / "run"), 4, n_groups=2, means=means, settings={"retrain": retrain})
    run.delete(".stages/retrain.json")

    def said() -> list[str]:
        lines = estimate_of_run(run.uri)
        first = next(place for place, (name, _) in enumerate(lines) if name == "retrain")
        return [text for name, text in lines[first:] if name in ("retrain", "")]

    assert said()[0].startswith("at most 6 networks, 2 epochs")
    config, index = run.read_config(), read_index(run.sub("parts"))
    config = settle(config, index)
    plans = make_plans(Groups.from_dict(run.read_json("groups.json")), index.tasks, config)
    *some, last = network_specs(plans, config)
    for spec in some:
        trained(run, config, spec)
    first, *of_plans = said()
    assert re.match("5 of 6 networks are trained; at most 1 network, 2 epochs", first)
    assert len(of_plans) == 1, "of what is left"
    trained(run, config, last)
    assert said() == ["6 of 6 networks are trained; they are scored in a moment"]


def test_a_search_that_has_ended_is_not_planned_again(tmp_path: Path) -> None:
    retrain = {"plans": ["ours", "searched"], "epochs": 2}
    means = {"ours": 0.6, "searched": 0.6, "all_in_one": 0.5}  # of the page
    run = make_run(str(tmp_path / "run"), 4, n_groups=2, means=means, settings={"retrain": retrain})
    run.delete(".stages/retrain.json")

    def said(*overrides: str) -> str:
        return "\n".join(text for _, text in estimate_of_run(run.uri, overrides))

    assert "of the search" in said()
    names = Groups.from_dict(run.read_json("groups.json")).tasks
    run.write_json("search.json", {"groups": [names[:1], names[1:2], names[2:]]})
    assert "of the search" not in said()
    assert "3 of searched" in said()
    assert "of the search" in said("search.rounds=2")


def test_the_cost_of_initialisations_is_of_their_episodes(tmp_path: Path) -> None:
    """As network.json of one has it, whatever the rows."""
    tasks, run = sines(4), Storage(tmp_path)
    groups = [task.group for task in tasks.tasks]
    np.savez(tmp_path / "sines.npz", inputs=tasks.inputs, labels=tasks.labels, kinds=["regression"] * 4, groups=groups)
    config = sr.load_config({"data": {"npz": str(tmp_path / "sines.npz")}, **SETTINGS})
    said = estimate(config)
    write_parts(tasks, run.sub("parts"))
    _, about = trained(run, config, NetworkSpec("ours", 0, tuple(tasks.names), seed=0, draws=0, epochs=3))
    (one,) = (text for _, text in said if text.startswith("1 of all_in_one"))
    assert f"3 epochs, cost {about['cost']:.2e}" in one
    bound = dict(estimate(set_values(config, ["retrain.epochs=auto", "retrain.max_epochs=4"])))["retrain"]
    assert "at most 3 networks, 8 epochs" in bound, "of 40 steps: 300 steps at least"
    long = dict(estimate(set_values(config, ["affinity.start=meta", "meta.profile_epochs=100000"])))
    assert "after 100,000 epochs of one initialisation; roughly" in long["affinity"]
    assert " h" in long["affinity"]
    assert " h" in long["total"]
