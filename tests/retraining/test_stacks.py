"""Which networks share a trial, and that each is trained there as by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import load_config, set_values
from stg_ray.data.parts import PartIndex, index_of, write_parts
from stg_ray.errors import StgRayError
from stg_ray.models import load_weights
from stg_ray.retraining import stacks
from stg_ray.retraining.kept import is_finished, network_folder, scores_until
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stacks import MOST, in_trials
from stg_ray.retraining.trial import train_network, train_networks
from stg_ray.tasks import TaskSet
from tests.retraining.conftest import small_config
from tests.support.trials import SPEC, Stopped

NAMES = tuple(f"block {block} task {task}" for block in range(2) for task in range(3))
GROUPS = [NAMES[:3], NAMES[3:], NAMES[:1], (NAMES[0], NAMES[4]), NAMES]


def specs_of(groups: list[tuple[str, ...]], **changes: object) -> list[NetworkSpec]:
    return [replace(SPEC, group=number, tasks=tasks, **changes) for number, tasks in enumerate(groups)]


@pytest.fixture
def index(make_task_set: Callable[..., TaskSet]) -> PartIndex:
    return index_of(make_task_set())


@given(
    draws=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    epochs=st.lists(st.sampled_from([5, 9, "auto"]), min_size=40, max_size=40),
    at_once=st.integers(1, 12),
)
def test_networks_that_start_alike_share_trials(draws: list[int], epochs: list[int], at_once: int) -> None:
    tasks = TaskSet.from_arrays(torch.eye(20).numpy(), torch.eye(20)[:, :2].numpy())
    specs = [
        replace(SPEC, group=number, tasks=tuple(tasks.names[:1]), draws=own, epochs=epochs[number])
        for number, own in enumerate(draws)
    ]
    trials = in_trials(small_config(), index_of(tasks), specs, at_once)
    assert sorted((spec for own in trials for spec in own), key=specs.index) == specs
    for own in trials:
        assert own == sorted(own, key=specs.index)
        assert len({(spec.draws, spec.epochs) for spec in own}) == 1
        assert len(own) <= max(1, min(MOST, -(-len(specs) // at_once)))
    for key in {(spec.draws, spec.epochs) for spec in specs}:
        sizes = [len(own) for own in trials if (own[0].draws, own[0].epochs) == key]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "changes",
    [
        ["retrain.stacked=never"],
        ["retrain.loggers=[mlflow]"],
        ["retrain.precision=bf16"],
        ["retrain.compile=true"],
        ["model.width=2000"],
        ["model.trunk=tests.support.trials:SPEC"],
    ],
    ids=str,
)
def test_others_have_a_trial_each(config: Config, index: PartIndex, changes: list[str]) -> None:
    specs = specs_of(GROUPS)
    assert len(in_trials(config, index, specs, 1)) == 1
    assert in_trials(set_values(config, changes), index, specs, 1) == [[spec] for spec in specs]


def test_the_labels_of_a_trial_are_bounded(config: Config, index: PartIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = specs_of(GROUPS)
    monkeypatch.setattr(stacks, "MOST_LABELS", 2 * 6 * index.n_samples("train"))
    assert [len(own) for own in in_trials(config, index, specs, 1)] == [1, 2, 2]


def test_networks_of_other_kinds_have_a_trial_each(config: Config, index: PartIndex) -> None:
    specs = [replace(SPEC, branches=(1, 2)), replace(SPEC, adaptive=True, main=SPEC.tasks[0])]
    assert in_trials(config, index, specs, 1) == [[spec] for spec in specs]
    tuned = [replace(SPEC, settings=(("lr", 0.1),)), replace(SPEC, settings=(("lr", 0.2),)), replace(SPEC, fold=1)]
    assert in_trials(config, index, tuned, 1) == [[spec] for spec in tuned]


def found(run: Storage, config: Config, spec: NetworkSpec) -> tuple[dict[str, torch.Tensor], list[float]]:
    folder = network_folder(spec, config)
    assert is_finished(run, folder)
    assert not run.exists(f"{folder}/checkpoint.pt")
    return load_weights(run, f"{folder}/network.pt"), run.read_json(f"{folder}/network.json")["course"]


@pytest.mark.parametrize("epochs", [6, "auto"])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_each_is_the_network_that_a_trial_of_its_own_gives(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path, missing: float, epochs: int
) -> None:
    """Where labels are missing networks have other rows, and train one after the other."""
    config = set_values(config, ["retrain.patience=1", "retrain.min_steps=20", "retrain.max_epochs=12"])
    together, alone = Storage(tmp_path / "together"), Storage(tmp_path / "alone")
    for run in (together, alone):
        write_parts(make_task_set(missing=missing), run.sub("parts"))
    specs = specs_of(GROUPS, epochs=epochs)
    done: list[int] = []
    failures = train_networks(
        together, config, specs, device="cpu", report=lambda epochs, scores: done.append(epochs + len(scores))
    )
    assert not failures
    assert done == sorted(done)
    lengths = []
    for spec in specs:
        train_network(alone, set_values(config, ["retrain.stacked=never"]), spec, device="cpu", report=lambda *_: None)
        (own, course), (expected, scores) = (found(run, config, spec) for run in (together, alone))
        assert course == pytest.approx(scores, abs=1e-5)
        for name, value in own.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)
        lengths.append(len(course))
    assert done[-1] == sum(lengths)
    assert epochs == 6 or len(set(lengths)) > 1, "networks leave the stack one by one"


def test_networks_that_were_interrupted_go_on_in_step(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    runs = [Storage(tmp_path / name) for name in ("whole", "stopped")]
    for run in runs:
        write_parts(make_task_set(), run.sub("parts"))
    specs = specs_of(GROUPS)

    def stop(epochs: int, _scores: object) -> None:
        if epochs == 2 * len(GROUPS) + 4:
            raise Stopped

    train_networks(runs[0], config, specs, device="cpu", report=lambda *_: None, goes_on=pytest.fail)
    ahead = replace(specs[0], pause=4)
    train_networks(runs[1], config, [ahead], device="cpu", report=lambda *_: None)
    assert scores_until(runs[1], network_folder(ahead, config), 4) is not None
    with pytest.raises(Stopped):  # the first ends by itself; the others, three epochs behind, are stopped
        train_networks(runs[1], config, specs, device="cpu", report=stop)
    reported, before = list[int](), list[int]()
    train_networks(
        runs[1], config, specs, device="cpu", report=lambda epochs, _: reported.append(epochs), goes_on=before.append
    )
    assert reported[0] > len(GROUPS) - 1, "not from the first epoch"
    assert len(before) == 1
    assert 0 < before[0] < reported[0], "what was trained before is told first"
    for spec in specs:
        (weights, course), (expected, scores) = (found(run, config, spec) for run in runs)
        assert course == pytest.approx(scores, abs=1e-5)
        for name, value in weights.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)


def test_what_fails_takes_no_other_down(make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path) -> None:
    config = set_values(config, ["retrain.optimizer=sgd"])
    tasks, run = make_task_set(), Storage(tmp_path)
    tasks = replace(tasks, tasks=(*tasks.tasks[:5], replace(tasks.tasks[5], class_weights=(3e38, 3e38))))
    write_parts(tasks, run.sub("parts"))
    bad, unknown = replace(SPEC, tasks=NAMES[4:]), replace(SPEC, tasks=("no such task",))
    sound = specs_of([NAMES[:2], NAMES[2:4]])
    failures = train_networks(run, config, [sound[0], bad, unknown, sound[1]], device="cpu", report=lambda *_: None)
    assert failures.keys() == {bad, unknown}
    assert isinstance(failures[bad], StgRayError)
    assert "became non-finite in epoch 1" in str(failures[bad])
    assert isinstance(failures[unknown], ValueError)
    for spec in sound:
        found(run, config, spec)


def test_the_setting_does_not_decide_which_network_it_is(config: Config) -> None:
    assert SPEC.fingerprint(config) == SPEC.fingerprint(set_values(config, ["retrain.stacked=never"]))
    assert load_config({"data": {"npz": "x"}}).retrain.stacked == "auto"
