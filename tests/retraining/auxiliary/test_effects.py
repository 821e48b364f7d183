"""Effects on a score: their intervals cover, gains are found where there are some, and nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.retraining.auxiliary.effects import Effect, ScoreTable, clear_gains
from stg_ray.retraining.auxiliary.estimates import estimated_help
from stg_ray.tasks import Task

TASK = Task("main", "regression", 1)
WAYS = ("alone", "a", "b", "c", "d")


def table(seed: int, noise: dict[str, float], n: int = 60, trainings: int = 3) -> ScoreTable:
    """Predictions of a quantity, whose noise is partly that of the way and the training, shared by all rows."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=n)
    predictions = {}
    for way in WAYS:
        scale = [noise.get(way, 1.0) * rng.uniform(0.9, 1.1) for _ in range(trainings)]
        predictions[way] = [labels + each * rng.normal(size=n) for each in scale]
    return ScoreTable(TASK, labels, predictions, seed)


def test_gains_are_found_and_where_there_are_none_hardly_ever() -> None:
    planted, none = 0, 0
    for seed in range(10):
        helped = table(seed, {"a": 0.3, "c": 0.4})
        planted += set(clear_gains({way: helped.effect(way, "alone") for way in WAYS[1:]})) == {"a", "c"}
        alike = table(1000 + seed, {})
        none += bool(clear_gains({way: alike.effect(way, "alone") for way in WAYS[1:]}))
    assert planted >= 9
    assert none <= 1


def test_an_effect_is_that_of_the_scores_and_its_error_has_both_kinds_of_luck() -> None:
    found = table(0, {"a": 0.5})
    effect = found.effect("a", "alone")
    assert effect.mean == pytest.approx(found.scores["a"].mean() - found.scores["alone"].mean())
    of_trainings = np.sqrt(sum(found.scores[way].var(ddof=1) / 3 for way in ("a", "alone")))
    of_rows = (found.resampled["a"] - found.resampled["alone"]).std(ddof=1)
    assert effect.error == pytest.approx(np.hypot(of_trainings, of_rows))
    low, high = effect.interval
    assert low < effect.mean < high
    same = found.effect("a", "a")
    assert same.mean == 0
    assert same.p_value >= 0.5


def test_clear_gains_step_down() -> None:
    """0.05 over the number of those that are left: 0.012, 0.016 and 0.024 pass of four; of 0.03 twice none does."""
    p_values = {"a": 0.012, "b": 0.016, "c": 0.024, "d": 0.9}
    effects = {name: at(p) for name, p in p_values.items()}
    assert clear_gains(effects) == ["a", "b", "c"]
    assert clear_gains({"a": at(0.03), "b": at(0.03)}) == []
    assert clear_gains({}) == []
    assert Effect(0.0, 0.0, np.inf).p_value == 1
    assert Effect(0.1, 0.0, np.inf).p_value == 0


def at(p_value: float) -> Effect:
    from scipy import special

    return Effect(-float(special.stdtrit(8, p_value)), 1.0, 8)


def test_estimates_read_every_affinity_the_way_it_helps() -> None:
    names = ("main", "a", "b", "c")
    directed = np.array([[9.0, 1, 2, 3], [4, 9, 0, 0], [1, 0, 9, 0], [2, 0, 0, 9]])
    row = estimated_help({"grad_tag": TaskMatrix(names, directed, "affinity")}, 0)
    assert np.argsort(-row[1:]).tolist() == [2, 1, 0], "the row's task gains"
    column = estimated_help({"tag": TaskMatrix(names, directed, "affinity")}, 0)
    assert np.argsort(-column[1:]).tolist() == [0, 2, 1], "the row's task helps"
    far = estimated_help({"landscape": TaskMatrix(names, directed, "distance")}, 0)
    assert np.argsort(-far[1:]).tolist() == [0, 1, 2]
    gap = directed.copy()
    gap[0, 1] = np.nan
    assert estimated_help({"x": TaskMatrix(names, gap, "affinity")}, 0)[1] == -np.inf
    both = {"x": TaskMatrix(names, gap, "affinity"), "tag": TaskMatrix(names, directed, "affinity")}
    assert estimated_help(both, 0)[1] == pytest.approx(column[1]), "one of them knows"
    equal = estimated_help({"x": TaskMatrix(names, np.ones((4, 4)), "affinity")}, 0)
    assert np.isfinite(equal).all()
