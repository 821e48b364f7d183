"""The profiling run on real Ray Train: the data maps are those of one process on the same visits."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.placement import Placement, place_workers
from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.data.parts import PartIndex, index_of, read_index, read_split, write_parts
from stg_ray.data.rows import TaskRows
from stg_ray.data_maps.files import DataMap
from stg_ray.data_maps.state import DataMapState
from stg_ray.errors import StgRayError
from stg_ray.models import build_network, load_weights
from stg_ray.models.outputs import as_labels
from stg_ray.profiling.recorder import Shard
from stg_ray.profiling.stage import most_workers, threads_of_a_worker
from stg_ray.profiling.stage import run as profile
from stg_ray.progress import Reporter
from stg_ray.retraining.scoring import scores_of
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.batches import Draws, ShardBatches
from stg_ray.training.evaluation import evaluate
from stg_ray.training.optimization import lr_factor
from stg_ray.training.ranks import Ranks
from tests.support.events import events_of
from tests.support.local_ray import local_ray
from tests.support.processes import kill_a_worker

CONFIG = load_config(
    {
        "data": {"npz": "planted"},
        "model": {"trunk": "mlp", "width": 16, "dropout": 0.0},
        "profile": {
            "epochs": 3,
            "batch_size": 24,
            "snapshots": 2,
            "lr": 0.01,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "warmup": 0.1,
        },
    }
)


def with_workers(workers: int, **profile: object) -> Config:
    values = CONFIG.model_dump()
    values["profile"] |= {"workers": workers, **profile}
    return Config.model_validate(values)


def batches_of(shard: Shard, rank: int, batch_size: int) -> ShardBatches:
    ranks = Ranks(rank, len(shard.rows_by_rank))
    return ShardBatches(shard.rows_by_rank, batch_size, 1.0, Draws(0, Stream.PROFILE_BATCHES), ranks)


def oracle(run: RunDir, index: PartIndex, world: int) -> dict[int, DataMapState]:
    """One process, float64, one batch at a time: the rows that all ranks take together at each step."""
    shards = [Shard.of(index, rank, world) for rank in range(world)]
    datas = [read_split(run.sub("parts"), index, "train", shard.numbers) for shard in shards]
    network = build_network(CONFIG.model, index, index.tasks, CONFIG.seed).double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=CONFIG.profile.weight_decay)
    n_steps = batches_of(shards[0], 0, CONFIG.profile.batch_size).n_steps
    samples = np.concatenate([data.samples for data in datas])
    order = {sample: row for row, sample in enumerate(samples)}
    visits: dict[int, np.ndarray] = {}
    for epoch in (1, 2, 3):
        confidences = np.full((len(samples), len(index.tasks)), np.nan)
        rows = [
            np.array_split(np.random.default_rng([CONFIG.seed, 3, epoch, r]).permutation(len(data)), n_steps)
            for r, data in enumerate(datas)
        ]
        for step in range(n_steps):
            total = 3 * n_steps
            factor = lr_factor((epoch - 1) * n_steps + step, n_steps=total, warmup=0.1, schedule="cosine")
            optimizer.param_groups[0]["lr"] = 0.01 * factor
            inputs = np.concatenate([data.inputs[rows[r][step]] for r, data in enumerate(datas)])
            labels = np.concatenate([data.labels[rows[r][step]] for r, data in enumerate(datas)])
            ids = np.concatenate([data.samples[rows[r][step]] for r, data in enumerate(datas)])
            target = as_labels(torch.tensor(labels))
            outputs = network(torch.tensor(inputs).double())
            loss = network.layout.losses(outputs, target).sum() / (len(inputs) * index.labels_per_sample)
            confidences[[order[i] for i in ids]] = network.layout.confidences(outputs, target).detach().numpy()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        visits[epoch] = confidences
    states = {}
    for last in (2, 3):
        seen = np.stack([visits[epoch] for epoch in range(1, last + 1)])
        by_sample = np.argsort(samples)
        m2 = np.square(seen - seen.mean(axis=0)).sum(axis=0)
        states[last] = DataMapState(np.full(len(samples), last, np.int32), seen.mean(axis=0)[by_sample], m2[by_sample])
    return states


def profile_elsewhere(folder: Path, workers: int) -> None:
    """On a Ray of its own process: that of the tests has fewer CPUs."""
    with local_ray(workers), Reporter(Console(quiet=True)).stage("profile") as progress:
        profile(RunDir(folder), with_workers(workers), progress)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_data_maps_are_those_of_one_process(
    workers: int, make_task_set: Callable[..., TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    write_parts(make_task_set(n_samples=301, missing=0.2), run.sub("parts"))
    if workers <= 2:
        with quiet.stage("profile") as progress:
            profile(run, with_workers(workers), progress)
    else:
        process = multiprocessing.get_context("spawn").Process(target=profile_elsewhere, args=(tmp_path, workers))
        process.start()
        process.join()
        assert process.exitcode == 0
    index = read_index(run.sub("parts"))
    assert run.list("profile/data_map") == ["epoch-0002", "epoch-0003"]
    for epoch, expected in oracle(run, index, workers).items():
        batches = [
            run.read_arrow(f"profile/data_map/epoch-{epoch:04d}/{name}")
            for name in run.list(f"profile/data_map/epoch-{epoch:04d}")
        ]
        samples = np.concatenate([batch.column("sample").to_numpy() for batch in batches])
        states = [DataMapState.from_batch(batch) for batch in batches]
        by_sample = np.argsort(samples)
        assert len(np.unique(samples)) == len(samples) == index.n_samples()
        count, mean, m2 = (
            np.concatenate([getattr(s, key) for s in states])[by_sample] for key in ("count", "mean", "m2")
        )
        assert np.array_equal(count, expected.count), "every sample is visited exactly once per epoch"
        np.testing.assert_allclose(mean, expected.mean, rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(m2, expected.m2, rtol=2e-3, atol=1e-6)
    metrics = run.read_parquet("profile/metrics.parquet").to_pandas()
    assert len(metrics) == 3 * len(index.tasks)
    assert (metrics[["seconds", "cpu_seconds"]] > 0).all(axis=None)
    mean_loss = metrics.groupby("epoch")["loss"].mean()
    assert mean_loss[3] < mean_loss[1]


def test_every_rank_takes_the_same_steps_and_every_row_once() -> None:
    rows = [7, 7, 6, 6, 6]
    index = PartIndex((), (3,), (0.0,), (1.0,), 1.0, 1.0, {"train": rows})
    for world in (1, 2, 3, 5):
        shards = [Shard.of(index, rank, world) for rank in range(world)]
        assert sorted(number for shard in shards for number in shard.numbers) == [0, 1, 2, 3, 4]
        for batch_size in (1, 4, 10, 100):
            batches = [batches_of(shard, rank, batch_size) for rank, shard in enumerate(shards)]
            assert len({each.n_steps for each in batches}) == 1
            n_steps = batches[0].n_steps
            sizes = sum(
                np.array([len(piece) for piece in np.array_split(np.arange(own), n_steps)])
                for own in shards[0].rows_by_rank
            )
            assert np.array_equal(batches[0].rows_of_steps(), sizes)
            assert min(len(np.array_split(np.arange(own), n_steps)[-1]) for own in shards[0].rows_by_rank) >= 1


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([{"CPU": 2}], "auto", (2, {"CPU": 1})),
        ([{"CPU": 2}], 1, (1, {"CPU": 2})),
        ([{"CPU": 2}], 8, (2, {"CPU": 1})),
        ([{"CPU": 4}, {"CPU": 4}], 1, (1, {"CPU": 4})),
        ([{"CPU": 8}, {"CPU": 2}], 2, (2, {"CPU": 4})),
        ([{"CPU": 64}], "auto", (16, {"CPU": 4})),
        ([{"CPU": 8}, {"CPU": 8, "GPU": 2}], "auto", (2, {"CPU": 4, "GPU": 1})),
        ([{"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}], 3, (3, {"CPU": 2, "GPU": 0.5})),
        ([{"CPU": 1, "GPU": 4}], "auto", (1, {"CPU": 1, "GPU": 1})),
    ],
)
def test_no_worker_asks_for_more_than_a_node_has(
    nodes: list[dict[str, float]], workers: int, expected: tuple[int, dict[str, float]]
) -> None:
    count, placement = place_workers(nodes, workers, n_parts=16)
    assert (count, placement.resources) == expected


@pytest.mark.parametrize(
    ("settings", "workers", "resources", "expected"),
    [
        ([], 1, {"CPU": 16}, 1),
        (["model.width=2048"], 1, {"CPU": 16}, 3),
        (["model.width=2048"], 2, {"CPU": 16}, 1),
        (["model.width=2048", "profile.batch_size=512"], 1, {"CPU": 16}, 16),
        (["model.width=2048", "profile.batch_size=512"], 1, {"CPU": 4}, 4),
        ([], 1, {"CPU": 1}, 1),
        ([], 1, {"CPU": 4, "GPU": 1}, 4),
    ],
)
def test_threads_share_a_step_that_is_long_enough(
    settings: list[str], workers: int, resources: dict[str, float], expected: int, make_task_set: Callable[..., TaskSet]
) -> None:
    config = load_config({"data": {"npz": "planted"}}, ["model.trunk=mlp", "profile.batch_size=64", *settings])
    placement = Placement(resources, [1])
    assert threads_of_a_worker(config, index_of(make_task_set()), workers, placement) == expected


@pytest.mark.parametrize(
    ("settings", "nodes", "expected"),
    [
        ([], [{"CPU": 8.0}], 1),
        ([], [{"CPU": 8.0}] * 4, 1),
        (["model.width=4096", "profile.batch_size=512"], [{"CPU": 2.0}], 1),
        (["model.width=4096", "profile.batch_size=512"], [{"CPU": 4.0}] * 4, "auto"),
        (["model.width=4096", "profile.batch_size=512"], [{"CPU": 64.0}], "auto"),
        ([], [{"CPU": 8.0, "GPU": 2.0}], "auto"),
        (["profile.gpus=0"], [{"CPU": 8.0, "GPU": 2.0}], 1),
        (["profile.workers=3"], [{"CPU": 8.0}], 3),
        (["profile.workers=[2,5]"], [{"CPU": 8.0}], 5),
    ],
)
def test_a_step_that_is_too_short_to_be_shared_has_one_worker(
    settings: list[str], nodes: list[dict[str, float]], expected: int | str, make_task_set: Callable[..., TaskSet]
) -> None:
    config = load_config({"data": {"npz": "planted"}}, ["profile.gpus=1", *settings])
    index = index_of(make_task_set())
    assert most_workers(config, index, nodes) == expected
    rows = {"train": [10**9], "val": [], "test": []}
    if expected == 1:
        several = len(nodes) > 1
        assert most_workers(config, replace(index, rows=rows), nodes) == ("auto" if several else 1), (
            "one need not hold all"
        )


def test_a_cluster_without_cpus_is_told_so() -> None:
    with pytest.raises(StgRayError, match="no CPUs to work on"):
        place_workers([{"memory": 1.0}], "auto", n_parts=16)


def kill_between_checkpoints(run: RunDir, killed: list[int]) -> None:
    """Kill one of the workers, when it has a checkpoint to go on from."""
    kill_a_worker(Path(run.root), ".ray/profile/checkpoint_*", "RayTrainW", killed, n_files=2)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_length_is_chosen_by_validation_alike_on_all_workers_and_after_a_lost_one(
    make_task_set: Callable[..., TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    runs = [RunDir(tmp_path / name) for name in ("whole", "killed")]
    killed: list[int] = []
    config = with_workers(2, epochs="auto", snapshots=1, patience=3, min_steps=60, max_epochs=60)
    for run in runs:
        write_parts(make_task_set(n_samples=301, missing=0.2), run.sub("parts"))
        if run is runs[1]:
            threading.Thread(target=kill_between_checkpoints, args=(run, killed), daemon=True).start()
        with quiet.stage("profile") as progress:
            profile(run, config, progress)
    assert len(killed) == 1
    index, length = read_index(runs[0].sub("parts")), runs[0].read_json("profile/length.json")
    assert length["ended"] == "plateau"
    assert f"{length['epochs']} epochs (the best is {length['best_epoch']})" in progress.summary
    metrics = runs[0].read_parquet("profile/metrics.parquet").to_pandas().groupby("epoch")["validation"].first()
    assert metrics.idxmax() == length["best_epoch"] < length["epochs"] == len(metrics)
    assert DataMap(runs[0].root).epochs == [length["epochs"]]
    assert DataMap(runs[0].root).histogram().counts.sum() > 0
    network = build_network(config.model, index, index.tasks, 0)
    network.load_state_dict(load_weights(runs[0], "profile/network.pt"))
    rows = TaskRows(runs[0].sub("parts"), index, "val", range(len(index.tasks)))
    outputs = evaluate(network, rows.inputs)
    scores = scores_of(network.layout, outputs, rows.labels)
    found = np.mean([each["average_precision"] for each in scores.values()])
    assert found == pytest.approx(metrics.max()), "the network of the best epoch is kept"
    for name in ("profile/network.pt", "profile/length.json"):
        assert runs[0].read_bytes(name) == runs[1].read_bytes(name)
    assert np.array_equal(np.asarray(DataMap(runs[0].root)), np.asarray(DataMap(runs[1].root)), equal_nan=True)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_without_validation_labels_the_profile_takes_a_fixed_number_of_steps(
    make_task_set: Callable[..., TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    run, task_set = RunDir(tmp_path), make_task_set(n_samples=301)
    task_set.labels[task_set.rows("val")] = 0
    write_parts(task_set, run.sub("parts"))
    with quiet.stage("profile") as progress:
        profile(run, with_workers(1, epochs="auto", snapshots=1, min_steps=9), progress)
    assert progress.summary.startswith("4 epochs (4 times profile.min_steps: no task has a score on validation rows)")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_loss_that_is_no_number_stops_the_run_with_the_tasks_name(
    make_task_set: Callable[..., TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    write_parts(make_task_set(), run.sub("parts"))
    with (
        pytest.raises(StgRayError, match="task 'block 0 task 0' became non-finite in epoch"),
        quiet.stage("p") as stage,
    ):
        profile(run, with_workers(1, lr=1e38), stage)
    assert not run.exists("profile")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_what_a_profile_leaves_to_read(quiet: Reporter, tmp_path: Path) -> None:
    """Regions and suspects of all workers' samples; metrics for TensorBoard; in bf16, channels_last and augmented."""
    run = RunDir(tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 3, 12, 12), dtype=np.uint8)
    labels = np.stack([images[:, c].mean(axis=(1, 2)) > 127.5 for c in range(3)], axis=1).astype(np.int8)
    task_set = TaskSet.from_arrays(images, labels, names=["red", "green <b>", "blue"])
    write_parts(task_set, run.sub("parts"))
    config = with_workers(2, precision="bf16", memory_format="channels_last", flip=True, crop=1, lr=0.003)
    config = config.model_copy(update={"model": config.model.model_copy(update={"trunk": "cnn"})})
    with quiet.stage("profile") as progress:
        profile(run, config, progress)
    assert "bf16, channels_last" in progress.summary
    index = read_index(run.sub("parts"))
    regions = run.read_parquet("profile/regions.parquet").to_pandas().set_index("task")
    assert regions["samples"].tolist() == [index.n_samples()] * 3
    assert np.allclose(regions[["easy", "ambiguous", "hard_to_learn"]].sum(axis=1), 1)
    data_map = DataMap(str(tmp_path))
    assert regions["confidence"].to_numpy() == pytest.approx(data_map[:][..., 0].mean(axis=0), rel=1e-5)
    assert np.array_equal(run.read_arrays("profile/points.arrow")["counts"], data_map.histogram().counts)
    events = {}
    for path in (tmp_path / "profile" / "tensorboard").iterdir():
        for event in events_of(path):
            for value in event.summary.value:
                events[value.tag, event.step] = value.simple_value
    metrics = run.read_parquet("profile/metrics.parquet").to_pandas()
    assert {step for _, step in events} == {1, 2, 3}
    for row in metrics.itertuples():
        tag = f"loss/{row.task}".replace(" ", "_").replace("<", "_").replace(">", "_")
        assert events[tag, row.epoch] == pytest.approx(row.loss, rel=1e-5)
