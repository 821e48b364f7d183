"""Every kind of run has a page: without plans, with one group, with regressions only, in a hurry."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.parts import read_index, read_split
from stg_ray.models import TaskNetwork, save_network
from stg_ray.models.network import Normalize
from stg_ray.report import facts, task_samples
from stg_ray.report.evidence import Evidence
from stg_ray.report.groups_view import cards_of, known_of
from stg_ray.report.page import page_of
from stg_ray.report.samples import ambiguous_of, suspects_of
from stg_ray.report.sections import map_of
from stg_ray.report.task_samples import OF_A_TASK, samples_of_tasks
from stg_ray.report.task_table import table_of
from stg_ray.stages import AUXILIARY
from tests.support.run_maker import PLANS, make_regression, make_run, name_classes

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


def test_the_profile_costs_what_a_network_of_all_tasks_costs(copied: RunDir) -> None:
    index = read_index(copied.sub("parts"))
    trunk = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    network = TaskNetwork(Normalize([0.0] * 3, [1.0] * 3, (3,)), trunk, 4, index.tasks)
    save_network(copied, "profile/network.pt", network)
    evidence = Evidence(copied, copied.read_config())
    epochs = int(evidence.epochs["epoch"].max())  # type: ignore[index]
    (profile,) = [stage for stage in facts.stages_of(evidence) if stage.name == "profile"]
    cost = index.n_samples() * epochs * network.n_parameters
    assert profile.work == f"{epochs} epochs of one network of all tasks, cost {cost:.2e} ({facts.OF_COST})"


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


def test_samples_have_the_names_of_their_classes(copied: RunDir) -> None:
    for t in range(12):
        name_classes(copied, t, ["<no>", f"yes {t}"])
    evidence = Evidence(copied, copied.read_config())
    for each in (*suspects_of(evidence), *ambiguous_of(evidence)):
        assert each.class_name == ["<no>", f"yes {int(each.task.split()[1])}"][each.label]
    assert samples_of_tasks(evidence).classes[3] == ["<no>", "yes 3"]
    rows = page(copied).split('id="samples"')[1].split("</section>")[0]
    assert "<td><bdi>&lt;no&gt;</bdi></td>" in rows
    assert '<td class="n">0</td>' not in rows


def _labels_by_sample(run: RunDir) -> dict[int, np.ndarray]:
    parts = run.sub("parts")
    part = read_split(parts, read_index(parts), "train")
    return dict(zip(part.samples.tolist(), part.labels, strict=True))


def test_one_group_is_said_and_no_more_than_that(tmp_path: Path) -> None:
    run = make_run(str(tmp_path), 12, n_groups=1, means={"all_in_one": 0.5}, settings=ONE)
    text = page(run)
    assert heading(text) == "No groups were found among the tasks."
    assert 'id="memberships"' not in text
    asked = replace(Groups.from_dict(run.read_json("groups.json")), number_choice=None)
    run.write_json("groups.json", asked.to_dict())
    assert heading(page(run)) == "All tasks are one group."


def test_what_equal_cost_is_beside_one_group_is_said(tmp_path: Path, usual: RunDir) -> None:
    together, longer = "is all in one, trained as long as ours", "is all in one, trained for twice as many epochs"
    assert together in page(usual)
    means = {"all_in_one": 0.5, "all_in_one_equal_cost": 0.6}
    settings = {"retrain": {"plans": ["ours", "all_in_one", "all_in_one_equal_cost"]}}
    run = make_run(str(tmp_path / "one"), 12, n_groups=1, means=means, settings=settings)
    assert longer in page(run)
    assert together not in page(run)
    assert "trained for twice as many epochs" in page(run)
    run = make_run(str(tmp_path / "stopped"), 12, means=means, settings=settings)
    told = {"outlook": "none", "networks": 4, "epochs": 3}
    run.write_json("forecast.json", {**told, "expected": {"all_in_one": {"mean": 0.0, "low": -0.1, "high": 0.1}}})
    assert longer in page(run), "plans of groups ended with the forecast"
    assert "trained for twice as many epochs" in page(run)
    alone = make_run(str(tmp_path / "alone"), 12, n_groups=1, means={"all_in_one": 0.5}, settings=ONE)
    assert "equal cost" not in page(alone).split('id="plans"')[1].split("</section>")[0]


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


def test_regressions_beside_classes_have_no_data_map(copied: RunDir) -> None:
    make_regression(copied, 0)
    make_regression(copied, 7)
    evidence = Evidence(copied, copied.read_config())
    maps, table = map_of(evidence), table_of(evidence)
    assert maps is not None
    assert [place for place, _ in maps.tasks] == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert sum(maps.shares) == pytest.approx(1), "of the first that has one"
    assert [row.place for row in table.rows if not row.regions] == [0, 7]
    text = page(copied)
    assert '<option value="1">task 0001</option><option value="2">' in text
    assert 'aria-label="Data map of task 0001"' in text
    assert '<option value="0">' not in text


def test_settings_at_the_beginning_of_a_sentence_are_typed_as_they_are_shown(copied: RunDir) -> None:
    limits = [["affinity.start has no use", "data.min_positives=10 helps"], ["it is small", "raise it"]]
    copied.write_json("affinity/limits.json", limits)
    text = page(copied)
    assert '<li>affinity.start has no use. <span class="advice">data.min_positives=10 helps.</span>' in text
    assert '<li>It is small. <span class="advice">Raise it.</span>' in text


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


def test_every_task_has_samples_to_look_at(usual: RunDir) -> None:
    evidence = Evidence(usual, usual.read_config())
    found, table = samples_of_tasks(evidence), evidence.suspects
    assert table is not None
    part = read_split(usual.sub("parts"), evidence.summary.index, "train")
    labels = {int(sample): row for sample, row in zip(part.samples, np.asarray(part.labels), strict=True)}
    for t, name in enumerate(evidence.summary.index.names):
        own = table[table["task"] == name]
        assert [row[0] for row in found.suspects[t]] == own["sample"].tolist()[:OF_A_TASK]
        assert len(found.ambiguous[t]) == OF_A_TASK
        spreads = [row[3] for row in found.ambiguous[t]]
        assert spreads == sorted(spreads, reverse=True)
        assert all(row[1] == labels[row[0]][t] for row in found.ambiguous[t])
    assert found.pictures == {}, "inputs are no images"


def test_pictures_of_all_tasks_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(str(tmp_path / "run"), 12, image=True)
    evidence = Evidence(run, run.read_config())
    all_of_them = samples_of_tasks(evidence)
    shown = {row[0] for rows in (*all_of_them.suspects, *all_of_them.ambiguous) for row in rows}
    assert set(all_of_them.pictures) == shown
    assert all(picture.startswith("data:image/") for picture in all_of_them.pictures.values())
    monkeypatch.setattr(task_samples, "PICTURE_BYTES", 5 * len(next(iter(all_of_them.pictures.values()))))
    few = samples_of_tasks(evidence).pictures
    assert 0 < len(few) < 10
    assert few.items() <= all_of_them.pictures.items()


def test_what_helps_a_main_task_has_a_section(copied: RunDir) -> None:
    """Kept tasks first, names as they are, and a bar for each effect."""

    def effect(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.02, "high": mean + 0.03}

    way = {"tasks": [], "val": 0.5, "test": 0.4567}
    about = {
        "metric": "average_precision",
        "kept": ["<b>twin</b>"],
        "tasks": {
            "other": {"estimate": None, "kept": False, "effect": effect(-0.05)},
            "<b>twin</b>": {"estimate": 1.25, "kept": True, "effect": effect(0.04)},
            "untried": {"estimate": 0.1, "kept": False},
        },
        "ways": {"alone": way, "adaptive": way | {"tasks": ["<b>twin</b>"], "gain": effect(0.1)}},
    }
    assert 'id="mains"' not in page(copied)
    copied.write_json(AUXILIARY, {"candidates": 3, "trainings": 2, "mains": {"main": about}})
    text = page(copied)
    section = text[text.index('<section id="mains"') :].split("</section>")[0]
    assert "Of 2 tasks &lt;b&gt;twin&lt;/b&gt; clearly helps main" in section
    assert section.index("<bdi>&lt;b&gt;twin") < section.index("<bdi>other")
    assert section.count('class="badge">kept') == 1
    assert section.count("mean better") == 2
    assert section.count("mean worse") == 1
    assert "<b>" not in section
    assert "untried" not in section
    assert "+0.1000</td>" in section
    assert '<a href="#mains">' in text
