"""The plan greedy: what is selected from a library of networks, and that its networks are those of other plans."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.progress import Reporter
from stg_ray.retraining.greedy import held_out_scores, select, slots_of
from stg_ray.retraining.jackknife import N_FOLDS
from stg_ray.retraining.library import Library
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.tasks import Task, TaskSet
from stg_ray.training.metrics import DEFAULT, primary_score

TASKS = tuple(Task(name) for name in "abc")


def library(
    members: list[list[int]], noise: list[float], *, n: int = 400, trainings: int = 2, seed: int = 0
) -> Library:
    """Networks whose logits are the truth with noise of their own, by network."""
    rng, n = np.random.default_rng(seed), 400
    truth = rng.normal(size=(n, len(TASKS)))
    labels = (truth > 0).astype(np.int8)
    labels[rng.random(labels.shape) < 0.2] = -1
    outputs = [
        [(truth[:, own] + sd * rng.normal(size=(n, len(own)))).astype(np.float32) for _ in range(trainings)]
        for own, sd in zip(members, noise, strict=True)
    ]
    return Library(TASKS, [labels] * trainings, [np.arange(n)] * trainings, members, outputs, DEFAULT)


def test_noisy_copies_are_averaged_and_bad_ones_left_out() -> None:
    found = select(library([[0, 1, 2]] * 5, [1.0, 1.0, 1.0, 1.0, 30.0]), [[n] for n in range(5)], most=3)
    assert np.count_nonzero(found) == 3
    assert found[4] == 0


def test_a_network_of_one_task_joins_where_it_is_better() -> None:
    found = select(library([[0, 1, 2], [0], [1]], [1.0, 0.2, 30.0]), [[0]], most=3)
    assert found[1] > 0
    assert found[0] == 1
    assert found[2] == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_first_step_is_the_best_of_all_single_additions(seed: int) -> None:
    """Each one tried by hand, from each start; further steps only raise the score."""
    own = library([[0, 1, 2], [0, 1], [2], [0, 1, 2], [1]], [1.0, 0.7, 0.5, 0.9, 0.6], seed=seed)
    starts = [np.array(start) for start in ([1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0])]
    begun = max(starts, key=lambda start: float(np.mean(own.scores(start))))
    added = max(float(np.mean(own.scores(begun + step))) for step in np.eye(5, dtype=int))
    found = select(own, [[0], [1, 2], [3]], most=5)
    assert np.mean(own.scores(found)) >= max(added, float(np.mean(own.scores(begun)))) - 1e-12
    assert (found >= begun).all(), "nothing is taken out"


def test_the_number_of_networks_decides_where_it_begins() -> None:
    own = library([[0, 1, 2], [0, 1], [2]], [1.5, 0.4, 0.4])
    assert select(own, [[0], [1, 2]], most=1)[[1, 2]].tolist() == [0, 0]
    assert (select(own, [[0], [1, 2]], most=2) > 0).tolist() == [False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_worse_than_its_start_and_keeps_to_its_number(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members = [[0, 1, 2], [0, 1, 2], [0], [1, 2], [0, 2], [1]]
    own = library(members, rng.uniform(0.3, 3, 6).tolist(), seed=seed)
    starts = [[0], [1], [2, 3], [4, 5]]
    for most in (1, 2, 3):
        found = select(own, starts, most)
        begun = [np.isin(np.arange(6), start).astype(int) for start in starts if len(start) <= most]
        assert np.count_nonzero(found) <= most
        assert np.mean(own.scores(found)) >= max(np.mean(own.scores(each)) for each in begun) - 1e-12


def test_without_a_start_that_is_small_enough_nothing_is_selected() -> None:
    assert not select(library([[0, 1], [2]], [1.0, 1.0]), [[0, 1]], most=1).any()


def test_scores_are_those_of_the_mean_output() -> None:
    own = library([[0, 1, 2], [0, 1, 2]], [1.0, 1.0], trainings=1)
    logits = (2 * own.of_task[0][0][0] + own.of_task[0][1][0]) / 3
    expected = primary_score(TASKS[0], logits[:, 0], own.labels[0][0])
    assert own.score(0, np.array([2, 1])) == pytest.approx(expected)
    assert np.isnan(own.score(0, np.array([0, 0])))


def test_a_training_of_another_fold_has_rows_of_its_own() -> None:
    """The score is the mean of the trainings', each on its rows; a fold that lacks a class of a task has no say."""
    one, other = library([[0, 1, 2]], [1.0], trainings=1), library([[0, 1, 2]], [0.5], trainings=1, seed=3)
    labels = [np.full((400, 3), -1, dtype=np.int8) for _ in range(2)]
    for own, filled in zip((one, other), labels, strict=True):
        for t in range(3):
            filled[own.rows[t][0], t] = own.labels[t][0]
    labels[1][:, 1] = np.minimum(labels[1][:, 1], 0)
    outputs = [np.zeros((400, 3), dtype=np.float32) for _ in range(2)]
    for own, logits in zip((one, other), outputs, strict=True):
        for t in range(3):
            logits[own.rows[t][0], t] = own.of_task[t][0][0][:, 0]
    both = Library(TASKS, labels, [np.arange(400)] * 2, [[0, 1, 2]], [outputs], DEFAULT)
    alone = np.array([own.scores(np.array([1])) for own in (one, other)])
    expected = [alone[:, 0].mean(), alone[0, 1], alone[:, 2].mean()]
    assert both.scores(np.array([1])) == pytest.approx(expected)


