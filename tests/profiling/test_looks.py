"""Looks at the tasks' effects on each other during the profile: those of the definition, also after a lost worker."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.affinities.estimators import ESTIMATORS
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import TrainingConfig
from stg_ray.data.parts import index_of, read_index, write_parts
from stg_ray.data.rows import as_inputs
from stg_ray.models import build_network
from stg_ray.profiling.stage import run as profile
from stg_ray.progress import Reporter
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.effects import effects_of
from stg_ray.training.looks import ProfileLooks, looks_file
from stg_ray.training.trainer import Rows, Trainer
from tests.profiling.test_profile import CONFIG, kill_between_checkpoints, with_workers

N_EPOCHS, N_EPOCHS_KILLED = 3, 16


def drawn(*shape: int, missing: float = 0.0) -> TaskSet:
    """60 rows of this shape with four tasks, two of which follow the inputs."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, *shape)).astype(np.float32)
    labels = np.stack([inputs.reshape(60, -1)[:, 0] > 0] * 2 + [rng.random(60) > 0.5] * 2, axis=1).astype(np.int8)
    labels[rng.random(labels.shape) < missing] = -1
    labels[:2] = [[0] * 4, [1] * 4]
    return TaskSet.from_arrays(inputs, labels, kinds=["binary"] * 4, missing=[-1], split=["train"] * 50 + ["test"] * 10)


def a_trainer(task_set: TaskSet, **settings: object) -> Trainer:
    index = index_of(task_set, part_rows=len(task_set.labels))
    train = task_set.rows("train")
    rows = Rows(as_inputs(task_set.inputs[train]), torch.from_numpy(task_set.labels[train]), train)
    draws = Draws(0, Stream.PROFILE_BATCHES, Stream.PROFILE_AUGMENTATION if settings.get("flip") else None)
    batches = CommonBatches(len(train), 24, 1.0, draws)
    values = CONFIG.profile.model_dump(include=set(TrainingConfig.model_fields)) | {"precision": "float32", **settings}
    network = build_network(CONFIG.model, index, index.tasks, 0)
    return Trainer(network, rows, batches, TrainingConfig.model_validate(values))


