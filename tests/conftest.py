"""One Ray session for the whole run: starting one takes seconds, and every test but the fault tests can share it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from rich.console import Console
from threadpoolctl import threadpool_limits

from stg_ray.progress import Reporter
from stg_ray.tasks import TaskSet
from tests.support.local_ray import local_ray
from tests.support.object_store import ObjectStore
from tests.support.processes import end_programs

settings.register_profile("stg_ray", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=1000)  # --hypothesis-profile deep draws others each time
settings.load_profile("stg_ray")


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist take files in the order that follows, not by numbers of tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with one of them at the end. Most cells of the
    fault matrix run only when it is named: they take half an hour together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if "fault_matrix" in config.option.markexpr:
        return
    left_out = [
        item for item in items if item.get_closest_marker("fault_matrix") and not item.get_closest_marker("slow")
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def configuration_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys are the tests' own, also in the processes that they start: of signed runs, and of the object store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server of this machine."""
    with ObjectStore(tmp_path_factory.mktemp("object_store") / "log") as store:
        yield store


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray as a run starts it, with two CPUs in name, whatever the machine has: every further one would be one
    more process of each stage."""
    with local_ray(2):
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread of torch and of NumPy, as in a trial: threads that wait for each other take up to ten times as long on
    busy cores."""
    import torch

    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def programs_end_with_their_test() -> Iterator[None]:
    yield
    end_programs()


@pytest.fixture
def quiet() -> Reporter:
    return Reporter(Console(quiet=True))


@pytest.fixture
def make_task_set() -> Callable[..., TaskSet]:
    """Small planted task sets: tasks of one block have labels from one hidden direction of the inputs, with noise."""

    def make(
        *,
        n_samples: int = 300,
        blocks: tuple[int, ...] = (3, 3),
        noise: float = 0.3,
        missing: float = 0.0,
        seed: int = 0,
    ) -> TaskSet:
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(n_samples, 12)).astype(np.float32)
        directions = np.linalg.qr(rng.normal(size=(12, len(blocks))))[0]
        columns, names = [], []
        for block, size in enumerate(blocks):
            for member in range(size):
                signal = inputs @ directions[:, block] + noise * rng.normal(size=n_samples)
                columns.append((signal > 0).astype(np.int8))
                names.append(f"block {block} task {member}")
        labels = np.stack(columns, axis=1)
        labels[rng.random(labels.shape) < missing] = -1
        return TaskSet.from_arrays(inputs, labels, names=names, missing=[-1], seed=seed)

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted (needs root): {mounted.stderr.strip()}")
    yield folder
    for _ in range(50):  # processes of a Ray that was ended may still have files open
        if subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.2)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