def test_what_is_selected_on_one_half_is_scored_on_the_other() -> None:
    """Where outputs are noise, the best of many networks seems good on the rows that it is selected on."""
    members, starts = [[0, 1, 2]] * 40, [[n] for n in range(40)]
    own = library(members, [1e6] * 40, trainings=1)
    seeming = np.mean(own.scores(select(own, starts, most=3)))
    honest = np.mean([metrics["average_precision"] for metrics in held_out_scores(own, starts, 3)[0][0].values()])
    chance = np.mean([labels.mean() for (labels,) in own.labels])
    assert seeming > chance + 0.02
    assert honest < chance + 0.01
    good, _ = held_out_scores(library(members[:3], [0.3] * 3), starts[:3], 2)
    assert all(metrics["average_precision"] > 0.95 for scores in good for metrics in scores.values())


def test_each_half_is_predicted_by_what_the_other_selects() -> None:
    own = library([[0, 1, 2], [0], [1, 2], [0, 1, 2]], [1.0, 0.8, 1.2, 1.1], trainings=2)
    starts = [[0], [3]]
    by_even, by_odd = (select(own.of_half(number), starts, 3) for number in (0, 1))
    for s, (scores, without) in enumerate(zip(*held_out_scores(own, starts, 3), strict=True)):
        for t, task in enumerate(TASKS):
            even = own.rows[t][s] % 2 == 0
            prediction = np.where(even, own.predictions(t, by_odd)[s], own.predictions(t, by_even)[s])
            expected = primary_score(task, prediction, own.labels[t][s])
            assert scores[task.name]["average_precision"] == pytest.approx(expected)
            left = own.positions[s][own.rows[t][s]] // 2 % N_FOLDS != 3
            assert without[3, t] == pytest.approx(primary_score(task, prediction[left], own.labels[t][s][left]))


def test_equal_networks_of_several_plans_are_one_and_plans_that_lack_one_are_no_start() -> None:
    config = load_config("digits")
    specs = [
        NetworkSpec(plan, group, tasks, seed=seed, draws=seed, epochs=5)
        for seed, (plan, group, tasks) in product(
            (0, 1), [("ours", 0, ("a", "b")), ("ours", 1, ("c",)), ("all_in_one", 0, ("a", "b", "c"))]
        )
    ]
    twins = [NetworkSpec("ours_and_all", 0, ("a", "b", "c"), seed=seed, draws=seed, epochs=5) for seed in (0, 1)]
    slots, plans = slots_of([*specs, *twins], config, "abc")
    assert [slot.tasks for slot in slots] == [(0, 1), (2,), (0, 1, 2)]
    assert plans == [[0, 1], [2], [2]]
    slots, plans = slots_of([spec for spec in specs if (spec.group, spec.seed) != (1, 1)], config, "abc")
    assert [slot.tasks for slot in slots] == [(0, 1), (0, 1, 2)], "what failed in one training is not selected"
    assert plans == [[1]]


def test_greedy_needs_others() -> None:
    with pytest.raises(InputError, match="greedy selects from the networks of other plans"):
        load_config("digits", ["retrain.plans=[greedy]"])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_run_serves_what_it_selected(quiet: Reporter, tmp_path: Path, make_task_set: Callable[..., TaskSet]) -> None:
    """Also where every training has validation rows of its own."""
    settings = {
        "profile": {"epochs": 2, "workers": 1},
        "grouping": {"groups": 2},
        "retrain": {
            "epochs": 3,
            "seeds": 2,
            "folds": 2,
            "networks": 3,
            "plans": ["ours", "all_in_one", "single_task", "greedy"],
        },
    }
    run = sr.run(make_task_set(n_samples=400, noise=1.0), tmp_path / "run", settings=settings, reporter=quiet)
    plan = run.run_dir.read_json("plans/greedy.json")
    assert 1 <= len(plan["groups"]) <= 3
    assert len(run.run_dir.list(".networks")) == 2 * (2 + 1 + 6), "nothing is trained for it"
    results = run.results
    of_plan = results[(results["plan"] == "greedy") & (results["metric"] == "average_precision")]
    assert of_plan.groupby("split").size().to_dict() == {"val": 2 * 6, "test": 2 * 6}
    assert of_plan["value"].notna().all()
    predictor = sr.load(run.uri, "greedy", seed=1)
    data = make_task_set(n_samples=400, noise=1.0)
    serving = "ensemble" if predictor.groups.has_ensemble else "argmax"
    predictions = predictor.predict(data.inputs[data.rows("test")], serving=serving)
    name = data.names[0]
    expected = results[
        (results["plan"] == "greedy")
        & (results["seed"] == 1)
        & (results["split"] == "test")
        & (results["task"] == name)
        & (results["metric"] == "average_precision")
    ]["value"].iloc[0]
    labels = data.labels[data.rows("test"), 0]
    assert primary_score(data.tasks[0], predictions[name], labels) == pytest.approx(expected, abs=1e-6)
