"""The path on GPUs: nccl, pinned transfers, bf16, compiled networks, several workers on one GPU, and the affinities,
which are compared with a CPU's. Skipped where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import stg_ray as sr
from stg_ray.affinities.aligned import CoordinateSample, aligned_l1, gpu_kernel, pairwise_l1, squared_form
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.session import session
from stg_ray.config.loading import load_config, set_values, with_settings
from stg_ray.data.parts import read_index, read_split, write_parts
from stg_ray.meta.adapting import load_adapter
from stg_ray.models import load_weights
from stg_ray.profiling.recorder import Recorder, Shard
from stg_ray.progress import Reporter
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network, train_networks
from stg_ray.tasks import TaskSet
from stg_ray.training import sparingly
from stg_ray.training.auto import DeviceFacts
from stg_ray.training.compute import Compute, exact_float32
from stg_ray.training.effects import effects_of_steps
from tests.support.families import SETTINGS, sines
from tests.support.oracle import TASKS, TRUNKS, engine_of, example, looped

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture(scope="module")
def gpu_session() -> Iterator[None]:
    with session(None):
        yield


def test_bf16_is_settled_by_the_capability_of_the_gpu() -> None:
    facts = DeviceFacts.here()
    assert facts.kind == "cuda"
    assert facts.bf16 == (torch.cuda.get_device_capability()[0] >= 8)


def test_a_batch_comes_through_pinned_memory_in_the_memory_format() -> None:
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    batch = Compute(torch.device("cuda"), channels_last=True).batch(images)
    assert batch.device.type == "cuda"
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.cpu(), images)


def test_the_confidences_of_a_gpu_are_recorded_batch_by_batch(
    make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    storage = Storage(tmp_path)
    write_parts(make_task_set(), storage)
    index = read_index(storage)
    data = read_split(storage, index, "train")
    recorders = [Recorder(index, Shard.of(index, 0, 1), data) for _ in range(2)]
    values = torch.rand(len(data), len(index.tasks))
    for _ in range(2):
        for rows in np.array_split(np.random.default_rng(0).permutation(len(data)), 7):
            recorders[0].record(rows, values[rows])
            recorders[1].record(rows, values.cuda()[torch.from_numpy(rows).cuda()])
        sums = [recorder.confidence_sums() for recorder in recorders]
        assert torch.equal(*sums)
        for recorder in recorders:
            recorder.finish_epoch()
        values = 1 - values
    np.testing.assert_array_equal(recorders[0].state.m2, recorders[1].state.m2)
    np.testing.assert_array_equal(recorders[0].state.count, 2)
    np.testing.assert_array_equal(recorders[1].state.count, 2)


@pytest.mark.parametrize(("n", "n_tasks", "m"), [(2, 5, 70), (1, 17, 70_000), (300, 8, 64), (3, 2, 5), (4, 130, 999)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distances_of_rows_are_those_of_a_cpu(n: int, n_tasks: int, m: int, dtype: torch.dtype) -> None:
    x = torch.randn(n, n_tasks, m, generator=torch.Generator().manual_seed(0), dtype=dtype)
    assert gpu_kernel() is not None
    found = pairwise_l1(x.cuda())
    torch.testing.assert_close(found.cpu().double(), pairwise_l1(x.double()), rtol=1e-5, atol=1e-6)
    assert torch.equal(found, pairwise_l1(x.cuda())), "the same to the last bit"
    wide = torch.randn(n, n_tasks, 2 * m, generator=torch.Generator().manual_seed(0), dtype=dtype)
    part = pairwise_l1(wide.cuda()[:, :, :m]).cpu().double()
    torch.testing.assert_close(part, pairwise_l1(wide[:, :, :m].double()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trunk", list(TRUNKS))
def test_gradients_of_every_kind_of_layer(trunk: str) -> None:
    network, inputs, labels = example(trunk, 3, 0, 0.3)
    expected = looped(network, inputs, labels)
    engine = engine_of(network.cuda(), "all", inputs.cuda())
    found = squared_form(aligned_l1(engine, inputs.cuda(), labels.cuda()), len(TASKS))
    differences = (expected[:, :, None] - expected[:, None, :]).abs().sum(dim=3)
    torch.testing.assert_close(found.cpu(), differences, rtol=1e-9, atol=1e-9)
    sample = CoordinateSample.draw(engine.layers, 8, 0)
    if sample is not None:
        estimate = aligned_l1(engine, inputs.cuda(), labels.cuda(), sample=sample)
        on_cpu = aligned_l1(engine_of(network.cpu(), "all", inputs), inputs, labels, sample=sample)
        torch.testing.assert_close(estimate.cpu(), on_cpu, rtol=1e-9, atol=1e-9)


def image_tasks(n_samples: int = 400) -> TaskSet:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_samples, 3, 16, 16), dtype=np.uint8)
    columns = [images[:, t % 3].mean(axis=(1, 2)) + 2 * rng.normal(size=n_samples) > 127.5 for t in range(6)]
    return TaskSet.from_arrays(images, np.stack(columns, axis=1).astype(np.int8))


@pytest.mark.filterwarnings("ignore:the network predicts only")  # its heads are not trained
@pytest.mark.parametrize(
    ("method", "settings", "tolerance"),
    [
        ("landscape", {}, 1e-4),
        ("landscape", {"layers": "all"}, 1e-4),
        ("landscape", {"layers": "all", "normalize": True}, 1e-4),
        ("landscape", {"layers": "all", "coordinates": 2000}, 1e-4),
        ("landscape", {"statistic": "pooled"}, 1e-3),
        ("landscape", {"statistic": "sign"}, 1e-2),  # a value near 0 has either sign
        ("logit_correlation", {}, 1e-4),
        ("gradient_cosine", {}, 1e-4),
        ("head_cosine", {"start": "profiled"}, 1e-4),
        ("grad_tag", {"grad_tag_dimension": 20}, 1e-3),
        ("tag", {"tag_every": 2, "profile": {"epochs": 1, "precision": "float32"}}, 1e-3),
        ("transfer_gain", {"tag_every": 2, "profile": {"epochs": 1, "precision": "float32"}}, 1e-2),
        ("etap", {"tag_every": 2, "profile": {"epochs": 1, "precision": "float32"}}, 1e-3),
    ],
)
def test_affinities_are_those_of_a_cpu(method: str, settings: dict, tolerance: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 6),
    ).eval()  # fmt: skip
    given = {"method": method, "preprocess": lambda x: x.float() / 128 - 1, "start": "initial", **settings}
    if method == "landscape":
        given.setdefault("statistic", "aligned")
    with exact_float32():
        on_cpu, on_gpu = (sr.affinity(model, image_tasks(), device=d, **given) for d in ("cpu", "cuda"))
    size = np.nanmax(np.abs(on_cpu.values))
    np.testing.assert_allclose(on_gpu.values, on_cpu.values, rtol=0, atol=tolerance * size)


def test_distances_need_no_exact_float32_around_them() -> None:
    """Convolutions on GPUs are in TF32 by default, three digits; the landscape's are not."""
    torch.backends.cudnn.allow_tf32 = True
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Tanh(), nn.Conv2d(64, 64, 3), nn.Tanh(), nn.Flatten()).eval()
    torch.manual_seed(0)
    model = nn.Sequential(*model, nn.Linear(64 * 144, 6)).eval()
    given = {"preprocess": lambda x: x.float() / 128 - 1, "start": "initial", "statistic": "aligned", "layers": "all"}
    on_cpu, on_gpu = (sr.affinity(model, image_tasks(40), device=d, **given).values for d in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=2e-5, atol=1e-6 * on_cpu.max())
    assert torch.backends.cudnn.allow_tf32


