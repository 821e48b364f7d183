"""Every kind of run has a page: without plans, with one group, with regressions only, in a hurry."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.data.parts import read_index, read_split
from stg_ray.report import facts
from stg_ray.report.evidence import Evidence
from stg_ray.report.groups_view import cards_of, known_of
from stg_ray.report.page import page_of
from stg_ray.report.samples import ambiguous_of, suspects_of
from tests.support.run_maker import PLANS, make_run

ONE = {"retrain": {"plans": ["ours", "all_in_one"]}}


def page(run: RunDir) -> str:
    return page_of(Evidence(run, run.read_config()))


def heading(text: str) -> str:
    return re.search(r"<h1[^>]*>(.*?)</h1>", text).group(1)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(str(tmp_path_factory.mktemp("usual")), 12)


@pytest.fixture
def copied(usual: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(shutil.copytree(usual.path(), tmp_path / "run"))


def test_equal_runs_have_equal_pages(usual: RunDir) -> None:
    assert page(usual) == Path(usual.path("report.html")).read_text()


def test_a_run_without_plans_says_what_to_train(tmp_path: Path) -> None:
    text = page(make_run(str(tmp_path), 12, means={}, settings={"retrain": {"plans": []}}))
    assert heading(text) == "The tasks fall into groups; no networks were trained to compare."
    assert "set retrain.plans=[ours,all_in_one,random]" in text
    assert text.count("not compared") == 3


@pytest.mark.parametrize(("k", "n_groups"), [(2, 2), (3, 1), (151, 10)])
def test_few_tasks_and_many_groups_are_drawn(tmp_path: Path, k: int, n_groups: int) -> None:
    text = page(make_run(str(tmp_path), k, n_groups=n_groups, settings=ONE, means={"ours": 0.6, "all_in_one": 0.5}))
    assert text.count('class="node"') == (k if k <= 150 else 0)
    assert text.count('class="cell"') == (0 if k <= 150 else n_groups**2)
    assert text.count('class="card"') == min(9, n_groups) - (n_groups > 9) + n_groups


def test_samples_to_look_at_are_those_of_the_data_map(usual: RunDir) -> None:
    evidence = Evidence(usual, usual.read_config())
    data_map, labels = sr.DataMap(usual.uri), _labels_by_sample(usual)
    row = {int(sample): r for r, sample in enumerate(data_map.samples)}
    suspects, ambiguous = suspects_of(evidence), ambiguous_of(evidence)
    assert len(suspects) == len(ambiguous) == 12
    assert len({each.sample for each in ambiguous}) == 12
    for each in (*suspects, *ambiguous):
        t = data_map.tasks.index(each.task)
        assert (each.confidence, each.variability) == pytest.approx(data_map[row[each.sample]][t].tolist())
        assert each.label == labels[each.sample][t]
    least = min(each.variability for each in ambiguous[:3])
    assert (data_map[:][..., 1] > least).any(axis=1).sum() <= 3, "the most ambiguous of all"


def _labels_by_sample(run: RunDir) -> dict[int, np.ndarray]:
    parts = run.sub("parts")
    part = read_split(parts, read_index(parts), "train")
    return dict(zip(part.samples.tolist(), part.labels, strict=True))


def test_one_group_is_said(tmp_path: Path) -> None:
    text = page(make_run(str(tmp_path), 12, n_groups=1, means={"all_in_one": 0.5}, settings=ONE))
    assert heading(text) == "These tasks belong together in one network."
    assert 'id="memberships"' not in text


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ({"ours": 0.4}, "One network for all tasks does better than these groups."),
        ({"ours": 0.55, "all_in_one_equal_cost": 0.55}, "These groups are not clearly better than one network."),
        ({"ours": 0.58}, "Grouping helps, but longer training may help as much."),
        ({"all_in_one_equal_cost": 0.62}, "Grouping helps, but longer training may help as much."),
        ({"ours": 0.7}, "Grouping helps, and it matters which tasks share a network."),
    ],
)
def test_the_answer_is_that_of_the_trainings(tmp_path: Path, means: dict[str, float], said: str) -> None:
    assert heading(page(make_run(str(tmp_path), 24, means=PLANS | means))) == said


def test_what_an_older_run_lacks_is_left_out(copied: RunDir) -> None:
    for name in ("profile/points.arrow", "profile/suspects.parquet", "profile/data_map", "chosen.json", ".stages"):
        copied.delete(name)
    text = page(copied)
    assert 'id="maps"' not in text
    assert 'id="samples"' not in text
    assert 'id="tasks"' in text


def test_regressions_alone_have_no_data_map(copied: RunDir) -> None:
    for name in ("profile/points.arrow", "profile/suspects.parquet", "profile/data_map", "profile/regions.parquet"):
        copied.delete(name)
    text = page(copied)
    assert 'id="maps"' not in text
    assert "Ambiguous</th>" not in text


def test_groups_are_named_by_the_task_that_belongs_most(tmp_path: Path) -> None:
    evidence = Evidence(run := make_run(str(tmp_path), 40, n_groups=3), run.read_config())
    groups = evidence.groups
    for card in cards_of(evidence, None):
        own = {task: groups.membership[t][card.number] for t, task in enumerate(groups.tasks)}
        members = groups.groups[card.number]
        assert card.name == max(members, key=own.__getitem__)
        assert [task for task, _ in card.tasks] == sorted(members, key=own.__getitem__, reverse=True)
        assert len(card.shown()) == (len(members) if len(members) <= 12 else 8)


def test_known_groups_are_compared(usual: RunDir) -> None:
    evidence = Evidence(usual, usual.read_config())
    known = known_of(evidence)
    assert known is not None
    assert (known.ari, known.nmi) == pytest.approx((1.0, 1.0))
    assert [name for name, _ in known.rows] == [f"known {g}" for g in range(4)]
    assert sum(len(tasks) for _, found in known.rows for _, tasks in found) == 12


def test_settings_that_were_changed_are_listed_and_no_others(tmp_path: Path) -> None:
    config = load_config({"data": {"npz": "mine.npz"}, "retrain": {"seeds": 5}}, ["profile.lr=0.5", "seed=3"])
    changed = {setting.key: (setting.value, setting.default) for setting in facts.changed_settings(config)}
    assert set(changed) == {"seed", "data.npz", "profile.lr", "retrain.seeds"}
    assert changed["retrain.seeds"][0] == "5"
    secret = {"function": "my:tasks", "arguments": {"password": "xyzzy", "rows": 7}}
    listed = {setting.key: setting.value for setting in facts.changed_settings(load_config({"data": secret}))}
    assert "xyzzy" not in str(listed)
    assert "7" in str(listed)
