"""The search within a run: what it measures, what it costs, and that it goes on where it was killed."""

from __future__ import annotations

import io
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config.loading import load_config, set_values
from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.retraining.search.candidates import candidates_of, mean_affinity
from stg_ray.retraining.search.expected import Expected
from stg_ray.retraining.search.measuring import settled
from stg_ray.retraining.search.search import GroupSearch
from stg_ray.retraining.search.size import Size, check_search
from stg_ray.tasks.conditions import Conditions
from tests.support.processes import Program

CONFIG = load_config("digits", ["retrain.plans=[searched, all_in_one]"])
NAMES = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("settings", "ours", "epochs", "expected"),
    [
        ((), 4, 20, (2, 4, 60, 4, 0, 10, 3.0)),
        (("search.finalists=3",), 4, 20, (2, 4, 27, 4, 3, 10, 2.975)),
        (("search.finalists=3",), 1, 20, (2, 2, 12, 4, 3, 10, 2.95)),
        (("search.finalists=1",), 4, 20, (2, 4, 60, 4, 0, 10, 3.0)),
        (("search.finalists=9", "search.cost=8"), 4, 20, (2, 4, 77, 4, 8, 10, 7.975)),
        (("search.groups=3", "search.cost=1", "search.finalists=3"), 4, 10, (3, 3, 15, 2, 0, 5, 1.0)),
        (("search.groups=[1, 5]", "search.cost=1"), 4, 10, (1, 5, 25, 2, 0, 5, 1.0)),
        (("search.length=1", "search.cost=2.5", "search.finalists=3"), 2, 7, (2, 2, 5, 7, 0, 4, 2.5)),
        (("search.length=0.01", "search.finalists=3"), 2, 4, (2, 2, 10, 1, 3, 2, 3.0)),
        (("search.cost=0.1",), 4, 20, (2, 4, 5, 4, 0, 10, 0.25)),
        (("search.candidates=[[[a], [b, c]], [[a, b, c]]]",), 4, 10, (1, 2, 30, 2, 0, 5, 3.0)),
    ],
)
def test_what_a_search_costs(settings: tuple[str, ...], ours: int, epochs: int, expected: tuple[float, ...]) -> None:
    size = Size.of(set_values(CONFIG, settings), ours, epochs, NAMES)
    found = (size.fewest, size.groups, size.networks, size.epochs, size.finalists, size.final_epochs)
    assert found == expected[:-1]
    assert size.cost == pytest.approx(expected[-1])


@pytest.mark.parametrize(
    ("settings", "outlook", "start", "length"),
    [
        (("search.start=auto",), None, "profiled", 0.2),
        (("search.start=auto",), "none", "profiled", 0.2),
        (("search.start=auto",), "open", "profiled", 0.2),
        (("search.start=auto",), "gain", "scratch", 0.5),
        (("search.start=auto", "search.length=0.6"), "gain", "scratch", 0.6),
        (("search.start=scratch",), "none", "scratch", 0.2),
        ((), "gain", "profiled", 0.2),
        (("search.start=auto", "retrain.start=profiled"), "gain", "profiled", 0.2),
        (("search.start=auto", "retrain.start=both"), "gain", "scratch", 0.5),
    ],
)
def test_short_trainings_start_where_they_tell_the_most(
    settings: tuple[str, ...], outlook: str | None, start: str, length: float
) -> None:
    """The forecast compares networks from scratch, unless plans have none."""
    search = settled(set_values(CONFIG, settings), outlook and {"outlook": outlook}).search
    assert (search.start, search.length) == (start, length)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"groups": [2, 5]}, r"search.groups=\(2, 5\) but there are 4 tasks"),
        ({"groups": 5}, r"search.groups=5 but there are 4 tasks"),
        ({"candidates": [[["a", "b"], ["c"]]]}, r"candidate 0 lacks 'd': expected every task in one group"),
        ({"candidates": [[["a", "b"], ["c", "d", "x"]]]}, r"candidate 0 names 'x'"),
        ({"cost": 1e6}, r"allow 20,000,000 networks: expected at most 20,000"),
    ],
)
def test_a_search_that_these_tasks_do_not_have_is_refused(search: dict[str, Any], message: str) -> None:
    config = load_config({"data": {"preset": "digits"}, "retrain": {"plans": ["searched"]}, "search": search})
    with pytest.raises(InputError, match=message):
        check_search(config, NAMES)
    check_search(set_values(config, ["retrain.plans=[all_in_one]"]), NAMES)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"candidates": [[["a", "b"], ["b"]]]}, "candidate 0 has 'b' more than once"),
        ({"candidates": [[["a", "b"], []]]}, "candidate 0 has an empty group"),
        ({"candidates": [[["a"], ["b"]]], "groups": 3}, "candidate 0 has 2 groups, and search.groups allows 3"),
        ({"candidates": [[["a", "b"]]], "groups": [2, 3]}, "candidate 0 has 1 groups, and search.groups allows 2 to 3"),
        ({"groups": [3, 2]}, r"the fewest groups come first: expected \[2, 3\]"),
    ],
)
def test_candidates_that_are_no_groupings_are_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config({"data": {"preset": "digits"}, "search": search})


