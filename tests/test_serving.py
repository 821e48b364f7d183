"""The trained networks of a run predict as they were scored."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.images import decode
from stg_ray.data.parts import index_of, read_index, read_split
from stg_ray.models import build_network
from stg_ray.progress import Reporter
from stg_ray.serving import Predictor
from stg_ray.tasks import observed
from stg_ray.training.metrics import score


@pytest.fixture
def predictor() -> Predictor:
    """Two untrained networks that share tasks of all kinds."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 4)).astype(np.float32)
    labels = np.stack([np.arange(60) % 2, np.arange(60) % 3, rng.normal(size=60)], axis=1)
    task_set = sr.TaskSet.from_arrays(
        inputs, labels, names=["yes", "which", "how much"], kinds=["binary", "multiclass", "regression"]
    )
    index = index_of(task_set)
    groups = Groups(
        tasks=["yes", "which", "how much"],
        groups=[["yes", "which"], ["yes", "which", "how much"]],
        membership=[[0.75, 0.25], [0.4, 0.6], [0.5, 0.5]],
        serving={"yes": 0, "which": 1, "how much": 1},
        method="by hand",
    )
    by_name = {task.name: task for task in index.tasks}
    model = sr.load_config("digits").model
    networks = [build_network(model, index, [by_name[t] for t in own], seed) for seed, own in enumerate(groups.groups)]
    return Predictor(index, groups, networks)


def test_each_task_is_predicted_by_the_network_that_serves_it(predictor: Predictor) -> None:
    inputs = np.random.default_rng(1).normal(size=(7, 4))
    found = predictor.predict(inputs, batch_size=3)
    own = []
    with torch.no_grad():
        for network in predictor.networks:
            outputs = network(torch.from_numpy(inputs).float())
            own.append(
                dict(zip([t.name for t in network.layout.tasks], network.layout.predictions(outputs), strict=True))
            )
    assert found.array.shape == (7, 5)
    assert found.columns == {"yes": slice(0, 1), "which": slice(1, 4), "how much": slice(4, 5)}
    for task, group in predictor.serving.items():
        np.testing.assert_allclose(found[task], own[group][task], rtol=1e-5)
        np.testing.assert_allclose(found.array[:, found.columns[task]].squeeze(), own[group][task], rtol=1e-5)


