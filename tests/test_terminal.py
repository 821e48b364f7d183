"""What a terminal shows: help, guides, names, and what comes next."""

from __future__ import annotations

import io
import re
import tarfile
import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import stg_ray
from stg_ray import cli
from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.config import RetrainConfig
from stg_ray.config.loading import load_config
from stg_ray.config.plans import TITLES, trained_plans
from stg_ray.errors import InputError
from stg_ray.exits import exit_code, plain_warnings
from stg_ray.guide import print_guide, read, topics
from stg_ray.options import ORDER
from stg_ray.progress import Reporter
from stg_ray.report.comparison import Difference, Trainings
from stg_ray.report.summary import PlanRow
from stg_ray.report.terminal import plans_table, print_groups
from stg_ray.shown import shown
from stg_ray.stages import STAGES
from tests.test_older_runs import ARCHIVE

EVIL = "cat\x1b[2J\u202edog\x07"
SHOWN = "cat\\x1b[2J\\u202edog\\x07"


def called(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "80"})


def on_a_terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, highlight=False)


def text_of(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_version_and_help() -> None:
    assert called("--version").output == f"stg-ray {stg_ray.__version__}\n"
    assert called("-h").output == called("--help").output
    assert called("run", "-h").output == called("run", "--help").output
    assert called().exit_code == 2


def test_help_lists_the_stages_in_their_order_and_cuts_nothing_off() -> None:
    lines = called("--help").output.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ") and line.strip()]
    assert tuple(names[: len(ORDER)]) == ORDER
    assert [name for name in names if name in STAGES] == [name for name in STAGES if name != "parts"]
    assert "..." not in "".join(lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "number", "completed"),
    [
        ("stg-ray ru", 1, "run"),
        ("stg-ray run dig", 2, "digits"),
        ("stg-ray run digits --until aff", 4, "affinity"),
        ("stg-ray run digits --set grouping.meth", 4, "grouping.method="),
        ("stg-ray guide quick", 2, "quickstart"),
    ],
)
def test_shells_complete(words: str, number: int, completed: str) -> None:
    env = {"_STG_RAY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = CliRunner().invoke(cli.app, [], env=env, prog_name="stg-ray")
    assert done.output.split() == [completed]


def test_a_stage_names_what_follows_and_quiet_prints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    run = str(tmp_path / "run")
    done = called("group", run)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"next: stg-ray retrain {run}"
    assert "group     done in" in done.output
    cli._show(run, "group", "10.0.0.1:6379", quiet=False)
    assert capsys.readouterr().out.endswith(f"next: stg-ray retrain {run} --address 10.0.0.1:6379\n")
    quiet = called("group", run, "--quiet")
    assert quiet.exit_code == 0
    assert quiet.output == ""


def test_topics_are_the_files_that_the_readme_links_to(repository: Path) -> None:
    linked = re.findall(r"\(stg_ray/guides/(\w+)\.md\)", (repository / "README.md").read_text())
    assert {name.replace("_", "-") for name in linked} == set(topics())
    listed = called("guide").output
    assert all(topic in listed for topic in topics())


def test_a_guide_is_rendered_in_a_terminal_and_plain_elsewhere(repository: Path) -> None:
    plain = called("guide", "your-data").output
    assert plain.rstrip() == (repository / "stg_ray" / "guides" / "your_data.md").read_text().rstrip()
    console = on_a_terminal()
    print_guide(console, "your_data")
    rendered = text_of(console)
    assert "```" not in rendered
    assert ".md)" not in rendered
    assert "guide labels" in rendered
    assert max(map(len, rendered.splitlines())) <= 80


@pytest.mark.parametrize("topic", sorted(topics()))
def test_every_guide_fits_into_a_terminal(topic: str) -> None:
    console = on_a_terminal()
    print_guide(console, topic)
    assert max(map(len, text_of(console).splitlines())) <= 80


def test_a_wrong_topic_is_met_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match="unknown topic 'quikstart': did you mean 'quickstart'"):
        read("quikstart")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("retrain.plans=ours", "retrain.plans is 'ours': expected a list (write [ours])"),
        ("retrain.plans=[our]", "did you mean 'ours'? expected ours, searched,"),
        ("affinity.statistic=alligned", "did you mean 'aligned'? expected auto, aligned, pooled or sign"),
        ("grouping.method=spektral", "did you mean 'spectral'?"),
        ("affinity.methods=[datamap]", "did you mean 'data_map'?"),
        ("model.trunk=resnet19", "did you mean 'resnet18'?"),
        ("data.preset=digts", "did you mean 'digits'?"),
        ("profile.epochs=x", "profile.epochs is 'x': expected a whole number or auto"),
        ("profile.epochs=1.5", "profile.epochs is 1.5: expected a whole number or auto"),
        ("affinity.normalize=maybe", "affinity.normalize is 'maybe': expected true or false"),
        ("tune.space={lr: 3}", "tune.space.lr is 3: expected a list (write [3])"),
        ("grouping.budget=3", "grouping.budget is 3: expected keys with values"),
    ],
)
def test_a_wrong_value_is_met_with_what_was_expected(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        load_config("digits", [setting])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("start", ["scratch", "both"])
def test_the_table_of_plans_breaks_no_name_in_80_columns(start: Any) -> None:
    config = RetrainConfig(plans=[name for name in TITLES if name != "greedy"], start=start)
    difference = Difference(0.0191, 0.0016, 0.0366, 14, 0, 0.04)
    one = Trainings.of_one_network(np.zeros((15, 2)))
    rows = [
        PlanRow(plan, serving, one, difference, networks=16, cost=123.4, seconds=1.0)
        for plan in {plan.of_all_draws.name: plan.of_all_draws for plan in trained_plans(config).values()}.values()
        for serving in (get_args(Serving) if plan.base == "ours_soft" else ("argmax",))
    ]
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(plans_table(rows, "mean AP"))
    text = text_of(console)
    assert max(map(len, text.splitlines())) <= 80
    missing = [row.title for row in rows if not re.search(rf"^{re.escape(row.title)}  ", text, re.MULTILINE)]
    assert missing == []
    if start == "scratch":
        assert len(text.splitlines()) == 2 + len(rows), "a line each, below two of header"


def test_names_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(EVIL) == SHOWN
    assert shown("Straße, 猫, é\nsecond line") == "Straße, 猫, é\nsecond line"
    assert exit_code(InputError(f"the task {EVIL} is constant"), verbose=False) == 2
    assert capsys.readouterr().err == f"stg-ray: the task {SHOWN} is constant\n"
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    plain_warnings()
    said = warnings.formatwarning(f"task {EVIL} is rare", UserWarning, stg_ray.__file__, 1)
    assert said == f"stg-ray: warning: task {SHOWN} is rare\n"


def test_names_in_progress_and_groups_are_escaped() -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    with Reporter(console).stage("parts") as progress:
        progress.note(f"rarest: {EVIL}")
        progress.summary = f"dropped {EVIL}"
    print_groups(console, Groups.from_labels(["a", EVIL], np.zeros(2, dtype=int), "by hand"))
    print_groups(console, Groups.from_labels(["two\nlines", "b"], np.zeros(2, dtype=int), "by hand"))
    text = text_of(console)
    assert "two\\nlines, b" in text, "one name in one line"
    assert text.count(SHOWN) == 3
    assert "\x1b" not in text
    assert "\u202e" not in text
