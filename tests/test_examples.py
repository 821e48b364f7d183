"""The examples of the docstrings run, in a folder with a finished run, runs/tiny, made by version 0.1.0."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import tarfile

import numpy as np
import pytest

import stg_ray
from stg_ray import grouping
from tests.test_older_runs import ARCHIVE

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEEDS_RAY = {"stg_ray.estimator"}
NEEDS_TRITON = {"stg_ray.affinities.l1_kernel"}
"""Comes with builds of torch for GPUs only."""


def modules() -> list[str]:
    """All modules of the package but the entry point."""
    names = (module.name for module in pkgutil.walk_packages(stg_ray.__path__, "stg_ray."))
    return ["stg_ray", *(name for name in names if name != "stg_ray.__main__")]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in NEEDS_RAY else []) for name in modules()]
)
def test_examples_of_a_module(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEEDS_TRITON:
        pytest.importorskip("triton")
    tests = [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]
    if not tests:
        return
    folder = tmp_path_factory.mktemp("examples")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    (folder / "runs").mkdir()
    (folder / "run").rename(folder / "runs" / "tiny")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "120")
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    failed: list[str] = []
    for test in tests:
        test.globs["np"] = np
        runner.run(test, out=failed.append)
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(
    "name", [f"stg_ray.{name}" for name in stg_ray.__all__] + [f"stg_ray.grouping.{n}" for n in grouping.__all__]
)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    if attribute == "run" and module == "stg_ray.grouping":
        return  # the stage, which a pipeline calls with a run directory
    text = getattr(importlib.import_module(module), attribute).__doc__
    examples = doctest.DocTestParser().get_examples(text)
    assert len(examples) >= 2, "an import, and something that is done with it"
    assert not any(doctest.SKIP in example.options for example in examples)
