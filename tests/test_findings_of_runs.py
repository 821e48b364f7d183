"""What whole runs say of tasks of known structure, of none, and of several kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.progress import Reporter

pytestmark = pytest.mark.timeout(900)


def groups_by_data_maps(seed: int, folder: Path, quiet: Reporter) -> sr.Groups:
    config = sr.load_config(
        "digits", ["affinity.methods=[data_map]", f"seed={seed}", "profile.workers=1", "profile.epochs=12"]
    )
    return sr.run(config, out=str(folder), until="group", reporter=quiet).groups


@pytest.mark.slow
def test_data_maps_alone_tell_what_belongs_together(ray_session: None, quiet: Reporter, tmp_path: Path) -> None:
    """The same question asked twice ends in one group; random labels stay away from the digits."""
    for seed in range(2):
        groups = groups_by_data_maps(seed, tmp_path / str(seed), quiet)
        assert len(groups.groups) == 4
        assert groups.serving["closed loop"] == groups.serving["no closed loop"]
        assert sum(groups.serving[f"digit {d}"] == groups.serving["random labels"] for d in range(10)) <= 1


@pytest.mark.slow
def test_no_structure_is_said_and_ends_well(
    ray_session: None, quiet: Reporter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten tasks of random labels: one group, no plan `ours`, and the page says why."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", inputs=rng.normal(size=(400, 10)), labels=rng.integers(0, 2, (400, 10)))
    values = {
        "data": {"npz": str(tmp_path / "noise.npz")},
        "profile": {"epochs": 4, "workers": 2},
        "retrain": {"epochs": 2},
    }
    run = sr.run(values, tmp_path / "run", reporter=quiet)
    assert len(run.groups.groups) == 1
    assert set(run.results["plan"]) == {"all_in_one", "all_in_one_equal_cost"}
    cost = run.costs.set_index("plan")["cost"]
    assert cost["all_in_one_equal_cost"] == 2 * cost["all_in_one"]
    page = Path(run.report).read_text()
    assert "All tasks are one group: no structure was found among the tasks" in page
    assert "one, equal cost" in page


@pytest.mark.slow
def test_missing_labels_several_kinds_and_strange_names(ray_session: None, quiet: Reporter, tmp_path: Path) -> None:
    """Regression, multi-class and binary tasks, 40 % of the labels missing, names that are markup."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, 8)).astype(np.float32)
    names = ["</script><script>alert(1)</script>", "<b>bold</b>", "naïve 日本", "value [red]x[/red]", "classes"]
    columns = [inputs[:, 0] > 0, inputs[:, 0] > 0.2, inputs[:, 1] > 0, inputs[:, 1] + 0.1 * rng.normal(size=500)]
    labels = np.stack([*columns, np.digitize(inputs[:, 2], [-0.5, 0.5])], axis=1).astype(np.float64)
    labels[rng.random(labels.shape) < 0.4] = np.nan
    kinds = ["binary", "binary", "binary", "regression", "multiclass"]
    np.savez(tmp_path / "mixed.npz", inputs=inputs, labels=labels, names=names, kinds=kinds)
    values = {
        "data": {"npz": str(tmp_path / "mixed.npz")},
        "affinity": {"methods": ["landscape"], "layers": "all"},
        "grouping": {"groups": 2, "method": "agglomerative"},
        "profile": {"epochs": 3, "workers": 2},
        "retrain": {"epochs": 3, "plans": ["ours", "all_in_one", "single_task"]},
    }
    run = sr.run(sr.load_config(values), out=str(tmp_path / "run"), reporter=quiet)
    results = run.results
    assert set(results["task"]) == set(names)
    assert set(results.query("task == 'value [red]x[/red]'")["metric"]) == {"r2", "mae"}
    page = Path(run.report).read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    from rich.console import Console

    from stg_ray.report import print_summary

    with (tmp_path / "terminal").open("w") as terminal:
        console = Console(record=True, width=100, quiet=False, file=terminal)
        print_summary(console, run.summary)
    assert "value [red]x[/red]" in console.export_text()
    with pytest.raises(sr.InputError, match=r"'value \[red\]x\[/red\]' is a regression.*methods=\[logit_adjusted\]"):
        sr.run({**values, "affinity": {"methods": ["data_map"]}}, out=str(tmp_path / "refused"), reporter=quiet)
