"""Regions and suspects: equal to a look at one sample after the other, however the samples are sharded."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.data_maps.findings import region_sums, regions_table, suspects, suspects_table
from stg_ray.data_maps.state import DataMapState


def random_state(n: int, n_tasks: int, visits: int, seed: int) -> tuple[DataMapState, np.ndarray]:
    rng = np.random.default_rng(seed)
    level = rng.random((n, n_tasks))
    level[rng.random(level.shape) < 0.2] = np.nan
    state = DataMapState.empty(n, n_tasks)
    for _ in range(visits):
        noisy = np.clip(level + rng.normal(0, 0.2, level.shape), 0, 1)
        state = state.merge(DataMapState.of_visit(noisy.astype(np.float32)))
    labels = np.where(np.isnan(level), -1, rng.integers(0, 2, level.shape)).astype(np.int8)
    return state, labels


@given(n=st.integers(1, 60), n_tasks=st.integers(1, 5), cuts=st.integers(1, 4), seed=st.integers(0, 1000))
def test_shards_add_up_to_the_loop(n: int, n_tasks: int, cuts: int, seed: int) -> None:
    state, labels = random_state(n, n_tasks, 4, seed)
    names = [f"t{t}" for t in range(n_tasks)]
    samples = np.random.default_rng(seed).permutation(1000)[:n]
    bounds = np.linspace(0, n, cuts + 1).astype(int)
    shards = [slice(a, b) for a, b in itertools.pairwise(bounds) if b > a]
    sums = sum(region_sums(state[own]) for own in shards)
    table = regions_table(names, np.asarray(sums)).to_pandas()
    found = suspects_table(names, [suspects(state[s], samples[s], labels[s], n=3) for s in shards], n=3).to_pandas()
    for t, name in enumerate(names):
        counts = {"easy": 0, "ambiguous": 0, "hard_to_learn": 0}
        hard = []
        for i in range(n):
            mean, spread = state.mean[i, t], state.variability[i, t]
            if np.isnan(mean):
                continue
            region = "ambiguous"
            if spread < 0.25 and mean >= 0.75:
                region = "easy"
            elif spread < 0.25 and mean < 0.25:
                region = "hard_to_learn"
                hard.append((mean, samples[i]))
            counts[region] += 1
        labelled = sum(counts.values())
        row = table.iloc[t]
        assert row["samples"] == labelled
        for region, count in counts.items():
            share = count / labelled if labelled else np.nan  # nothing is known of a task without a data map
            assert np.isclose(row[region], share, equal_nan=True)
        own = found[found["task"] == name]
        assert own["sample"].tolist() == [sample for _, sample in sorted(hard)[:3]]
        assert (own["label"] >= 0).all()


def test_labels_that_were_turned_round_are_found() -> None:
    """A classifier that is right about nearly all samples never believes the wrong labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (500, 2)).astype(np.int8)
    wrong = rng.choice(500, 10, replace=False)
    truth = labels.copy()
    labels[wrong, 0] = 1 - labels[wrong, 0]
    state = DataMapState.empty(500, 2)
    for _ in range(6):
        belief = np.where(truth == 1, 0.9, 0.1) + rng.normal(0, 0.03, truth.shape)
        state = state.merge(DataMapState.of_visit((1 - np.abs(labels - belief)).astype(np.float32)))
    found = suspects_table(["noisy", "clean"], [suspects(state, np.arange(500), labels)]).to_pandas()
    assert set(found["sample"]) == set(wrong)
    assert set(found["task"]) == {"noisy"}
