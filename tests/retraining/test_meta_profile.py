"""The initialisation that all tasks learn shortly before they are compared there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.affinities.gradients.start import has_one_head, starting_weights
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import with_settings
from stg_ray.data.parts import write_parts
from stg_ray.errors import InputError
from stg_ray.meta.network import meta_network
from stg_ray.models import build_network
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.tasks import TaskKind
from tests.support.families import SETTINGS, sines, sorts
from tests.support.processes import kill_a_worker

META = with_settings(
    {"data": {"npz": "planted"}, **SETTINGS}, {"affinity": {"start": "meta"}, "meta": {"profile_epochs": 3, "ways": 4}}
)


def settings(**retrain: Any) -> dict[str, Any]:
    values = META.model_dump(include={"affinity", "meta"}, exclude_defaults=True)
    return {**SETTINGS, **values, "retrain": {**SETTINGS["retrain"], **retrain}}


def test_it_is_of_a_learner_of_initialisations() -> None:
    with pytest.raises(InputError, match=r"retrain.learner trains, which is joint: expected maml, anil or reptile"):
        with_settings(META, {"retrain": {"learner": "joint"}})
    with pytest.raises(InputError, match=r"affinity.start=meta"):
        sr.affinity(torch.nn.Linear(1, 8).eval(), sines(8), start="meta")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"meta": {"rate": 0.2}}, False),
        ({"meta": {"profile_epochs": 4}}, False),
        ({"retrain": {"lr": 0.02}}, False),
        ({"retrain": {"learner": "anil"}}, False),
        ({"retrain": {"epochs": 7, "seeds": 2}}, True),
    ],
)
def test_the_affinity_stage_is_known_by_what_decides_it(change: Mapping[str, Any], same: bool) -> None:
    changed = with_settings(META, change)
    assert (changed.fingerprint(["affinity"]) == META.fingerprint(["affinity"])) == same
    initial = with_settings(META, {"affinity": {"start": "initial"}})
    assert with_settings(initial, change).fingerprint(["affinity"]) == initial.fingerprint(["affinity"])


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_every_task_has_the_head_from_which_it_would_adapt(tmp_path: Path, kind: TaskKind) -> None:
    """Outputs of the network of all tasks are those of the initialisation, for each task."""
    tasks, run = sines(4) if kind == "regression" else sorts(kind), RunDir(tmp_path)
    index = write_parts(tasks, run.sub("parts"))
    learned = meta_network(META, index, kind, seed=5)
    tensors = {name.removeprefix("network."): value for name, value in learned.state_dict().items()}
    network = build_network(META.model, index, index.tasks, META.seed)
    network.load_state_dict(starting_weights(run, META, lambda: tensors))
    assert has_one_head(network)
    inputs = torch.from_numpy(np.asarray(tasks.inputs[:7]))
    outputs, expected = network.eval()(inputs), learned.network(inputs)
    if kind == "binary":
        expected = (expected.log_softmax(dim=1)[:, 1:] - expected.log_softmax(dim=1)[:, :1]).repeat(1, 4)
    else:
        expected = expected.repeat(1, 4)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_families_are_found_there_also_after_a_kill(quiet: Reporter, tmp_path: Path) -> None:
    tasks, killed = sines(), list[int]()
    given = settings(epochs=12, plans=["ours", "all_in_one"])
    given["meta"] = {**given["meta"], "profile_epochs": 12}
    first_kill = (tmp_path / "killed", ".networks/*/checkpoint.pt", "ImplicitFunc", killed)
    threading.Thread(target=kill_a_worker, args=first_kill, daemon=True).start()
    runs = {
        name: sr.run(tasks, tmp_path / name, settings=given, until="group", reporter=quiet)
        for name in ("killed", "whole")
    }
    assert len(killed) == 1
    for run in runs.values():
        assert len(set(run.groups.labels[::2])) == len(set(run.groups.labels[1::2])) == 1
    whole, affinity = runs["whole"].run_dir, "affinity/landscape.parquet"
    assert whole.read_bytes(affinity) == runs["killed"].run_dir.read_bytes(affinity)
    assert not whole.exists(".ray/affinity")
    assert not list(Path(whole.root).glob(".networks/*/network.json")), "test rows are not read for it"
    # The plan all_in_one has the same network, which is finished now, and found again.
    sr.run(tasks, tmp_path / "whole", settings=given, until="retrain", reporter=quiet)
    before = whole.read_bytes(affinity)
    run_stage("affinity", str(tmp_path / "whole"), reporter=quiet)
    assert whole.read_bytes(affinity) == before