def defined(trainer: Trainer, inputs: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """The definition, one task at a time: what the optimizer takes for a task's loss, less what it takes for none."""
    network = trainer.network

    def losses(of: torch.nn.Module) -> torch.Tensor:
        count = (~torch.isnan(labels)).sum(dim=0)
        return network.layout.losses(of(inputs), labels).sum(dim=0) / count.clamp(min=1)

    def update(task: int, weight: float) -> torch.Tensor:
        own, optimizer = copy.deepcopy((network, trainer.optimization.optimizer))
        optimizer.zero_grad()
        (weight * losses(own)[task]).backward()
        if trainer.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(own.parameters(), trainer.settings.clip)
        optimizer.step()
        pairs = zip(network.trunk.parameters(), own.trunk.parameters(), strict=True)
        return torch.cat([(a - b).detach().flatten() for a, b in pairs])

    before, has = losses(network), (~torch.isnan(labels)).any(dim=0)
    parameters, n_tasks = list(network.trunk.parameters()), labels.shape[1]
    updates = [update(i, 1.0) - update(i, 0.0) for i in range(n_tasks)]
    pulls = [torch.autograd.grad(before[j], parameters, retain_graph=True) for j in range(n_tasks) if has[j]]
    found = np.full((n_tasks, n_tasks), np.nan)
    for j, pull in zip(np.flatnonzero(has.numpy()), pulls, strict=True):
        for i in np.flatnonzero(has.numpy()):
            dot = torch.cat([g.flatten() for g in pull]) @ updates[i]
            found[i, j] = float((dot / before[j]).detach())
    return found


@settings(max_examples=8)
@given(
    every=st.integers(1, 9),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    optimizer=st.sampled_from(["adamw", "sgd"]),
    clip=st.sampled_from([None, 0.3]),
    method=st.sampled_from(["etap", "tag", "transfer_gain"]),
)
def test_the_sums_are_those_of_the_definition_and_the_training_is_as_without(
    every: int, missing: float, optimizer: str, clip: float | None, method: str
) -> None:
    task_set = drawn(6, missing=missing)
    trainer, plain = (a_trainer(task_set, optimizer=optimizer, clip=clip) for _ in range(2))
    looks, expected = ProfileLooks(trainer, every, method), []
    n_steps = 0

    def record(rows: np.ndarray, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        nonlocal n_steps
        if n_steps % every == 0:
            inputs = torch.as_tensor(trainer.rows.inputs[rows])
            with torch.enable_grad():  # the definitions of the others have tests beside theirs
                is_etap = method == "etap"
                own = defined(trainer, inputs, labels) if is_etap else effects_of(method, trainer, inputs, labels)
                expected.append(np.asarray(own))
        n_steps += 1
        looks.record(rows, outputs, labels)

    for epoch in range(1, 1 + N_EPOCHS):
        trainer.epoch(epoch, record)
        plain.epoch(epoch)
        looks.finish_epoch()
        if epoch == 2:  # another process goes on
            state = copy.deepcopy(looks.state_dict())
            looks = ProfileLooks(trainer, every, method)
            looks.load_state_dict(state)
    for one, other in zip(trainer.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(one, other)
    found = looks.arrays(100)
    assert found["count"].sum() == np.isfinite(expected).sum()
    np.testing.assert_allclose(found["total"], np.nansum(expected, axis=0), rtol=2e-4, atol=2e-5)


def test_looks_are_at_the_inputs_that_the_training_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = a_trainer(drawn(1, 4, 4), flip=True)
    seen: list[torch.Tensor] = []
    looks = ProfileLooks(trainer, 1, "etap")

    def see(method: str, trainer: Trainer, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return torch.zeros(4, 4)

    monkeypatch.setattr("stg_ray.training.looks.effects_of", see)
    forwarded: list[torch.Tensor] = []
    trainer.network.register_forward_pre_hook(lambda module, arguments: forwarded.append(arguments[0]))
    trainer.epoch(1, looks.record)
    assert len(seen) == len(forwarded) > 0
    assert all(torch.equal(one, other) for one, other in zip(seen, forwarded, strict=True))
    assert trainer.augment is not None
    assert trainer.augment.flips.any()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_profile_leaves_them_for_the_affinities_also_after_a_lost_worker(
    make_task_set: Callable[..., TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    runs = {name: RunDir(tmp_path / name) for name in ("whole", "killed")}
    looks, killed = {"etap": 3, "tag": 4, "transfer_gain": 5}, list[int]()
    config = with_workers(2, epochs=N_EPOCHS_KILLED, snapshots=1, looks=looks)
    for name, run in runs.items():
        write_parts(make_task_set(n_samples=301, missing=0.2), run.sub("parts"))
        if name == "killed":
            threading.Thread(target=kill_between_checkpoints, args=(run, killed), daemon=True).start()
        with quiet.stage("profile") as progress:
            profile(run, config, progress)
    assert len(killed) == 1
    whole, source = runs["whole"], RunSource(runs["whole"], config)
    for method, every in looks.items():
        file = looks_file(method)
        assert whole.read_bytes(file) == runs["killed"].read_bytes(file)
        sums = whole.read_arrays(file)
        estimator = ESTIMATORS[method]
        matrix = estimator.combine([estimator(source).partial(0)], read_index(whole.sub("parts")).tasks)
        np.testing.assert_allclose(matrix.values, sums["total"] / sums["count"])
        assert sums["count"].max() >= 2 * N_EPOCHS_KILLED * 3 // every - 4  # two workers look at their own rows
        assert (np.diag(matrix.values) > 0).all() or method == "transfer_gain"
