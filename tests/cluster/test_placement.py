"""A cluster is asked only for what it has: no request waits forever, and what is missing is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from stg_ray.cluster.placement import Placement, Resources, place, place_trials, place_workers
from stg_ray.errors import StgRayError
from tests.support.clusters import RayCluster
from tests.support.processes import Program

CPU_NODE, GPU_NODE = {"CPU": 16}, {"CPU": 8, "GPU": 2}


@pytest.mark.parametrize(
    ("nodes", "gpus", "resources", "on_nodes"),
    [
        ([CPU_NODE], 0.5, {"CPU": 1}, [16]),
        ([GPU_NODE, CPU_NODE], 0.5, {"CPU": 1, "GPU": 0.5}, [4, 0]),
        ([GPU_NODE, CPU_NODE], 0, {"CPU": 1}, [8, 16]),
        ([{"CPU": 1, "GPU": 4}], 1.0, {"CPU": 1, "GPU": 1}, [1]),
        ([{"CPU": 8, "GPU": 3}], 0.4, {"CPU": 1, "GPU": 0.4}, [6]),  # seven are 2.8 GPUs, but no GPU holds three
        ([{"CPU": 0}, CPU_NODE], 1.0, {"CPU": 1}, [0, 16]),
    ],
)
def test_pieces_fit_where_they_are_placed(
    nodes: list[Resources], gpus: float, resources: Resources, on_nodes: list[int]
) -> None:
    placement = place(nodes, gpus)
    assert placement.resources == resources
    assert placement.on_nodes == on_nodes
    assert placement.instead == ""


def test_what_is_missing_is_reported() -> None:
    placement = place([{"GPU": 4}, CPU_NODE], 1.0)
    assert placement.resources == {"CPU": 1}
    assert placement.instead == "on CPUs: no node has both a GPU and a CPU"
    assert place_workers([{"GPU": 4}, CPU_NODE], "auto", 4)[1].resources == {"CPU": 4}
    count, placement = place_workers([{"CPU": 2}, {"CPU": 1}], 5, 16)
    assert (count, placement.on_nodes) == (3, [2, 1])
    assert placement.instead == "3 workers instead of 5: no more fit on the nodes"
    assert place_workers([CPU_NODE], 5, 2)[1].instead == "2 workers instead of 5: the task set has 2 parts"
    count, placement = place_trials([{"CPU": 2}, {"CPU": 1}], 4, 1.0)
    assert (count, placement.at_once) == (3, 3)
    assert placement.instead == "3 workers for each network instead of 4: no more fit on the nodes"
    assert place_workers([GPU_NODE], "auto", 4, gpus=0)[1].resources == {"CPU": 2}
    assert place_workers([GPU_NODE], 2, 4, gpus=0.5)[1].resources == {"CPU": 4, "GPU": 0.5}
    assert place_trials([GPU_NODE], 2, 0.5) == (2, Placement({"CPU": 1, "GPU": 0.5}, [4]))
    for nodes in ([{"CPU": 0}], [{"memory": 1.0}]):
        with pytest.raises(StgRayError, match="no CPUs to work on"):
            place(nodes, 0.5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_more_is_asked_for_than_there_is(tmp_path: Path) -> None:
    """Two nodes of one CPU, one with GPUs in name on a node without CPUs: the plan and the run say what is done
    instead, and the run ends."""
    settings: tuple[str, ...] = ("--set", "profile.workers=7", "--set", "profile.epochs=2", "--set", "retrain.epochs=1")
    settings += ("--set", "retrain.seeds=1", "--set", "retrain.plans=[all_in_one]", "--set", "retrain.gpus=1")
    with RayCluster(tmp_path / "cluster", cpus=1) as cluster:
        cluster.add_node(cpus=1)
        cluster.add_node(cpus=0, arguments=["--num-gpus=2"])
        there = ("--address", cluster.address)
        more = ("--set", "retrain.workers=3")
        plan = Program("plan", "digits", *settings, *more, *there, log=tmp_path / "plan", env=cluster.env)
        run = Program("run", "digits", *settings, *there, "--out", str(tmp_path / "run"), log=tmp_path / "log",
                      env=cluster.env)  # fmt: skip
        assert plan.wait() == 0, plan.output
        assert run.wait() == 0, run.output
    text = " ".join(plan.output.split())
    assert "3 nodes, 2 workers; workers of 1 CPU, actors of 1 CPU, workers of trials (2 each) of 1 CPU" in text
    assert "workers: 2 workers instead of 7: no more fit on the nodes" in text
    fewer = (
        "on CPUs: no node has both a GPU and a CPU; 2 workers for each network instead of 3: no more fit on the nodes"
    )
    assert f"workers of trials (2 each): {fewer}" in text
    assert text.count("with 1 CPU: up to 1 worker, 1 actor, 1 worker of trials (2 each) at a time") == 2
    assert text.count("with 2 GPUs: up to 0 workers, 0 actors, 0 workers of trials (2 each) at a time") == 1
    assert "profile   2 workers instead of 7: no more fit on the nodes" in run.output
    for stage in ("affinity ", "retrain  "):
        assert f"{stage} on CPUs: no node has both a GPU and a CPU" in run.output
    assert "report    done" in run.output