@pytest.mark.parametrize(
    ("budget", "search", "message"),
    [
        ({"networks": 2}, {"groups": 3}, "a search for 3 to 3 groups, and grouping.budget allows 1 to 2"),
        ({"max_size": 2}, {"candidates": [[["a", "b", "c"], ["d"]]]}, "a network of 3 tasks, and 1 to 2 are allowed"),
        ({"apart": [["a", "b"]]}, {"candidates": [[["a", "b"], ["c", "d"]]]}, "'a' and 'b' must be apart"),
        ({"apart": [["a", "b"]]}, {"candidates": [[["a", "c"], ["b", "d"]]]}, None),
        ({"apart": [["a", "x"]]}, {}, "unknown task 'x'"),
        ({"networks": 1}, {}, "a search for 2 to 2 groups, and grouping.budget allows 1 to 1"),
        ({"min_size": 3}, {}, "grouping.budget allows 1 to 1"),
        ({"apart": [["a", "b", "c"]]}, {"groups": 2}, "a search for 2 to 2 groups, and grouping.budget allows 3 to 4"),
        ({"apart": [["a", "b", "c"]]}, {}, None),
        ({"networks": 2}, {"candidates": [[["a"], ["b"], ["c", "d"]]]}, "3 networks, and 2 are allowed"),
    ],
)
def test_a_search_keeps_to_the_budget_or_is_refused(
    budget: dict[str, Any], search: dict[str, Any], message: str | None
) -> None:
    values = {"data": {"preset": "digits"}, "retrain": {"plans": ["searched"]}, "search": search}
    config = load_config({**values, "grouping": {"groups": "auto", "method": "budget", "budget": budget}})
    with nullcontext() if message is None else pytest.raises(InputError, match=message):
        check_search(config, NAMES)


def test_candidates_are_the_users_then_ours_then_those_of_each_affinity() -> None:
    names = tuple("abcdef")
    blocks = [np.repeat([0, 1], 3), np.arange(6) % 2]
    matrices = [TaskMatrix(names, (block[:, None] == block).astype(float), "affinity") for block in blocks]
    ours = Groups.from_labels(names, np.array([0, 0, 1, 1, 1, 1]), "by hand")
    config = set_values(CONFIG, ["search.candidates=[[[a], [b, c, d, e, f]]]"])
    found = candidates_of(config, ours, matrices, Size(2, 2, 60, 1, 0, 1, 1), group_tasks)
    expected = [[0, 1, 1, 1, 1, 1], ours.labels.tolist(), *(block.tolist() for block in blocks)]
    assert [labels.tolist() for labels in found[:2]] == expected[:2]
    assert all(labels in [each.tolist() for each in found] for labels in expected[2:]), "each affinity's own"
    assert len({labels.tobytes() for labels in found}) == len(found)
    assert len(candidates_of(config, ours, matrices, Size(2, 2, 12, 1, 0, 1, 1), group_tasks)) == 2, "a third of twelve"


