"""The model card of exported networks: what it says is so, and its code runs."""

from __future__ import annotations

import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.card import model_card
from stg_ray.data.parts import index_of
from tests.test_older_runs import ARCHIVE


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def test_the_card_has_the_tasks_their_networks_and_their_scores(run: Path, tmp_path: Path) -> None:
    predictor = sr.load(run)
    predictor.export(tmp_path / "exported")
    card = (tmp_path / "exported" / "README.md").read_text()
    results = RunDir(run).read_parquet("results.parquet").to_pandas()
    own = results[
        (results["plan"] == "ours") & (results["split"] == "test") & (results["metric"] == "average_precision")
    ]
    own = own[(own["serving"] == "argmax") & (own["seed"] == own["seed"].min())].set_index("task")["value"]
    for task, group in predictor.serving.items():
        assert f"| {task} | binary | group-{group} | average_precision | {own[task]:.4f} |" in card
    for group, members in enumerate(predictor.groups.groups):
        assert f"| group-{group}.pt2 | {', '.join(members)} |" in card
        assert (tmp_path / "exported" / f"group-{group}.pt2").is_file()
    assert str(tmp_path) not in card, "no paths of this machine"


def test_the_code_of_the_card_runs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sr.load(run).export(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert {name: values.shape for name, values in names["predictions"].items()} == dict.fromkeys(
        sr.load(run).tasks, (1,)
    )


def test_an_export_replaces_an_earlier_one_and_nothing_else(run: Path, tmp_path: Path) -> None:
    """Programs of an earlier export's networks would stay beside those of a plan of fewer, and old weights too."""
    folder = tmp_path / "exported"
    sr.load(run, "ours").export(folder, safetensors=True)
    (folder / "notes.txt").write_text("mine")
    sr.load(run, "all_in_one").export(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "group-0.pt2", "notes.txt", "serving.json"]


def test_a_readme_that_is_no_export_s_is_not_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(sr.InputError, match=r"has a README\.md that is no export's.*: choose another folder"):
        sr.load(run).export(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My project\n"
    assert not (tmp_path / "serving.json").exists()


@pytest.mark.parametrize("device", ["cuda:99", "foo"])
def test_a_device_that_is_not_here_is_said(run: Path, device: str) -> None:
    with pytest.raises(sr.InputError, match=f"device='{device}' is not to be had here .*choose cpu"):
        sr.load(run, device=device)


def test_names_cannot_leave_their_cell() -> None:
    rng = np.random.default_rng(0)
    names = ["a | b", "<script>\x1b[2J", "line\nbreak"]
    task_set = sr.TaskSet.from_arrays(rng.normal(size=(60, 2)), rng.integers(0, 2, (60, 3)), names=names)
    index = index_of(task_set)
    card = model_card(index, Groups.from_labels(names, np.zeros(3, dtype=int), "by hand"), "argmax")
    assert r"| a \| b | binary |" in card
    assert r"| &lt;script&gt;\x1b[2J | binary |" in card
    assert "| line break | binary |" in card
    assert "\x1b" not in card


def test_safetensors_hold_the_weights(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    predictor = sr.load(run)
    predictor.export(tmp_path, safetensors=True)
    for group, network in enumerate(predictor.networks):
        weights = load_file(tmp_path / f"group-{group}.safetensors")
        assert weights.keys() == network.state_dict().keys()
        assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())


def test_safetensors_are_asked_for_by_name_where_they_are_missing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(sr.InputError, match=r"pip install 'stg_ray\[safetensors\]'"):
        sr.load(run).export(tmp_path, safetensors=True)
    assert list(tmp_path.glob("*.pt2")) == []