def test_tag_draws_the_same_dropout_before_and_after_a_step() -> None:
    network, inputs, labels = example("mlp", 64, 0)
    network.trunk = nn.Sequential(network.trunk, nn.Dropout(0.5))
    network.cuda().train()
    effects = effects_of_steps(network, inputs.cuda(), labels.cuda(), 0.0)
    assert torch.equal(effects, torch.zeros_like(effects))


def test_an_interrupted_training_goes_on_from_its_checkpoint(
    make_task_set: Callable[..., TaskSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparingly, "SHARE", math.inf)  # a checkpoint after every epoch
    retrain = {"epochs": 6, "batch_size": 16, "lr": 0.01, "weight_decay": 1e-4, "precision": "bf16"}
    config = load_config({"data": {"npz": "planted"}, "model": {"width": 16}, "retrain": retrain})
    spec = NetworkSpec("ours", 1, ("block 0 task 0", "block 1 task 1"), seed=5, draws=5, epochs=6)

    class Stopped(Exception):
        pass

    def stop(epoch: int, _scores: Sequence[float]) -> None:
        if epoch == 4:
            raise Stopped

    runs = [Storage(tmp_path / name) for name in ("whole", "stopped")]
    for run in runs:
        write_parts(make_task_set(missing=0.2), run.sub("parts"))
    train_network(runs[0], config, spec, device="cuda", report=lambda *_: None)
    with pytest.raises(Stopped):
        train_network(runs[1], config, spec, device="cuda", report=stop)
    epochs: list[int] = []
    train_network(runs[1], config, spec, device="cuda", report=lambda epoch, _: epochs.append(epoch))
    assert epochs == [5, 6]
    weights = [load_weights(run, f"{network_folder(spec, config)}/network.pt") for run in runs]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=1e-4)


