"""Looks at the test rows are counted: other groups, other settings; the same once more is no other look."""

from __future__ import annotations

from pathlib import Path

from stg_ray.artifacts.looks import count_look, n_looks, note_look
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config, set_values
from stg_ray.stages import LOOKS

CONFIG = load_config({"data": {"npz": "mine.npz"}})


def test_looks_are_counted(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert n_looks(run) == 0
    run.write_json("groups.json", {"groups": [["a"], ["b"]]})
    for _ in range(2):
        count_look(run, CONFIG)
        assert n_looks(run) == 1
    count_look(run, set_values(CONFIG, ["retrain.epochs=7"]))
    run.write_json("groups.json", {"groups": [["a", "b"]]})
    count_look(run, CONFIG)
    assert n_looks(run) == 3


def test_the_count_outlives_a_training_and_is_watched(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_json("groups.json", {})
    run.begin("retrain", CONFIG)
    count_look(run, CONFIG)
    run.mark_done("retrain", CONFIG, 1.0)
    assert run.is_done("retrain", CONFIG)
    note_look(run, "of another command, which comes later")
    assert run.is_done("retrain", CONFIG)
    assert run.damaged_file("retrain", CONFIG) is None
    run.delete(LOOKS)
    assert run.damaged_file("retrain", CONFIG) == LOOKS
    count_look(run, CONFIG)
    run.forget("retrain")
    assert n_looks(run) == 1
    note_look(run, "of another command")
    assert n_looks(run) == 2
    assert not run.marker("retrain")
