"""The guide on extending is true: its classes work by name, in whole runs and in packages."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import stg_ray as sr
from stg_ray.artifacts.digests import source_digests
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.methods import AFFINITY_METHODS
from stg_ray.doctor import check_offers
from stg_ray.errors import InputError
from stg_ray.progress import Reporter

LONGEST = 35
MODULES = ("my_affinities", "my_clusterers", "my_trunk", "my_tasks")


@pytest.fixture
def here(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the files of the guide."""
    guide = (repository / "stg_ray" / "guides" / "extending.md").read_text()
    for name, source in re.findall(r"```(?:python|yaml|toml)\n# (\S+)\n(.*?)```", guide, flags=re.DOTALL):
        assert source.count("\n") < LONGEST, name
        (tmp_path / name).write_text(source)
    assert {path.stem for path in tmp_path.iterdir()} == {*MODULES[:2], "mine", "pyproject"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, and the metadata that a package of it has once it is installed."""
    groups = tomllib.loads((here / "pyproject.toml").read_text())["project"]["entry-points"]
    points = "".join(f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in own.items()) for group, own in groups.items())
    package = here / "site" / "my_package-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(here / "site")
    return here / "site"


def _task_set() -> sr.TaskSet:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < 0.4).astype(np.int8)
    labels[:, 1] = labels[:, 0]
    labels[:50, 2] = -1
    return sr.TaskSet.from_arrays(rng.normal(size=(200, 4)), labels, missing=[-1])


@pytest.mark.usefixtures("here")
def test_the_affinity_in_a_notebook() -> None:
    from my_affinities import Dice  # type: ignore[import-not-found]

    task_set = _task_set()
    model = torch.nn.Linear(4, 3).eval()
    matrix = sr.affinity(model, task_set, method="my_affinities:Dice")
    a, c = task_set.labels[task_set.rows("train")][:, [0, 2]].T
    both = c >= 0
    dice = 2 * ((a == 1) & (c == 1)).sum() / ((a[both] == 1).sum() + (c == 1).sum())
    assert matrix.values[0, 1] == 1
    assert matrix.values[0, 2] == pytest.approx(dice)
    assert matrix.errors is not None
    assert matrix.errors[0, 2] > 0
    np.testing.assert_array_equal(sr.affinity(model, task_set, method=Dice).values, matrix.values)


@pytest.mark.usefixtures("here")
def test_the_clusterer_in_a_notebook() -> None:
    blocks = np.kron(np.eye(3), np.ones((4, 4))) + np.random.default_rng(0).random((12, 12)) * 0.1
    groups = sr.group(blocks, method="my_clusterers:CompleteLinkage", n_groups="auto")
    assert groups.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert groups.method == "my_clusterers:CompleteLinkage"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_whole_run_with_both_and_its_stages_again(here: Path, quiet: Reporter) -> None:
    values = yaml.safe_load((here / "mine.yaml").read_text())
    values["data"] |= {"limit": 300}
    more = {"profile": {"epochs": 1}, "retrain": {"plans": []}}
    values["grouping"] |= {"method": "my_clusterers:CompleteLinkage", "groups": 3}
    run = sr.run({**values, **more}, here / "run", reporter=quiet)
    assert run.groups.method == "my_clusterers:CompleteLinkage"
    assert len(run.groups.groups) == 3
    assert "Dice's coefficient" in (here / "run" / "report.html").read_text().replace("&#39;", "'")
    before = run.affinities["my_affinities:Dice"].values
    source = here / "my_affinities.py"
    source.write_text(source.read_text().replace("2 * positive", "3 * positive"))
    sys.modules.pop("my_affinities")
    with pytest.raises(InputError, match=r"what affinity.methods: my_affinities:Dice names has changed"):
        sr.run({**values, **more}, here / "run", reporter=quiet)
    again = sr.pipeline.run_stage("affinity", str(here / "run"), reporter=quiet)
    np.testing.assert_allclose(again.affinities["my_affinities:Dice"].values, 1.5 * before)
    assert not again.run_dir.is_done("group", again.config), "it was made of the other values"


@pytest.mark.usefixtures("installed")
def test_an_installed_package_needs_its_names_only(here: Path) -> None:
    matrix = sr.affinity(torch.nn.Linear(4, 3).eval(), _task_set(), method="dice")
    assert matrix.parameters["method"] == "dice"
    config = sr.load_config("digits", ["affinity.methods=[dice]", "grouping.method=complete_linkage"])
    assert sr.group(matrix, method=config.grouping.method, n_groups=2).groups == [["task_0", "task_1"], ["task_2"]]
    with pytest.raises(InputError, match=r"^affinity.methods: unknown affinity 'dixe': did you mean 'dice'\?"):
        sr.load_config("digits", ["affinity.methods=[dixe]"])
    with pytest.raises(InputError, match=r"unknown grouping method 'zzz': known: spectral, .*complete_linkage \(or"):
        sr.load_config("digits", ["grouping.method=zzz"])


@pytest.mark.slow
@pytest.mark.usefixtures("installed", "ray_session")
def test_an_installed_trunk_and_function_of_data(here: Path, quiet: Reporter, repository: Path) -> None:
    for guide, name in (("your_network", "my_trunk.py"), ("your_data", "my_tasks.py")):
        text = (repository / "stg_ray" / "guides" / f"{guide}.md").read_text()
        (found,) = re.findall(rf"```python\n# {name}\n(.*?)```", text, flags=re.DOTALL)
        (here / name).write_text(found)
    task_set = _task_set()
    np.save(here / "features.npy", task_set.inputs)
    np.save(here / "labels.npy", np.where(task_set.labels < 0, np.nan, task_set.labels))
    values = {"data": {"function": "my_tasks"}, "model": {"trunk": "my_trunk"}}
    more = {"profile": {"epochs": 1}, "grouping": {"groups": 2}, "retrain": {"plans": ["ours"], "epochs": 1}}
    config = sr.load_config({**values, **more})
    assert (config.data.function, config.model.trunk) == ("my_tasks:load", "my_trunk:Trunk")
    run = sr.run(config, here / "run", reporter=quiet)
    assert run.config.model.trunk == "my_trunk:Trunk"
    assert sr.load(here / "run", trust_code=True).predict(task_set.inputs[:2]).array.shape == (2, 3)
    for name, message in {
        "data.function=my_task": "data.function is 'my_task': unknown function 'my_task': did you mean 'my_tasks'",
        "model.trunk=my_trnk": "model.trunk is 'my_trnk': unknown trunk 'my_trnk': did you mean 'my_trunk'",
    }.items():
        with pytest.raises(InputError, match=re.escape(message)):
            sr.load_config(values, [name])


def test_names_that_are_offered_twice_are_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = installed / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[stg_ray.affinities]\ndice = other:Dice\ntag = other:Tag\n")
    with pytest.raises(InputError, match="two installed packages offer 'dice': give one of them, my_affinities:Dice"):
        sr.load_config("digits", ["affinity.methods=[dice]"])
    assert sr.load_config("digits", ["affinity.methods=[tag]"]).affinity.methods == ["tag"], "stg_ray's own come first"
    assert AFFINITY_METHODS.installed()["tag"] == {"other:Tag"}


def test_what_is_offered_amiss_is_told_with_its_key_and_by_doctor(installed: Path) -> None:
    (installed / "broken.py").write_text("import no_such_package\n")
    points = installed / "my_package-1.0.dist-info" / "entry_points.txt"
    faults = {
        "broken = broken:Dice": r"broken of an installed package: .* No module named 'no_such_package' \(.*line 1",
        "a/b = my_affinities:Dice": "offers 'a/b' as 'my_affinities:Dice': expected a name of letters",
        "whole = my_affinities": "offers 'whole' as 'my_affinities': expected .* module:name",
        "tag = my_affinities:Dice": "stg_ray's own tag is taken",
    }
    points.write_text("\n".join(["[stg_ray.affinities]", "dice = my_affinities:Dice [extra]", *faults]))
    found = {finding.text.split("'")[1]: finding.advice for finding in check_offers()}
    assert list(found) == ["a/b", "broken", "tag", "whole"], "an entry may name an extra"
    for line, message in faults.items():
        name = line.split(" = ")[0]
        assert re.search(message, found[name])
        if name != "tag":
            with pytest.raises(InputError, match=f"^affinity.methods: .*{message}"):
                sr.affinity(torch.nn.Linear(4, 3).eval(), _task_set(), method=name)


@pytest.mark.usefixtures("installed")
def test_the_code_of_an_installed_package_counts(here: Path) -> None:
    config = sr.load_config("digits", ["affinity.methods=[dice]", "grouping.method=complete_linkage"])
    before = source_digests(config)
    assert list(before) == ["affinity.methods: dice", "grouping.method"]
    for name in MODULES[:2]:
        (here / f"{name}.py").write_text("CHANGED = True\n")
    assert not set(before.values()) & set(source_digests(config).values())


def test_a_run_is_read_where_its_package_is_not_installed(here: Path, installed: Path) -> None:
    run = RunDir(here / "run")
    run.write_config(sr.load_config("digits", ["affinity.methods=[dice]"]))
    (installed / "my_package-1.0.dist-info" / "entry_points.txt").unlink()
    with pytest.raises(InputError, match="unknown affinity 'dice'"):
        sr.load_config("digits", ["affinity.methods=[dice]"])
    assert run.read_config().affinity.methods == ["dice"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:Dice", "no module named 'nowhere'"),
        ("my_affinities:Nothing", "has no 'Nothing'"),
        ("my_affinities:np", "is module: expected a class derived from stg_ray.affinities.base.Estimator"),
        ("my_affinities:Task", "is the class Task: expected a class derived from stg_ray.affinities.base.Estimator"),
        ("stg_ray.affinities.base:Estimator", "has no combine, partial"),
    ],
)
def test_what_is_no_affinity_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        sr.affinity(torch.nn.Linear(4, 3).eval(), _task_set(), method=name)
    assert "\n" not in str(raised.value)
