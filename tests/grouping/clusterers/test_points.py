"""Point-based data maps: what the histograms say is what the points say, and tasks are told apart by their points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config, set_values
from stg_ray.data.parts import write_parts
from stg_ray.data_maps.histogram import BINS, LARGEST_VARIABILITY, PointHistogram, point_counts
from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks
from stg_ray.grouping import run as group
from stg_ray.grouping.clusterers.points import PointClusters
from stg_ray.grouping.stage import check_grouping
from stg_ray.progress import StageProgress


def state_of(easy: np.ndarray, n: int = 400, seed: int = 0) -> sr.DataMapState:
    """Six visits of n samples: each task has its share of easy samples, the others are hard or hop to and fro."""
    rng = np.random.default_rng(seed)
    state = sr.DataMapState.empty(n, len(easy))
    is_easy = rng.random((n, len(easy))) < easy
    is_hard = rng.random((n, len(easy))) < 0.5
    for _ in range(6):
        others = np.where(is_hard, 0.1, rng.random((n, len(easy))) > 0.5)
        level = np.where(is_easy, 0.95, others) + 0.02 * rng.normal(size=(n, len(easy)))
        level[:3, 0] = np.nan  # missing labels
        state = state.merge(sr.DataMapState.of_visit(np.clip(level, 0, 1).astype(np.float32)))
    return state


IS_EASY = np.array([1, 0, 1, 0, 1, 0, 1, 0])
EASY = np.where(IS_EASY, 0.9, 0.1)


@given(n=st.integers(1, 50), n_tasks=st.integers(1, 4), cut=st.integers(0, 50), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_histograms_of_parts_add_up_to_a_loop_over_the_points(n: int, n_tasks: int, cut: int, seed: int) -> None:
    state = state_of(np.full(n_tasks, 0.5), n, seed)
    expected = np.zeros((n_tasks, BINS, BINS))
    for i in range(n):
        for t in range(n_tasks):
            if not np.isnan(state.mean[i, t]):
                m = min(int(state.mean[i, t] * BINS), BINS - 1)
                v = min(int(state.variability[i, t] / LARGEST_VARIABILITY * BINS), BINS - 1)
                expected[t, m, v] += 1
    cut = min(cut, n)
    assert np.array_equal(point_counts(state[:cut]) + point_counts(state[cut:]), expected)


def test_memberships_are_those_of_the_points_themselves() -> None:
    state = state_of(EASY)
    histogram = sr.PointHistogram.of(state)
    clusterer = PointClusters(3).fit(histogram)
    points = np.stack([state.mean, state.variability], axis=-1)
    present = ~np.isnan(state.mean)
    labels = np.full(present.shape, -1)
    labels[present] = KMeans(3, n_init=10, random_state=0).fit_predict(points[present])
    expected = np.stack([(labels == c).sum(axis=0) / present.sum(axis=0) for c in range(3)], axis=1)
    used = np.unique(expected.argmax(axis=1))
    expected = expected[:, used] / expected[:, used].sum(axis=1, keepdims=True)
    distance = np.abs(np.sort(clusterer.membership_, axis=1) - np.sort(expected, axis=1))
    assert distance.max() < 0.02, "up to the width of a bin"


def test_certainty_is_how_often_a_task_stays_with_other_samples() -> None:
    """A task between the two kinds goes here or there with the samples, the others stay."""
    easy = np.append(EASY, 0.44)
    groups = sr.group(state_of(easy), method="points", n_groups=2)
    assert groups.certainty is not None
    certainty = np.array(list(groups.certainty.values()))
    first = np.array([np.flatnonzero(groups.labels == g)[0] for g in groups.labels])
    drawn = [sr.group(state_of(easy, seed=seed), method="points", n_groups=2).labels for seed in range(1, 21)]
    stays = np.mean([own == own[first] for own in drawn], axis=0)
    assert (certainty[:8] == 1).all()
    assert (stays[:8] == 1).all()
    assert certainty[8] < 1
    assert certainty[8] == pytest.approx(stays[8], abs=0.25)


@pytest.mark.parametrize("n_groups", [3, "auto"])
def test_easy_and_hard_tasks_are_told_apart(n_groups: int) -> None:
    groups = sr.group(state_of(EASY), method="points", n_groups=n_groups, min_groups=2)
    assert len({groups.serving[f"task_{t}"] for t in (0, 2, 4, 6)}) == 1
    assert groups.serving["task_0"] != groups.serving["task_1"]
    by_distance = sr.group(state_of(EASY), n_groups=2)
    assert adjusted_rand_score(IS_EASY, by_distance.labels) == 1


@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_permuting_the_tasks_permutes_the_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = state_of(rng.random(8), seed=seed)
    order = rng.permutation(8)
    moved = sr.DataMapState(state.count, state.mean[:, order], state.m2[:, order])
    one = group_tasks(state, method="points", n_groups=3)
    other = group_tasks(moved, method="points", n_groups=3, names=[f"task_{t}" for t in order])
    assert {frozenset(own) for own in one.groups} == {frozenset(own) for own in other.groups}


def test_points_decide_whatever_the_weights_are() -> None:
    """Those are of the task graph, which may be made of another affinity."""
    state = state_of(EASY)
    values = np.random.default_rng(0).random((len(EASY), len(EASY)))
    names = [f"task_{t}" for t in range(len(EASY))]
    other = sr.TaskMatrix(tuple(names), values + values.T, kind="affinity")
    found = group_tasks([other, state], method="points", n_groups=3, weights=[0, 1], names=names)
    assert found.labels.tolist() == group_tasks(state, method="points", n_groups=3).labels.tolist()


def test_a_task_without_points_and_identical_tasks() -> None:
    state = state_of(EASY)
    mean = state.mean.copy()
    mean[:, 1] = mean[:, 3]
    groups = group_tasks(sr.DataMapState(state.count, mean, state.m2), method="points", n_groups=3)
    assert groups.serving["task_1"] == groups.serving["task_3"]
    mean[:, 2] = np.nan
    blind = sr.DataMapState(state.count, mean, state.m2)
    with pytest.raises(InputError, match=r"task 'task_2' has no points in the data map .*another method than points"):
        sr.group(blind, method="points", n_groups=3)
    resampled = PointClusters(3).fit(PointHistogram.of(blind))  # of a task with few points, all may be left out
    assert np.allclose(resampled.membership_.sum(axis=1), 1)
    all_easy = group_tasks(state_of(np.full(5, 0.9)), method="points", n_groups=3)
    assert len(all_easy.groups) == 1
    assert all_easy.why_one.startswith("the tasks cannot be told apart by this method")


def test_what_has_no_points_is_refused() -> None:
    with pytest.raises(InputError, match="needs a data map"):
        group_tasks(np.eye(3), method="points")
    config = set_values(load_config("digits"), ["grouping.method=points"])
    with pytest.raises(InputError, match="'price' is a regression"):
        check_grouping(config, ["a", "b", "c", "price"], ["price"])
    with pytest.raises(InputError, match="looks at the data maps only"):
        set_values(config, ["grouping.weights={data_map: 2}"])


def test_a_run_is_grouped_by_the_histograms_of_its_profile(tmp_path: Path) -> None:
    run = RunDir(str(tmp_path))
    labels = np.random.default_rng(0).integers(0, 2, (60, 8))
    task_set = sr.TaskSet.from_arrays(np.zeros((60, 2), np.float32), labels)
    index = write_parts(task_set, run.sub("parts"), part_rows=20, seed=0)
    config = set_values(load_config("digits"), ["grouping.method=points", "grouping.groups=2"])
    progress = StageProgress(Console(quiet=True), "group")
    with pytest.raises(InputError, match=r"no profile/points.arrow: run stg-ray profile"):
        group(run, config, progress)
    run.write_arrays("profile/points.arrow", {"counts": point_counts(state_of(EASY))})
    group(run, config, progress)
    found = sr.Groups.from_dict(run.read_json("groups.json"))
    assert found.method == "points"
    assert found.tasks == index.names
    assert adjusted_rand_score(IS_EASY, found.labels) == 1
