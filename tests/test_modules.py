"""The user's modules that a module needs: found without importing them, looked at, and imported as they are written."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import pytest

from stg_ray.artifacts.binding import warn_of_other_trunk
from stg_ray.artifacts.digests import source_digests
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.imports import resolve
from stg_ray.modules import imports_of, modules_of

FILES = {
    "main_of_five": """
import os, numpy as np, torch.nn.functional, sklearn.svm
from near_by import *
try:
    import not_there, broken_syntax
except ImportError:
    pass

def load():
    from pack_of_two.inner import deep
    return deep.VALUE
""",
    "near_by": "import main_of_five\nraise SystemExit('it ran')",
    "broken_syntax": "def",
    "pack_of_two/__init__": "raise SystemExit('it ran')",
    "pack_of_two/inner/__init__": "from .. import beside",
    "pack_of_two/inner/deep": "from ..beside import VALUE\nfrom . import sibling",
    "pack_of_two/inner/sibling": "",
    "pack_of_two/inner/unused": "",
    "pack_of_two/beside": "VALUE = 1",
    "main_of_none": "",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_they_are_found_without_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, FILES)
    before = set(sys.modules)
    found = modules_of("main_of_five:load")
    assert set(found) == {
        *("near_by", "broken_syntax", "pack_of_two", "pack_of_two.inner", "pack_of_two.beside"),
        *("pack_of_two.inner.deep", "pack_of_two.inner.sibling", "main_of_five"),
    }
    order = list(found)
    assert order[-1] == "main_of_five"
    assert order.index("pack_of_two.beside") < order.index("pack_of_two.inner.deep") < order.index("main_of_five")
    assert found["pack_of_two.inner"] == tmp_path / "pack_of_two" / "inner" / "__init__.py"
    assert list(modules_of("pack_of_two.beside:VALUE")) == ["pack_of_two", "pack_of_two.beside"]
    assert list(modules_of("main_of_none:load")) == ["main_of_none"]
    assert list(modules_of("sklearn.svm:SVC")) == ["sklearn.svm"]
    assert modules_of("nowhere:load") == modules_of("mlp") == modules_of(None) == {}
    assert not {name.partition(".")[0] for name in FILES} & (set(sys.modules) - before)
    assert imports_of("pack_of_two.inner.deep", found["pack_of_two.inner.deep"])[:2] == (
        "pack_of_two",
        "pack_of_two.inner",
    )


def test_those_that_have_changed_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks would go on, and predict, by code that they were not trained with."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"trunk_of_two": "import layers_of_two", "layers_of_two": "WIDTH = 8"})
    config = load_config("digits")
    config = config.model_copy(update={"model": config.model.model_copy(update={"trunk": "trunk_of_two:Trunk"})})
    run = RunDir(tmp_path / "run")
    run.check_sources(config)
    assert set(source_digests(config)) == {"model.trunk", "model.trunk: import layers_of_two"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_trunk(run, config)
    write(tmp_path, {"layers_of_two": "WIDTH = 9"})
    with pytest.raises(InputError, match=r"what model.trunk: import layers_of_two names has changed since"):
        run.check_sources(config)
    with pytest.warns(UserWarning, match="the file of layers_of_two, which trunk_of_two:Trunk imports, has changed"):
        warn_of_other_trunk(run, config)


def test_they_are_imported_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook has imported them before they were changed, and its workers import them afterwards."""
    monkeypatch.chdir(tmp_path)
    files = {
        "first_of_three": "import second_of_three\nCALLS = []\ndef f(): return second_of_three.VALUE",
        "second_of_three": "from third_of_three import VALUE",
        "third_of_three": "VALUE = 1",
        "aside_of_three": "import collections\nITS = collections.Counter()",
    }
    write(tmp_path, files)
    write(tmp_path, {"first_of_three": f"import aside_of_three\n{files['first_of_three']}"})
    assert resolve("first_of_three:f")() == 1
    aside = sys.modules["aside_of_three"].ITS
    kept = resolve("first_of_three:CALLS")
    assert resolve("first_of_three:CALLS") is kept  # nothing has changed
    write(tmp_path, {"third_of_three": "VALUE = 22"})
    os.utime(tmp_path / "third_of_three.py", ns=(time.time_ns(), time.time_ns()))
    assert resolve("first_of_three:f")() == 22
    assert sys.modules["aside_of_three"].ITS is aside
