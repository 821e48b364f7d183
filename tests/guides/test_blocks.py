"""Every block of code in the README and the guides runs, or is checked by what reads it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from typer.main import get_command

import stg_ray as sr
from stg_ray import cli, pipeline
from stg_ray.config.loading import load_config
from stg_ray.config.presets import PRESETS
from stg_ray.data.images import ORIENTATION, decode
from stg_ray.data.sources import load_task_set
from tests.test_older_runs import ARCHIVE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "stg_ray" / "guides").glob("*.md"))]
ELSEWHERE = {
    **dict.fromkeys(("contributing", "adding_methods"), "test_contributing.py"),
    "extending": "test_extending.py",
}
"""Guides whose classes have tests of their own."""
TRAINS = "sr.run("
LANGUAGES = {"python", "yaml", "bash", "text", "toml", "diff"}


class Block(NamedTuple):
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name in its first line, `# name.py`, where the block is a file."""
        found = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return found[1] if found else None


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)]


def id_of(page: Path) -> str:
    return page.stem


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with data, a run, and nothing else."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 5)).astype(np.float32)
    labels = (hidden[:, [0, 0, 1, 1]] + 0.3 * rng.normal(size=(200, 4)) > 0).astype(np.int8)
    np.save(tmp_path / "features.npy", hidden)
    np.save(tmp_path / "labels.npy", labels)
    np.savez(tmp_path / "mine.npz", inputs=hidden, labels=labels)
    frame = pd.DataFrame(np.hstack([hidden, labels]), columns=[f"x_{i}" for i in range(5)] + [f"y_{c}" for c in "abcd"])
    frame["split"] = (["train"] * 7 + ["val"] + ["test"] * 2) * 20
    frame.drop(columns="split").to_csv(tmp_path / "mine.csv", index=False)
    frame.to_parquet(tmp_path / "mine-0.parquet")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def trained(inputs: np.ndarray, labels: np.ndarray) -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(50):
        optimizer.zero_grad()
        loss = torch.nn.BCEWithLogitsLoss()(model(torch.as_tensor(inputs)), torch.as_tensor(labels).float())
        loss.backward()
        optimizer.step()
    return model


def names_in_use() -> dict[str, Any]:
    """What the guides take for given: a trained model, inputs and labels, and these as a frame and a task set."""
    inputs, labels = np.load("features.npy"), np.load("labels.npy")
    return {
        "sr": sr,
        "inputs": inputs,
        "labels": labels,
        "frame": pd.read_csv("mine.csv"),
        "task_set": sr.TaskSet.from_arrays(inputs, labels),
        "model": trained(inputs, labels),
    }


def write_files(page: Path) -> None:
    for block in blocks(page):
        if block.file and "/" not in block.file:
            Path(block.file).write_text(block.text)


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


def python_blocks(*, trains: bool) -> list[Any]:
    pages = [page for page in PAGES if page.stem not in ELSEWHERE]
    programs = {page: [b.text for b in blocks(page) if b.language == "python" and not b.file] for page in pages}
    return [
        pytest.param(page, id=page.stem)
        for page, texts in programs.items()
        if texts and any(TRAINS in text for text in texts) == trains
    ]


def run_blocks(page: Path) -> None:
    """Run a page's blocks one after the other, in one namespace."""
    write_files(page)
    names = names_in_use()
    for block in blocks(page):
        if block.language == "python" and not block.file:
            exec(compile(block.text, str(page), "exec"), names)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("page", python_blocks(trains=False))
def test_python_runs(page: Path) -> None:
    run_blocks(page)


def recipe(page: str, function: str) -> Any:
    names: dict[str, Any] = {}
    own = next(blocks(own) for own in PAGES if own.stem == page)
    exec(next(block.text for block in own if function in block.text), names)
    return names[function]