@pytest.mark.parametrize(
    "budget",
    [
        {"apart": [["a", "b", "c"]], "networks": 3},
        {"max_size": 2, "together": [["a", "b"]]},
        {"objective": "groups", "networks": 3},
        {"apart": [["a", "b"]], "overlap": True, "networks_per_task": 2},
    ],
)
def test_candidates_keep_a_budget_and_what_cannot_is_left_out(budget: dict[str, Any]) -> None:
    values = {"data": {"preset": "digits"}, "retrain": {"plans": ["searched"]}}
    config = load_config({**values, "grouping": {"groups": "auto", "method": "budget", "budget": budget}})
    conditions, rng = Conditions.of(budget, NAMES), np.random.default_rng(0)
    size = Size(2, 4, 60, 1, 0, 1, 1)
    matrices = [
        TaskMatrix(tuple(NAMES), rng.normal(size=(4, 4)), "affinity"),
        TaskMatrix(tuple(NAMES), rng.random((4, 4)), "distance"),
    ]
    ours = Groups.from_labels(tuple(NAMES), np.array([0, 1, 2, 2]), "budget")
    found = candidates_of(config, ours, matrices, size, group_tasks)
    assert found
    assert all(conditions.broken_by(np.arange(4)[:, None][: labels.max() + 1] == labels) == "" for labels in found)


