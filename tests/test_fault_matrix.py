"""Every stage that runs on Ray under every fault: nothing that was finished is lost or done again, and the result is
that of an undisturbed run.

All cells: pytest -m fault_matrix. Those that are marked as slow besides run with the other slow tests.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.clusters import RayCluster, needs_mounts
from tests.support.faults import STAGES, Disturbed, fill, make_reference, read_only

pytestmark = [pytest.mark.fault_matrix, pytest.mark.timeout(900)]

TELLING = {
    ("head", "profile"), ("full", "affinity"), ("unwritable", "profile"),
}  # fmt: skip
"""One of every fault that has no test beside its stage: these run with the slow tests. Killed workers and lost nodes
are in test_trial_faults.py, and in profiling/ and affinities/; a killed driver is in test_object_store.py, and beside
searches and tuning."""


def cells(fault: str) -> pytest.MarkDecorator:
    slow = [pytest.mark.slow]
    return pytest.mark.parametrize(
        "stage", [pytest.param(stage, marks=slow if (fault, stage) in TELLING else []) for stage in STAGES]
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reference(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A head of one CPU; the cells add the nodes that they need."""
    with RayCluster(tmp_path_factory.mktemp("cluster"), cpus=1) as cluster:
        yield cluster


def on(cluster: RayCluster, stage: str, reference: Path, folder: Path) -> Disturbed:
    return Disturbed(stage, reference, folder, ("--address", cluster.address), cluster.env)


@cells("worker")
def test_a_worker_is_killed(stage: str, reference: Path, tmp_path: Path) -> None:
    run = Disturbed(stage, reference, tmp_path)
    program = run.start()
    run.wait_until_amid(program)
    victims = run.processes(program)
    assert victims
    victims[0].kill()
    run.struck()
    assert run.end(program) == 0, program.output
    run.assert_same_result()
    assert program.left_behind() == []


@cells("raylet")
def test_a_ray_of_its_own_is_killed(stage: str, reference: Path, tmp_path: Path) -> None:
    """Its raylet: where what runs does not get to its end without, the program ends with a line, and the same command
    goes on."""
    run = Disturbed(stage, reference, tmp_path)
    program = run.start()
    run.wait_until_amid(program)
    program.watch()
    (raylet,) = [process for process in program.seen if process.is_running() and process.name() == "raylet"]
    raylet.kill()
    run.struck()
    if run.end(program) != 0:
        assert program.process.returncode == 1, program.output
        assert program.output.splitlines()[-1].startswith("stg-ray: "), program.output
        again = run.start()
        assert run.end(again) == 0, again.output
    run.assert_same_result()


@cells("driver")
def test_the_driver_is_killed(stage: str, reference: Path, tmp_path: Path) -> None:
    run = Disturbed(stage, reference, tmp_path)
    program = run.start()
    run.wait_until_amid(program)
    program.kill()
    run.struck()
    again = run.start()
    assert run.end(again) == 0, again.output
    run.assert_same_result()


@cells("removed")
def test_a_node_is_removed(cluster: RayCluster, stage: str, reference: Path, tmp_path: Path) -> None:
    """Of three nodes of one CPU; the profile has two workers, of which one finds its place on the third node."""
    run = on(cluster, stage, reference, tmp_path)
    with cluster.nodes(2) as nodes:
        program = run.start()
        run.wait_until_amid(program)
        busy = [node for node in nodes if works(node, STAGES[stage].actor)]
        assert busy
        cluster.kill(busy[0])
        run.struck()
        assert run.end(program) == 0, program.output
    run.assert_same_result()


@cells("added")
def test_a_node_is_added(cluster: RayCluster, stage: str, reference: Path, tmp_path: Path) -> None:
    run = on(cluster, stage, reference, tmp_path)
    with cluster.nodes(1):
        program = run.start()
        run.wait_until_amid(program)
        cluster.add_node()
        run.struck()
        assert run.end(program) == 0, program.output
    run.assert_same_result()


@cells("head")
def test_the_head_is_restarted(cluster: RayCluster, stage: str, reference: Path, tmp_path: Path) -> None:
    """The head goes with all its nodes, and the program with it; on the new head the same command goes on."""
    run = on(cluster, stage, reference, tmp_path)
    with cluster.nodes(1):
        program = run.start()
        run.wait_until_amid(program)
        cluster.kill(cluster.head)
    try:
        run.struck()
        assert run.end(program) != 0, program.output
    finally:
        cluster.start_head()
    with cluster.nodes(1):
        again = run.start()
        assert run.end(again) == 0, again.output
    run.assert_same_result()


def works(node: subprocess.Popen, actor: str) -> bool:
    """Whether a process of the stage is on a node."""
    return any(p.name().startswith(actor[:15]) for p in psutil.Process(node.pid).children(recursive=True))


@cells("full")
def test_the_disk_is_full(mounted: Path, stage: str, reference: Path, tmp_path: Path) -> None:
    """The run ends with a line that says so; when there is room again, the same command goes on."""
    run = Disturbed(stage, reference, tmp_path, within=mounted)
    program = run.start()
    run.wait_until_amid(program)
    fill(mounted / "filler")
    assert run.end(program) == 1, program.output
    assert "No space left on device" in program.output.splitlines()[-1]
    assert "Traceback" not in program.output
    (mounted / "filler").unlink()
    run.struck()
    again = run.start()
    assert run.end(again) == 0, again.output
    run.assert_same_result()


@cells("unwritable")
def test_the_directory_is_unwritable_for_a_moment(stage: str, reference: Path, tmp_path: Path) -> None:
    """It goes on, unless that is the moment at which Ray Train writes its own account of a checkpoint: then the profile
    ends with a line, and the same command goes on."""
    needs_mounts()
    run = Disturbed(stage, reference, tmp_path)
    program = run.start()
    run.wait_until_amid(program)
    with read_only(run.run):
        time.sleep(3)
    run.struck()
    if run.end(program) != 0:
        assert stage == "profile", program.output
        assert program.process.returncode == 1, program.output
        assert "stg-ray: the profiling run failed: " in program.output
        assert "Traceback" not in program.output
        again = run.start()
        assert run.end(again) == 0, again.output
    run.assert_same_result()


@pytest.mark.slow
def test_two_runs_at_once(cluster: RayCluster, reference: Path, tmp_path: Path) -> None:
    """On two CPUs, of which each run's profile takes both: they take turns, and neither takes the other's files."""
    runs = [on(cluster, "profile", reference, tmp_path / name) for name in ("one", "other")]
    for run in runs:
        run.struck()
    with cluster.nodes(1):
        programs = [run.start(until="group") for run in runs]
        for program in programs:
            assert program.wait() == 0, program.output
    for run in runs:
        for stage in ("profile", "affinity"):
            run.assert_same_result(stage)


def test_an_autoscaler_adds_nodes_for_the_affinities(reference: Path, tmp_path: Path) -> None:
    with RayCluster(tmp_path / "cluster", cpus=1, autoscaled=1) as cluster:
        run = on(cluster, "affinity", reference, tmp_path / "run")
        program = run.start()
        run.wait_until_amid(program)
        program.wait_until(lambda: cluster.n_nodes() == 2)
        run.struck()
        assert run.end(program) == 0, program.output
        run.assert_same_result()