@pytest.mark.usefixtures("here")
def test_the_recipe_makes_numbers_of_any_table() -> None:
    table = pd.DataFrame({"signup_date": ["2020-01-03", None] * 10, "region": ["a", "b", None, "a"] * 5})
    table["income"] = [1.0, np.nan, 3.0, 100.0] * 5
    numbers = recipe("your_data", "numbers_of")(table.copy(), np.arange(20) % 4 < 3)
    assert numbers["signup_date"].eq(2).all()
    assert numbers["income"].tolist()[:4] == [1, 2, 3, 100], "the median of the training rows"
    assert numbers["region_a"].tolist()[:4] == [1, 0, 0, 1]
    assert numbers["income_missing"].tolist()[:4] == [0, 1, 0, 0]
    labels = np.stack([np.arange(20) % 2, np.arange(20) // 2 % 2], axis=1)
    assert sr.TaskSet.from_arrays(numbers, labels).inputs.shape == (20, 6)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_recipe_reads_new_images_as_a_run_does(tmp_path: Path, mode: str) -> None:
    pixels_of, turned = recipe("python", "pixels_of"), Image.Exif()
    turned[ORIENTATION] = 6
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    for own in (image, image.quantize(9), image.convert("RGBA"), image.convert("L")):
        own.save(path := tmp_path / f"{own.mode}.png", exif=turned)
        assert np.array_equal(pixels_of(path, 64, mode), decode(path, 64, mode)), own.mode


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first run of a guide is kept: those of others, which are of the same data, go on from it."""
    return tmp_path_factory.mktemp("guides") / "run"


@pytest.mark.slow
@pytest.mark.usefixtures("here", "ray_session")
@pytest.mark.parametrize("page", python_blocks(trains=True))
def test_python_that_trains_runs(page: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one worker and a few epochs, whatever the page leaves to the defaults."""

    def short(source: sr.TaskSet, out: str, settings: dict[str, Any] | None = None) -> sr.Run:
        shortest: dict[str, Any] = {
            "profile": {"epochs": 2, "workers": 1},
            "retrain": {"epochs": 2, "plans": ["ours", "all_in_one"]},
        }
        learner = (settings or {}).get("retrain", {}).get("learner")
        if learner:  # another run than that of the other pages
            of_learner = {**shortest, "retrain": {**shortest["retrain"], "learner": learner}}
            return pipeline.run(source, out, settings=of_learner | {"model": {"width": 8}})
        if kept.exists():
            shutil.copytree(kept, out)
        run = pipeline.run(source, out, settings=shortest | {"model": {"width": 8}})
        if not kept.exists():
            shutil.copytree(out, kept)
        return run

    monkeypatch.setattr(sr, "run", short)
    run_blocks(page)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language == "yaml" for b in blocks(page))], ids=id_of)
def test_yaml_is_a_configuration(page: Path) -> None:
    write_files(page)
    for block in blocks(page):
        if block.language != "yaml" or "provider:" in block.text or page.stem in ELSEWHERE:
            continue  # what Ray reads is tested in test_deployments.py
        values = yaml.safe_load(block.text)
        source = values.get("data", {})
        if isinstance(source, dict) and {"npz", "function", "csv", "parquet"} & source.keys():
            config = load_config(values)
            assert "tasks" in source or load_task_set(config.data, 0).tasks  # else names that the file here has not
        else:
            load_config(values if source else {"data": {"preset": "digits"}, **values})


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_toml_is_toml(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.text)


def commands(page: Path) -> list[list[str]]:
    """The commands of a page, in words, without comments; those that are in a text for reading too."""
    lines = [line for b in blocks(page) if b.language == "bash" for line in b.text.replace("\\\n", " ").splitlines()]
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [command for command in words if command]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_commands_are_understood(page: Path) -> None:
    write_files(page)
    for command in commands(page):
        program, arguments = Path(command[0]).name, command[1:]
        if program == "stg-ray":
            understood_by_stg_ray(arguments)
        elif program == "ray":
            understood_by_ray(arguments)
        elif program == "python" and arguments[0] == "-m":
            assert (ROOT / f"{arguments[1].replace('.', '/')}.py").is_file(), command
        else:
            assert program in {"export", "python3", "pip", "pre-commit", "pytest", "ruff", "mypy"}, command


def understood_by_stg_ray(arguments: list[str]) -> None:
    """The command, its options, its file and its settings are such as there are."""
    with get_command(cli.app).make_context("stg-ray", arguments[:1], resilient_parsing=True) as context:
        command = context.command.get_command(context, arguments[0])  # type: ignore[attr-defined]
        assert command is not None, arguments
    parameters = command.make_context(arguments[0], arguments[1:]).params
    source = parameters.get("source", "digits")
    load_config(source if source in PRESETS or Path(source).exists() else "digits", parameters.get("set_") or ())


def understood_by_ray(arguments: list[str]) -> None:
    from ray.scripts.scripts import cli as ray

    command: Any = ray
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    command.make_context("ray", arguments)


def test_links_lead_to_files_and_headings() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_links_to_every_guide() -> None:
    text = (ROOT / "README.md").read_text()
    assert [page.stem for page in PAGES[1:] if f"(stg_ray/guides/{page.name})" not in text] == []


LOOKED_UP = {
    "settings": "made from the configuration: as long as there are settings",
    "measurements": "made from the benchmarks' lines: as long as there are values",
    "changelog": "grows with every version",
}
"""Pages that nobody reads from top to bottom."""


def test_guides_are_below_two_screens() -> None:
    """A screen of text has about 50 lines."""
    longest = {page.stem: 150 if page.stem == "README" else 100 for page in PAGES if page.stem not in LOOKED_UP}
    lengths = {page.stem: len(page.read_text().splitlines()) for page in PAGES}
    assert {name: lengths[name] for name, most in longest.items() if lengths[name] > most} == {}