def test_of_directed_affinities_a_search_knows_the_mean_of_both_directions() -> None:
    values = np.random.default_rng(0).normal(size=(4, 4))
    values[0, 1] = np.nan
    one, other = (TaskMatrix(tuple("abcd"), own, "affinity") for own in (values, values.T))
    found = mean_affinity([one])
    np.testing.assert_array_equal(found, mean_affinity([other]))
    np.testing.assert_array_equal(found, found.T)
    both = (values + values.T) / 2
    both[0, 1] = both[1, 0] = values[1, 0]
    pairs = both[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(found[2, 3], (both[2, 3] - pairs.mean()) / pairs.std())
    np.testing.assert_allclose(found[0, 1], (values[1, 0] - pairs.mean()) / pairs.std())


def test_candidates_have_every_number_of_groups_and_come_from_resampled_affinities_last() -> None:
    rng, blocks = np.random.default_rng(0), np.arange(12) // 3
    names = tuple("abcdefghijkl")

    def noisy() -> TaskMatrix:
        noise = rng.normal(scale=0.8, size=(12, 12))
        return TaskMatrix(names, (blocks[:, None] == blocks) + noise + noise.T, "affinity")

    ours = Groups.from_labels(names, blocks, "by hand")
    found = candidates_of(CONFIG, ours, [noisy()], Size(2, 4, 300, 1, 0, 1, 1), group_tasks)
    assert {int(labels.max()) + 1 for labels in found} == {2, 3, 4}
    more = candidates_of(CONFIG, ours, [noisy()], Size(4, 4, 300, 1, 0, 1, 1), group_tasks, [noisy() for _ in range(3)])
    assert len(more) >= 4, "three of resampled affinities"
    assert {int(labels.max()) + 1 for labels in more} == {4}


@pytest.mark.parametrize(("effect", "n_groups"), [(0.0, 3), (0.0, (2, 5)), (4.0, 3)])
def test_a_forecast_takes_luck_back_and_leaves_what_is_there(effect: float, n_groups: int | tuple[int, int]) -> None:
    """Of gains that are noise the best groups measured much and little is expected; of planted ones what they bring."""
    planted, expected, measured, over = np.arange(12) % 3, [], [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        search = GroupSearch(12, n_groups, budget=40, seed=seed)
        sums = {}
        while groups := search.ask(at_least=10):
            for group in groups:
                same = (planted[:, None] == planted) & group
                gains = np.where(group, effect * same.sum(axis=1) / group.sum() + rng.normal(size=12), np.nan)
                sums[group.tobytes()] = np.nansum(gains)
                search.tell(group, gains)
        best = search.best()
        forecast = Expected.of(search, best, seed)
        expected.append(forecast.expected)
        over.append(forecast.over_random)
        measured.append(sum(sums[(best == g).tobytes()] for g in range(best.max() + 1)) / 12)
    assert np.mean(measured) > 0.3, "the best of many is better by luck alone"
    if effect == 0:
        assert abs(np.mean(expected)) < 0.5 * np.mean(measured)
    else:
        assert np.mean(over) > 0.2


def opposites(n: int = 1200) -> sr.TaskSet:
    """Two families of three tasks: where the first input is positive, one has the opposite labels of the other."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(n, 6)).astype(np.float32)
    score = inputs[:, 1:4].sum(axis=1, keepdims=True) + 0.3 * rng.normal(size=(n, 6))
    turned = (inputs[:, :1] > 0) & (np.arange(6) % 2 == 1)
    return sr.TaskSet.from_arrays(inputs, ((score > 0) ^ turned).astype(np.int8), names=list("abcdef"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_budget_is_kept_by_the_search_and_by_what_is_deployed(quiet: Reporter, tmp_path: Path) -> None:
    budget = {"networks": 3, "max_size": 3, "apart": [["a", "b"]]}
    settings = {
        "model": {"trunk": "mlp", "width": 8, "depth": 1},
        "profile": {"epochs": 4, "workers": 1},
        "grouping": {"method": "budget", "budget": budget},
        "retrain": {"epochs": 4, "plans": ["ours", "searched", "all_in_one"]},
        "search": {"cost": 6.0, "rounds": 2},
    }
    run = sr.run(opposites(600), str(tmp_path / "run"), settings=settings, until="retrain", reporter=quiet)
    about = run.run_dir.read_json("search.json")
    conditions = Conditions.of(budget, "abcdef")
    for groups in (about["groups"], run.groups.groups):
        assert conditions.broken_by(np.array([[t in group for t in "abcdef"] for group in groups])) == ""
    assert len(about["measured"]) > 4
    for row in about["measured"][1:]:  # the first is that of all tasks, which the others are compared with
        assert conditions.allows(np.array([t in row["tasks"] for t in "abcdef"]))
    chosen = run.run_dir.read_json("chosen.json")
    assert {each["plan"] for each in chosen["candidates"]} == {"ours", "searched"}
    assert "left out, since grouping.budget does not allow them: all_in_one" in chosen["why"]
    only = run_stage("retrain", str(tmp_path / "run"), overrides=["retrain.plans=[all_in_one]"], reporter=quiet)
    assert only.chosen is None
    with pytest.raises(InputError, match=r"none of its plans keeps grouping.budget, so none was chosen: name one of"):
        sr.load(tmp_path / "run")
    assert len(sr.load(tmp_path / "run", "all_in_one").networks) == 1


def error_of_rows(run: sr.Run, tasks: list[str], groups: list[list[str]]) -> float:
    """By how much other validation rows would change the mean gain of groups, from what their probes have kept."""
    places = [f".networks/{name}/network.json" for name in run.run_dir.list(".networks")]
    probes = [about for about in map(run.run_dir.read_json, places) if about.get("probe")]
    short = min(about["epochs"] for about in probes)
    by_tasks = {tuple(sorted(about["tasks"])): about for about in probes if about["epochs"] == short}

    def scores(members: list[str]) -> dict[str, np.ndarray]:
        about = by_tasks[tuple(sorted(members))]
        return dict(zip(about["tasks"], np.array(about["without_folds"], dtype=float).T, strict=True))

    one = scores(tasks)
    gains = [own - one[task] for group in groups for task, own in scores(group).items()]
    without = np.mean(gains, axis=0)
    return float(np.sqrt(19 / 20 * np.square(without - without.mean()).sum()))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_families_that_hurt_each_other_are_found_by_measuring(quiet: Reporter, tmp_path: Path) -> None:
    """The affinities are random: nothing but the measurements tells."""
    settings = {
        "model": {"trunk": "mlp", "width": 3, "depth": 1},
        "profile": {"epochs": 20, "batch_size": 32, "workers": 1},
        "affinity": {"methods": ["random"]},
        "grouping": {"groups": 2},
        "retrain": {"epochs": 20, "batch_size": 32, "plans": ["ours", "searched", "all_in_one"], "lr": 0.02},
        "search": {"length": 0.25, "cost": 3.0, "rounds": 2, "finalists": 3},
    }
    run = sr.run(opposites(), str(tmp_path / "run"), settings=settings, until="retrain", reporter=quiet)
    found = run.run_dir.read_json("plans/searched.json")["groups"]
    assert sorted(map(sorted, found)) == [["a", "c", "e"], ["b", "d", "f"]]
    about = run.run_dir.read_json("search.json")
    assert about["groups"] == found
    assert about["measured"][0]["tasks"] == list("abcdef")
    assert set(about["measured"][0]["gains"].values()) == {0.0}
    assert about["networks"] == len(about["measured"]) <= 24
    assert 2 <= len(about["finalists"]) <= 3
    assert about["groups"] == max(about["finalists"], key=lambda finalist: finalist["gain"])["groups"]
    finals = len({tuple(sorted(group)) for finalist in about["finalists"] for group in finalist["groups"]}) + 1
    assert about["cost"] == pytest.approx(about["networks"] / 8 + finals / 4)
    assert about["expected"] > 0
    assert about["over_random"] > 0
    assert about["better_than"] > 0.9
    of_rows = error_of_rows(run, list("abcdef"), found)
    assert 0.001 < of_rows <= about["error"] < 2 * of_rows + 0.05
    networks = [run.run_dir.read_json(f".networks/{name}/network.json") for name in run.run_dir.list(".networks")]
    probes = [network for network in networks if network.get("probe")]
    assert len(probes) == about["networks"] + finals
    assert all(set(probe["scores"]) == {"val"} for probe in probes), "the search never sees test rows"
    results = run.results
    test = results[(results["split"] == "test") & (results["metric"] == "average_precision")]
    means = test.groupby("plan")["value"].mean()
    assert means["searched"] > means["ours"]
    assert means["searched"] > means["all_in_one"]


SETTINGS = (
    *("data.limit=600", "profile.epochs=4", "profile.workers=1", "affinity.methods=[data_map]", "grouping.groups=5"),
    *("retrain.epochs=4", "retrain.seeds=1", "retrain.plans=[searched]"),
    *("search.length=0.5", "search.cost=1.2", "search.rounds=2"),
    *("profile.precision=float32", "retrain.precision=float32"),
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_session")
def test_killed_in_the_search_the_same_run_ends_with_the_same_plan(tmp_path: Path) -> None:
    config, console = load_config("digits", SETTINGS), Console(file=io.StringIO(), soft_wrap=True)
    whole, run = (RunDir(tmp_path / name) for name in ("whole", "run"))
    sr.run(config, whole.uri, until="retrain", reporter=Reporter(console))
    assert "search: groups of" in console.file.getvalue()  # type: ignore[attr-defined]
    shutil.copytree(whole.root, run.root)
    run.forget_from("retrain")
    for left in (".ray", ".networks"):
        run.delete(left)

    given = [word for setting in SETTINGS for word in ("--set", setting)]
    killed = Program("run", "digits", *given, "--until", "retrain", "--out", run.uri, log=tmp_path / "killed.log")
    trained = Path(run.root, ".networks")
    killed.wait_until(lambda: len(list(trained.glob("*/network.json"))) >= 6, timeout=300)  # in the second round
    killed.kill()
    assert not run.exists("search.json"), "too late to kill it in the search"
    sr.run(config, run.uri, until="retrain", reporter=Reporter(console))
    assert run.read_json("search.json")["networks"] > 6
    for name in ("search.json", "plans/searched.json"):
        assert run.read_json(name) == whole.read_json(name)
    a, b = (own.read_parquet("results.parquet").to_pandas() for own in (run, whole))
    assert a.equals(b)