def test_networks_in_step_are_those_of_trials_of_their_own(
    make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    retrain = {"epochs": 6, "batch_size": 16, "lr": 0.01, "weight_decay": 1e-4, "precision": "float32"}
    config = load_config({"data": {"npz": "x"}, "model": {"width": 16, "dropout": 0.1}, "retrain": retrain})
    tasks = make_task_set()
    groups = [tuple(tasks.names[start:]) for start in range(4)]
    specs = [NetworkSpec("ours", number, own, seed=5, draws=5, epochs=6) for number, own in enumerate(groups)]
    together, alone = Storage(tmp_path / "together"), Storage(tmp_path / "alone")
    for run in (together, alone):
        write_parts(tasks, run.sub("parts"))
    assert not train_networks(together, config, specs, device="cuda", report=lambda *_: None)
    for spec in specs:
        train_network(alone, set_values(config, ["retrain.stacked=never"]), spec, device="cuda", report=lambda *_: None)
        own, expected = (load_weights(run, f"{network_folder(spec, config)}/network.pt") for run in (together, alone))
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("workers", [1, 2])
def test_digits_to_groups(workers: int, gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    """One worker has a GPU of its own (nccl with several GPUs); two on one GPU have half of it each (gloo)."""
    overrides = [f"profile.workers={workers}", "profile.epochs=5", "model.trunk=cnn", "model.width=32"]
    run = sr.run(sr.load_config("digits", overrides), str(tmp_path / "run"), until="group", reporter=quiet).run_dir
    config = run.read_config()
    assert config.profile.memory_format == "channels_last"
    assert config.profile.precision == ("bf16" if DeviceFacts.here().bf16 else "float32")
    data_map = sr.DataMap(str(tmp_path / "run"))
    batches = data_map.dataset().to_table(columns=["count"]).column("count").to_pylist()
    assert set(batches) == {5}
    values = np.asarray(data_map)
    assert np.isfinite(values).all()
    assert values[..., 0].mean() > 0.6, "it learns"
    assert len(read_index(run.sub("parts")).tasks) == len(run.read_json("groups.json")["tasks"])


def test_a_compiled_network_is_profiled(gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    losses = []
    for compiled in ("true", "false"):
        overrides = [f"profile.compile={compiled}", "profile.epochs=3", "profile.precision=float32", "model.width=32"]
        config = sr.load_config("digits", [*overrides, "profile.gpus=1"])
        run = sr.run(config, str(tmp_path / compiled), until="profile", reporter=quiet).run_dir
        losses.append(run.read_parquet("profile/metrics.parquet").column("loss").to_numpy())
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)


def test_networks_are_trained_on_fractions_of_a_gpu(gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    overrides = ["profile.epochs=2", "profile.gpus=0.5", "retrain.epochs=2", "retrain.precision=float32"]
    overrides.append("retrain.gpus=0.25")
    config = sr.load_config(
        "digits", [*overrides, "affinity.gpus=0.25", "affinity.methods=[data_map, landscape, logit_correlation]"]
    )
    run = str(tmp_path / "run")
    results = sr.run(config, run, reporter=quiet).results
    assert np.isfinite(results[results["metric"] == "average_precision"]["value"]).all()
    inputs = np.random.default_rng(0).integers(0, 17, (50, 1, 8, 8)).astype(np.uint8)
    on_cpu, on_gpu = (sr.load(run, device=device).predict(inputs).array for device in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.01)  # convolutions are in TF32


def test_groups_are_searched_for_and_branch_on_a_gpu(gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    overrides = ["profile.epochs=2", "retrain.epochs=2", "retrain.seeds=1", "retrain.gpus=0.25", "grouping.groups=2"]
    overrides.append("model.depth=2")
    config = sr.load_config("digits", [*overrides, "retrain.plans=[ours, searched, branches, all_in_one]"])
    run = sr.run(config, str(tmp_path / "run"), reporter=quiet)
    scores = run.results[run.results["metric"] == "average_precision"].groupby("plan")["value"].mean()
    assert {"ours", "searched", "branches", "all_in_one"} <= set(scores.index)
    assert np.isfinite(scores).all()


def test_small_networks_leave_the_gpu_alone(gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    config = sr.load_config("digits", ["profile.epochs=2", "retrain.epochs=2", "retrain.seeds=1"])
    run = sr.run(config, str(tmp_path / "run"), reporter=quiet).run_dir
    kept = run.read_config()
    assert (kept.profile.gpus, kept.retrain.gpus) == (0, 0)
    about = [run.read_json(f".networks/{name}/network.json") for name in run.list(".networks")]
    assert about
    assert {own["device"] for own in about} == {"cpu"}


def test_two_workers_train_a_network_together_on_one_gpu(gpu_session: None, quiet: Reporter, tmp_path: Path) -> None:
    overrides = ["profile.epochs=2", "retrain.epochs=2", "retrain.plans=[all_in_one]", "retrain.gpus=0.5"]
    config = sr.load_config("digits", [*overrides, "retrain.workers=2", "retrain.seeds=1"])
    results = sr.run(config, str(tmp_path / "run"), reporter=quiet).results
    assert np.isfinite(results[results["metric"] == "average_precision"]["value"]).all()


@pytest.mark.parametrize("learner", ["maml", "anil", "reptile"])
def test_an_initialisation_is_trained_scored_and_routed_as_on_a_cpu(tmp_path: Path, learner: str) -> None:
    tasks, settings = sines(4), {"retrain": {"learner": learner}, "meta": {"steps_per_epoch": 5}}
    config = with_settings({"data": {"npz": "planted"}, **SETTINGS}, settings)
    spec, found = NetworkSpec("ours", 0, tuple(tasks.names), seed=0, draws=0, epochs=2), []
    for device in ("cpu", "cuda"):
        run = Storage(tmp_path / device)
        write_parts(tasks, run.sub("parts"))
        train_network(run, config, spec, device=device, report=lambda *_: None)
        folder = network_folder(spec, config)
        found.append(load_weights(run, f"{folder}/network.pt"))
        adapter = load_adapter(run, config, read_index(run.sub("parts")), [folder, folder])
        for network in adapter.networks:
            network.to(device)
        inputs = torch.linspace(-3, 3, 10)[:, None]
        adapted = adapter.adapt(inputs, inputs[:, 0].sin().numpy(), torch.as_tensor)
        assert np.isfinite(adapted.predict(inputs)).all()
        assert adapted.losses[0] == adapted.losses[1]
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-3, atol=1e-4)