def test_the_ensemble_adds_logits_by_the_memberships_of_the_networks_that_have_the_task(predictor: Predictor) -> None:
    inputs = torch.from_numpy(np.random.default_rng(1).normal(size=(7, 4))).float()
    found = predictor.predict(inputs, serving="ensemble")
    with torch.no_grad():
        a, b = (network(inputs) for network in predictor.networks)
    np.testing.assert_allclose(found["yes"], torch.sigmoid(0.75 * a[:, 0] + 0.25 * b[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(found["which"], torch.softmax(0.4 * a[:, 1:4] + 0.6 * b[:, 1:4], dim=1), rtol=1e-5)
    alone = predictor.predict(inputs)["how much"]  # no other network has it: its weight there becomes 1
    np.testing.assert_allclose(found["how much"], alone, rtol=1e-5)


def test_inputs_of_another_shape_are_refused(predictor: Predictor) -> None:
    for wrong in (np.zeros((3, 5)), np.zeros(4), np.zeros((2, 4, 1))):
        with pytest.raises(sr.InputError, match=r"expected \(N, 4\)"):
            predictor.predict(wrong)


@pytest.mark.parametrize("wrong", ["ensembel", "Argmax"])
def test_a_misspelt_way_of_serving_is_refused(predictor: Predictor, wrong: Any) -> None:
    with pytest.raises(sr.InputError, match=f"unknown way of serving '{wrong}': did you mean"):
        predictor.predict(np.zeros((3, 4)), serving=wrong)


@pytest.mark.parametrize("serving", ["argmax", "ensemble"])
def test_no_inputs_have_no_predictions(predictor: Predictor, serving: Serving) -> None:
    found = predictor.predict(np.zeros((0, 4)), serving=serving)
    assert found.array.shape == (0, 5)
    assert {name: values.shape for name, values in found.by_task.items()} == {
        "yes": (0,),
        "which": (0, 3),
        "how much": (0,),
    }


def test_inputs_that_are_not_finite_are_refused(predictor: Predictor) -> None:
    inputs = np.zeros((5, 4))
    inputs[3, 1] = np.nan
    with pytest.raises(sr.InputError, match="in 1 rows, the first is row 3: fill or remove them"):
        predictor.predict(inputs)


def test_unit_pixels_are_not_taken_for_bytes(predictor: Predictor) -> None:
    """They would be predicted as all but black images."""
    predictor.input_dtype = torch.uint8
    predictor.index = replace(predictor.index, input_mean=(127.0,) * 4, input_std=(74.0,) * 4)
    images = np.random.default_rng(0).integers(0, 256, (6, 4))
    with pytest.raises(sr.InputError, match="trained on bytes from 0 to 255: multiply them by 255"):
        predictor.predict(images / 255)
    assert np.array_equal(predictor.predict(images).array, predictor.predict(images.astype(np.uint8)).array)


@pytest.mark.parametrize("wrong", [0, -1, 2.5])
def test_a_batch_of_no_inputs_is_refused(predictor: Predictor, wrong: Any) -> None:
    with pytest.raises(sr.InputError, match=f"batch_size={wrong}: expected a whole number of 1 or more"):
        predictor.predict(np.zeros((3, 4)), batch_size=wrong)


def test_an_export_needs_a_folder_that_can_be_written_to(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/no_folder")):
        with pytest.raises(sr.InputError, match=f"cannot write to {folder}: .*choose another folder"):
            predictor.export(folder)


@pytest.mark.filterwarnings("error:No complete tensor")
def test_exported_networks_give_the_same_outputs(predictor: Predictor, tmp_path: Path) -> None:
    predictor.export(tmp_path)
    about = json.loads((tmp_path / "serving.json").read_text())
    assert about["serving"] == predictor.serving
    assert about["ensemble"]["yes"] == [0.75, 0.25]
    for n_inputs in (1, 5):
        inputs = torch.from_numpy(np.random.default_rng(1).normal(size=(n_inputs, 4))).float()
        found = predictor.predict(inputs)
        for group, entry in enumerate(about["networks"]):
            outputs = torch.export.load(tmp_path / entry["file"]).module()(inputs).detach()
            for task, (start, stop) in entry["columns"].items():
                if predictor.serving[task] != group:
                    continue
                own = outputs[:, start:stop]
                expected = {"yes": own.sigmoid()[:, 0], "which": own.softmax(dim=1)}.get(task)
                if expected is not None:
                    np.testing.assert_allclose(found[task], expected, rtol=1e-5)


@pytest.mark.filterwarnings("error:No complete tensor")
def test_networks_of_images_are_exported_whatever_their_memory_format(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    index = index_of(sr.TaskSet.from_arrays(images, np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], axis=1)))
    names = list(index.names)
    groups = Groups(names, [names], [[1.0], [1.0]], dict.fromkeys(names, 0), "by hand")
    network = build_network(sr.load_config("digits", ["model.trunk=cnn"]).model, index, index.tasks, 0)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    predictor = Predictor(index, groups, [network])
    predictor.export(tmp_path)
    with torch.no_grad():
        outputs = torch.export.load(tmp_path / "group-0.pt2").module()(inputs := torch.from_numpy(images[:7]))
    np.testing.assert_allclose(predictor.predict(inputs)[names[0]], outputs[:, 0].sigmoid(), rtol=1e-4)


@pytest.mark.parametrize("serving", ["argmax", "ensemble"])
def test_the_code_of_an_exported_card_predicts_as_predict_does(
    predictor: Predictor, serving: Serving, tmp_path: Path
) -> None:
    """It runs without stg_ray; tasks are of all kinds."""
    predictor.serves_by = serving
    predictor.export(tmp_path)
    assert json.loads((tmp_path / "serving.json").read_text())["served_by"] == serving
    card = (tmp_path / "README.md").read_text()
    assert ("| all that have it |" in card, "| group-1 |" in card) == (serving == "ensemble", serving == "argmax")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    inputs = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    more = """
import numpy as np
found = predict(torch.from_numpy(np.load("inputs.npy")))
np.savez("found.npz", **{name: values.numpy() for name, values in found.items()})
"""
    bare = f"import sys\nsys.modules['stg_ray'] = None\n{code}{more}"
    subprocess.run([sys.executable, "-I", "-c", bare], cwd=tmp_path, check=True)
    expected, found = predictor.predict(inputs), np.load(tmp_path / "found.npz")
    assert set(found) == set(predictor.tasks)
    for task in predictor.tasks:
        np.testing.assert_allclose(found[task], expected[task], rtol=1e-4, atol=1e-6)
    other = predictor.predict(inputs, serving="argmax" if serving == "ensemble" else "ensemble")
    assert not np.allclose(other["which"], expected["which"], rtol=1e-3), "the two ways differ"


def test_an_export_names_the_features_in_their_order(predictor: Predictor, tmp_path: Path) -> None:
    names = ["age", "height", "income", "visits"]
    predictor.index = replace(predictor.index, features=tuple(names))
    predictor.export(tmp_path)
    assert json.loads((tmp_path / "serving.json").read_text())["input"]["features"] == names
    assert "4 features, in this order: age, height, income, visits." in (tmp_path / "README.md").read_text()
    rows = np.random.default_rng(2).normal(size=(6, 4))
    frame = pd.DataFrame(rows, columns=names)
    found = predictor.predict(frame[names[::-1]])
    np.testing.assert_array_equal(found.array, predictor.predict(rows).array)


class Looks(torch.nn.Module):
    """A trunk whose path depends on its inputs."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs if inputs.sum().item() > 0 else -inputs


def test_a_trunk_that_cannot_be_exported_is_said(predictor: Predictor, tmp_path: Path) -> None:
    predictor.networks[0].trunk = Looks()
    predictor.networks[0].heads = torch.nn.Linear(4, 4)
    with pytest.raises(sr.StgRayError, match=r"group 0 cannot be exported.*change the trunk, or serve with sr.load"):
        predictor.export(tmp_path)


PLANS = ("ours", "ours_soft", "branches", "all_in_one")


@pytest.fixture(scope="module")
def run(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    del ray_session  # it is only to be there
    folder = tmp_path_factory.mktemp("served")
    overrides = [
        "profile.epochs=2",
        "retrain.epochs=1",
        "profile.workers=1",
        "model.depth=2",
        f"retrain.plans=[{', '.join(PLANS)}]",
    ]
    sr.run(sr.load_config("digits", overrides), str(folder / "run"), reporter=Reporter(Console(quiet=True)))
    return folder / "run"


def recomputed(run: Path, plan: str, seed: int, serving: Serving) -> dict[tuple[str, str], float]:
    """Test metrics by task and name from what the loaded networks predict."""
    storage = RunDir(run)
    index = read_index(storage.sub("parts"))
    part = read_split(storage.sub("parts"), index, "test")
    predictions = sr.load(run, plan, seed=seed).predict(part.inputs, serving=serving)
    found = {}
    for t, task in enumerate(index.tasks):
        rows = observed(part.labels[:, t])
        for name, value in score(task, predictions[task.name][rows], part.labels[rows, t]).items():
            found[task.name, name] = value
    return found


@pytest.mark.slow
def test_what_is_loaded_predicts_what_the_results_say(run: Path) -> None:
    results = RunDir(run).read_parquet("results.parquet").to_pandas()
    ways = set(results[["plan", "serving"]].itertuples(index=False, name=None))
    assert ways == {(plan, "argmax") for plan in PLANS} | {("ours_soft", "ensemble")}
    for (plan, serving, seed), own in results[results["split"] == "test"].groupby(["plan", "serving", "seed"]):
        written = {(row.task, row.metric): row.value for row in own.itertuples()}
        found = recomputed(run, plan, seed, serving)
        assert written.keys() == found.keys()
        assert max(abs(found[key] - written[key]) for key in written) < 1e-6, (plan, serving, seed)
    page = (run / "report.html").read_text()
    assert "ours, soft ensemble" in page


@pytest.mark.slow
def test_what_cannot_be_loaded_is_said(run: Path, tmp_path: Path) -> None:
    assert sr.load(run).groups.method == "spectral"
    with pytest.raises(sr.InputError, match="has no plan 'known': it has all_in_one, branches, ours, ours_soft"):
        sr.load(run, "known")
    with pytest.raises(sr.InputError, match="was not trained with seed 9: it was with 0, 1"):
        sr.load(run, seed=9)
    with pytest.raises(sr.InputError, match="is no run directory"):
        sr.load(tmp_path)


@pytest.mark.slow
def test_images_of_a_folder_are_predicted_by_their_paths(ray_session: None, tmp_path: Path) -> None:
    del ray_session
    rng, paths = np.random.default_rng(0), []
    for number in range(60):
        path = tmp_path / "images" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 24 + number % 5), dtype=np.uint8)).save(path)
        paths.append(path)
    config = {
        "data": {"images": {"folder": str(tmp_path / "images")}, "image_size": 16},
        "profile": {"epochs": 1, "workers": 1},
        "retrain": {"epochs": 1, "seeds": 1, "plans": ["all_in_one"]},
    }
    sr.run(sr.load_config(config), str(tmp_path / "run"), reporter=Reporter(Console(quiet=True)))
    predictor = sr.load(str(tmp_path / "run"), "all_in_one")
    of_pixels = predictor.predict(np.stack([decode(path, 16, "L") for path in paths]))
    assert np.array_equal(predictor.predict(paths).array, of_pixels.array)
