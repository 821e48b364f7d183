"""Every setting works: it is accepted, kept, part of what a stage is known by, and used in a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stg_ray as sr
from jobs.bench.fuzz_cases import settings_of
from stg_ray.checks import check
from stg_ray.config import WHERE_IT_RUNS, Config
from stg_ray.config.loading import load_config
from stg_ray.config.plain_yaml import read_yaml
from stg_ray.data.parts import index_of
from stg_ray.data.sources import load_task_set
from stg_ray.progress import Reporter

N = 120

PACKS: dict[str, dict[str, Any]] = {
    "images": {
        "data": {
            "npz": "images.npz",
            "limit": 60,
            "class_weights": "balanced",
            "constant_tasks": "drop",
            "part_rows": 16,
        },
        "model": {"trunk": "cnn", "width": 8, "weights": "trunk.pt", "dropout": 0.1},
        "tune": {"trials": 3, "space": {"lr": [0.001, 0.1], "dropout": [0.0, 0.1, 0.3]}},
        "profile": {
            "epochs": 2,
            "batch_size": 16,
            "lr": 0.01,
            "optimizer": "sgd",
            "schedule": "constant",
            "warmup": 0.2,
            "weight_decay": 0.01,
            "clip": 1.0,
            "precision": "float32",
            "memory_format": "channels_last",
            "label_smoothing": 0.05,
            "flip": True,
            "crop": 1,
            "workers": [1, 2],
            "snapshots": 2,
            "looks": {"etap": 2},
            "gpus": 0.5,
            "max_failures": 1,
        },
        "affinity": {
            "methods": ["data_map", "landscape", "grad_tag", "transfer_gain", "tag", "etap"],
            "samples": 32,
            "sampling": "variability",
            "statistic": "pooled",
            "layers": "all",
            "normalize": True,
            "coordinates": 50,
            "precision": "float64",
            "tag_every": 2,
            "grad_tag_dimension": 20,
            "grad_tag_size": 2,
            "grad_tag_meetings": 3,
            "grad_tag_ridge": 0.5,
            "gpus": 0.25,
            "max_retries": 1,
        },
        "grouping": {"method": "agglomerative", "groups": 2, "neighbours": "all", "weights": {"tag": 0.5}},
        "search": {
            "groups": 2,
            "cost": 4.0,
            "length": 0.6,
            "start": "profiled",
            "frozen": 0.4,
            "rounds": 2,
            "finalists": 2,
            "candidates": [[["task_0", "task_3"], ["task_1", "task_2"]]],
        },
        "retrain": {
            "plans": ["ours", "searched", "ours_soft", "random"],
            "start": "profiled",
            "profiled_lr": 0.5,
            "random_groups": 1,
            "membership_above": 0.3,
            "epochs": 1,
            "batch_size": 16,
            "label_smoothing": 0.1,
            "flip": True,
            "crop": 2,
            "precision": "float32",
            "gpus": 0.5,
            "max_failures": 1,
        },
    },
    "numbers": {
        "seed": 3,
        "data": {
            "npz": "numbers.npz",
            "root": ".",
            "normalize": "none",
            "split": "stratified",
            "min_positives": {"test": 2},
            "tasks": {"task_0": {"kind": "binary"}},
        },
        "metric": {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae"},
        "model": {"trunk": "mlp", "width": 9, "depth": 3},
        "profile": {"epochs": 2, "workers": 1, "precision": "bf16"},
        "affinity": {"samples": "auto", "sampling": "random", "statistic": "sign", "start": "initial"},
        "grouping": {
            "groups": "auto",
            "min_groups": 2,
            "max_groups": 3,
            "criterion": "stability",
            "neighbours": 2,
            "overlap_above": 0.2,
            "files": {"mine": "mine.csv"},
        },
        "retrain": {
            "plans": ["ours", "branches", "all_in_one", "all_in_one_equal_cost", "known", "greedy"],
            "forecast": "tell",
            "networks": 2,
            "shared_layers": 0.4,
            "freeze_shared": True,
            "start": "both",
            "seeds": 2,
            "epochs": 1,
            "optimizer": "nadam",
            "lr": 0.02,
            "schedule": "constant",
            "warmup": 0.5,
            "weight_decay": 0.1,
            "clip": 2.0,
        },
    },
    "a budget": {
        "data": {"function": "mine:load", "arguments": {"rows": N}},
        "model": {"trunk": "mine:Trunk"},
        "profile": {
            "min_steps": 2,
            "patience": 1,
            "max_epochs": 2,
            "workers": 2,
            "precision": "float32",
        },
        "affinity": {"methods": ["random", "landscape"], "layers": ["0"], "statistic": "aligned", "samples": 64},
        "grouping": {
            "method": "budget",
            "weights": {"landscape": 0.0},
            "budget": {
                "networks": 2,
                "together": [["task_0", "task_1"]],
                "overlap": True,
                "networks_per_task": 2,
                "objective": "groups",
            },
        },
        "retrain": {
            "min_steps": 2,
            "patience": 1,
            "max_epochs": 2,
            "plans": ["ours"],
            "workers": 2,
            "memory_format": "contiguous",
        },
    },
    "initialisations": {
        "data": {"npz": "numbers.npz"},
        "model": {"trunk": "mlp", "width": 8, "dropout": 0.0},
        "profile": {"epochs": 1, "workers": 1},
        "affinity": {"methods": ["landscape"], "start": "meta"},
        "grouping": {"groups": 2},
        "meta": {
            "profile_epochs": 2,
            "steps": 2,
            "rate": 0.2,
            "learn_rates": True,
            "first_order": True,
            "ways": 2,
            "shots": 4,
            "queries": 3,
            "episodes": 2,
            "steps_per_epoch": 3,
            "scored": 4,
        },
        "retrain": {"learner": "anil", "plans": ["ours", "all_in_one_equal_cost"], "epochs": 2},
    },
}
"""Whole runs with many settings each."""

ELSEWHERE = {
    "data.arff": "data/test_arff.py",
    "data.csv": "data/test_csv_files.py",
    "data.hugging_face": "data/test_hugging_face.py",
    "data.libsvm": "data/test_libsvm.py",
    "data.npy": "data/test_array_files.py",
    "data.parquet": "data/test_parquet.py",
    "data.image_size": "data/test_images.py",
    "retrain.folds": "retraining/test_greedy.py",
    "retrain.loggers": "retraining/test_loggers.py",
    "retrain.stacked": "retraining/test_stacks.py",
}
"""Sources of data, whose task sets are compared with what the files hold in tests of their own; what excludes much
else; and what needs packages of other people."""

COMPILER = {"profile.compile", "retrain.compile"}
"""Needs a C++ compiler: training/test_compute.py."""


def settings_in(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for section, inner in values.items()
        for key, value in (
            {f"{section}.{name}": v for name, v in inner.items()} if isinstance(inner, dict) else {section: inner}
        ).items()
    }


USED = {
    key: (pack, value)
    for pack, values in reversed(PACKS.items())  # the first that has it
    for key, value in settings_in(values).items()
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what the packs name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(N, 2))
    labels = (hidden[:, [0, 0, 1, 1]] + 0.3 * rng.normal(size=(N, 4)) > 0).astype(np.int8)
    images = np.clip(
        128 + 60 * np.repeat(hidden, 32, axis=1).reshape(N, 1, 8, 8) + rng.normal(0, 9, (N, 1, 8, 8)), 0, 255
    )
    np.savez("images.npz", inputs=images.astype(np.uint8), labels=labels)
    numbers = np.concatenate([hidden, rng.normal(size=(N, 3))], axis=1).astype(np.float32)
    np.savez("numbers.npz", inputs=numbers, labels=labels, groups=["a", "a", "b", "b"])
    names = [f"task_{t}" for t in range(4)]
    rows = [
        ",".join(["", *names]),
        *(",".join([name, *("1" if a // 2 == b // 2 else "0" for b in range(4))]) for a, name in enumerate(names)),
    ]
    Path("mine.csv").write_text("\n".join(rows) + "\n")
    Path("mine.py").write_text(
        "import numpy as np, torch, stg_ray as sr\n\n\n"
        "def load(rows):\n    a = np.load('numbers.npz')\n"
        "    return sr.TaskSet.from_arrays(a['inputs'][:rows], a['labels'][:rows])\n\n\n"
        "class Trunk(torch.nn.Sequential):\n    def __init__(self, shape):\n"
        "        super().__init__(torch.nn.Linear(shape[0], 6), torch.nn.ReLU())\n"
    )
    checkpoint(tmp_path / "trunk.pt")
    return tmp_path


def checkpoint(file: Path) -> None:
    import torch

    from stg_ray.config import ModelConfig
    from stg_ray.models.trunks import build_trunk

    trunk, _, _ = build_trunk(ModelConfig(trunk="cnn", width=8), (1, 8, 8))
    torch.save(trunk.state_dict(), file)


def test_every_setting_is_used(repository: Path) -> None:
    leaves = {key for key in settings_of() if key not in Config.model_fields or key == "seed"}
    given_by_python = {"data.task_set", "model.trunk_file", "data.join", "data.name", "data.preset", "data.images"}
    assert leaves - given_by_python <= USED.keys() | ELSEWHERE.keys() | COMPILER
    assert not (USED.keys() - leaves), "of settings that there are"
    for key, file in ELSEWHERE.items():
        section = key.partition(".")[2]
        assert section in (repository / "tests" / file).read_text(), f"{key} in {file}"


@pytest.mark.parametrize("pack", PACKS)
def test_packs_are_accepted_and_read_back(here: Path, pack: str) -> None:
    config = load_config(PACKS[pack])
    task_set = load_task_set(config.data, config.seed)
    check(config, index_of(task_set, part_rows=config.data.rows_of_a_part, normalize=config.data.normalize))
    assert load_config(read_yaml(config.to_yaml())) == config


@pytest.mark.parametrize("key", [key for key in USED if key != "seed"])
def test_a_setting_that_decides_results_is_part_of_what_its_stage_is_known_by(here: Path, key: str) -> None:
    section, _, name = key.partition(".")
    pack, value = USED[key]
    kind = Config.model_fields[section].annotation
    assert kind is not None
    default = kind.model_fields[name].get_default(call_default_factory=True)
    assert value != default, "what is used is not the default"
    if section == "data" and name in ("npz", "function", "arguments", "root"):
        return  # not without another
    config = load_config(PACKS[pack])
    part = getattr(config, section)
    changed = config.model_copy(update={section: part.model_copy(update={name: default})})
    same = changed.fingerprint([section]) == config.fingerprint([section])
    assert same == (name in WHERE_IT_RUNS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pack", PACKS)
def test_whole_runs_with_them(ray_session: None, here: Path, quiet: Reporter, pack: str) -> None:
    run = sr.run(PACKS[pack], here / "run", reporter=quiet)
    config = run.config
    assert run.done == config.stages
    assert ("tune" in run.done) == ("tune" in PACKS[pack])
    assert set(run.affinities) == set(config.affinity.methods)
    plans = {plan.removesuffix("_profiled") for plan in run.results["plan"]}
    asked = {f"{plan}_0" if plan == "random" else plan for plan in config.retrain.plans}
    assert plans >= asked - {"random_0"}
