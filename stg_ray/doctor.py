"""What would go wrong here: this machine, its storage, and the nodes of a cluster.

Every check yields findings. A warning is something that a run survives, a problem something that it does not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.nodes import ask_nodes, named_nodes
from stg_ray.cluster.session import ray_address, root_cause, session
from stg_ray.cluster.shared_storage import WAY_OUT, nodes_apart
from stg_ray.config.data import DataConfig, data_root
from stg_ray.errors import InputError, StgRayError, one_line

MISSING = "is missing or broken"
LITTLE_DISK = 5 * 2**30
"""Bytes. Ray refuses objects on a disk that is 95 % full, and a run of CIFAR-100 takes a gigabyte."""
LITTLE_SHARED_MEMORY = 2**30
"""Bytes. A container has 64 MiB unless it is given more, and Ray's object store is slow without."""


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        advice: of a warning or problem: what goes wrong, and what to do.
    """

    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


@dataclass(frozen=True)
class MachineFacts:
    """What a machine says of itself.

    Attributes:
        versions: of Python and of the packages that are installed.
        cuda: whether torch sees a GPU.
        token: whether Ray's token authentication is on.
        shared_memory, disk: free bytes; no shared memory where the system has none to look at.
    """

    versions: dict[str, str]
    cuda: bool
    token: bool
    shared_memory: int | None
    disk: int


def examine(out: str, root: str | None, address: str | None) -> Iterator[Finding]:
    """All checks, the quick ones first.

    Args:
        out: the run directory that is meant; it need not exist.
        root: the folder of the data; by default $STG_RAY_DATA, else ~/.cache/stg_ray.
        address: a cluster to look at; by default $RAY_ADDRESS, else none.
    """
    here = MachineFacts(**_look(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))())
    yield check_packages(here)
    yield check_devices()
    yield check_data_root(data_root(DataConfig(preset="digits", root=root)))
    storage, finding = check_out(out)
    yield finding
    yield check_room("this machine", here)
    if ray_address(address) != "local":
        yield from check_cluster(address, here, storage)


def check_packages(here: MachineFacts) -> Finding:
    """Whether the packages are there."""
    found = ", ".join(f"{name} {own}" for name, own in here.versions.items())
    broken = [name for name, own in here.versions.items() if own.startswith(MISSING)]
    if not broken:
        return Finding("ok", found)
    again = "pip install -c jobs/constraints.txt . installs versions that belong together"
    if broken == ["torchvision"]:
        return Finding("warning", found, f"no ResNets, and no data sets that torchvision downloads: {again}")
    return Finding("problem", found, f"no stage would run: {again}")


def check_devices() -> Finding:
    """What would train here, and how."""
    import torch

    from stg_ray.cluster.placement import cpus_here
    from stg_ray.training.auto import DeviceFacts

    facts, cpus = DeviceFacts.here(), cpus_here()
    precision = "bf16" if facts.bf16 else "float32"
    if facts.kind == "cuda":
        names = Counter(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        gpus = ", ".join(f"{count} x {name}" for name, count in names.items())
        return Finding("ok", f"{gpus}, CUDA {torch.version.cuda}, {cpus} CPUs: training in {precision} on GPUs")
    if shutil.which("nvidia-smi") is not None:
        return Finding(
            "warning",
            f"there is an NVIDIA driver, but torch {torch.__version__} sees no GPU",
            "training would use the CPUs: install a build of torch for the driver's CUDA",
        )
    small = ", small networks in float32" if facts.bf16 else ""
    return Finding("ok", f"no GPU, {cpus} CPUs with a thread each: training in {precision} on CPUs{small}")


def check_data_root(root: Path) -> Finding:
    """Where presets other than digits look for their data."""
    if not root.exists():
        return Finding(
            "warning",
            f"the data root {root} is not there",
            "presets other than digits would be downloaded into it: make it, or name another by STG_RAY_DATA",
        )
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        return Finding(
            "problem",
            f"the data root {root} is no folder that can be read",
            "no preset but digits would be found: name another by STG_RAY_DATA or data.root",
        )
    if not os.access(root, os.W_OK):
        return Finding(
            "warning",
            f"the data root {root} can be read, but not written to",
            "presets whose data is not in it could not be downloaded",
        )
    return Finding("ok", f"data root {root}")


def check_out(out: str) -> tuple[RunDir | None, Finding]:
    """Whether runs can be written, by writing; where the folder is not there yet, to the next one above it."""
    try:
        directory = RunDir(out)
        if directory.is_local:
            above = Path(directory.root)
            while not above.exists():
                above = above.parent
            directory = RunDir(above)
        directory.check_writable()
    except InputError as error:
        return None, Finding("problem", f"no run can be kept in {out}", str(error))
    if directory.is_local:
        free = shutil.disk_usage(directory.root).free
        if free < LITTLE_DISK:
            return directory, Finding(
                "warning",
                f"runs in {out}: {_size(free)} free",
                "a run that fills its disk stops, and goes on when there is room: make some, or choose another --out",
            )
        return directory, Finding("ok", f"runs in {out}: can be written to, {_size(free)} free")
    return directory, Finding("ok", f"runs in {out}: can be written to")


def check_room(where: str, facts: MachineFacts) -> Finding:
    """Room for Ray: shared memory for its objects, disk for its logs and for objects that find no memory."""
    memory = "" if facts.shared_memory is None else f"{_size(facts.shared_memory)} of shared memory and "
    found = f"{where}: {memory}{_size(facts.disk)} of disk for Ray"
    if facts.disk < LITTLE_DISK:
        return Finding(
            "warning", found, "Ray refuses objects on a disk that is 95 % full: make room, or set RAY_TMPDIR to another"
        )
    if facts.shared_memory is not None and facts.shared_memory < LITTLE_SHARED_MEMORY:
        return Finding(
            "warning", found, "Ray's object store would be on disk, and slow: give the container more (--shm-size=4g)"
        )
    return Finding("ok", found)


def check_cluster(address: str | None, here: MachineFacts, storage: RunDir | None) -> Iterator[Finding]:
    """Whether a cluster answers, and what its nodes are.

    Args:
        here: what the nodes should be like.
        storage: a folder that the nodes should share with this machine; none if it cannot be written here.
    """
    try:
        with session(address):
            yield from _check_nodes(ray_address(address), here, storage)
    except StgRayError as error:
        yield Finding(
            "problem",
            str(error),
            "no run would start: the cluster must be up, have the same Python and Ray, and this machine must be one of "
            "its nodes and have its token (ray get-auth-token); else use ray job submit",
        )


def _check_nodes(target: str, here: MachineFacts, storage: RunDir | None) -> Iterator[Finding]:
    import ray

    resources = named_nodes()
    facts: dict[str, MachineFacts] = {}
    for node, answer in ask_nodes(_look(ray.get_runtime_context().get_temp_dir())).items():
        if isinstance(answer, Exception):
            yield Finding(
                "problem", f"{node} does not answer: {root_cause(answer)}", "work that it is given would fail or wait"
            )
        else:
            facts[node] = MachineFacts(**answer)
    if not facts:
        waiting = "a run would stop: give the command again when ray status shows CPUs, or add nodes"
        yield Finding("problem", f"the cluster at {target} has no node that can work", waiting)
        return
    yield Finding("ok", f"the cluster at {target} has {len(facts)} node{'s' * (len(facts) > 1)} that can work")
    for node, own in facts.items():
        yield from _check_node(node, own, here, resources[node])
    if all(own.token for own in facts.values()):
        yield Finding("ok", "token authentication is on")
    else:
        yield Finding(
            "warning",
            "token authentication is off",
            "whoever reaches the ports of the cluster can run code on it: ray get-auth-token --generate, then start "
            "all nodes with RAY_AUTH_MODE=token",
        )
    if storage is not None and len(facts) > 1:
        yield from _check_shared(storage)


def _check_node(node: str, own: MachineFacts, here: MachineFacts, resources: Mapping[str, float]) -> Iterator[Finding]:
    different = [
        f"{name} {own.versions.get(name, 'missing')} (here {here.versions.get(name, 'missing')})"
        for name in here.versions | own.versions
        if own.versions.get(name) != here.versions.get(name)
    ]
    if different:
        yield Finding(
            "problem",
            f"{node} has {', '.join(different)}",
            "its work would fail or differ: pip install -c jobs/constraints.txt . on every node, or one image for all",
        )
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    if gpus and not own.cuda:
        yield Finding(
            "problem",
            f"{node} offers {gpus:g} GPUs, but its torch sees none",
            "what is trained there would fail: install a build of torch for its CUDA, or start it with --num-gpus=0",
        )
    yield check_room(f"{node}, {cpus:g} CPUs, {gpus:g} GPUs", own)


def _check_shared(storage: RunDir) -> Iterator[Finding]:
    try:
        apart = nodes_apart(storage)
    except OSError as error:
        yield Finding("problem", f"{storage.uri} cannot be written to: {one_line(error)}", WAY_OUT)
        return
    for node, reason in apart.items():
        yield Finding("problem", f"{node} {reason}: {storage.uri} is not shared", f"a run would be refused: {WAY_OUT}")
    if not apart:
        yield Finding("ok", f"every node reads and writes {storage.uri}")


def _look(temporary: str, missing: str = MISSING) -> Callable[[], dict[str, Any]]:
    """A function that returns the facts of the machine that it runs on.

    It is sent to the nodes as it stands, and must run where stg_ray or torch is missing: it imports what it needs.
    """

    def look() -> dict[str, Any]:
        import importlib.metadata
        import os
        import platform
        import shutil

        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        versions = {"Python": platform.python_version()}
        for name in ("ray", "torch", "torchvision", "stg_ray"):
            try:
                if name == "torchvision":  # of use though a plain import may fail: see stg_ray/imports.py
                    versions[name] = importlib.metadata.version(name)
                else:
                    versions[name] = str(importlib.import_module(name).__version__)
            except Exception as error:
                versions[name] = f"{missing} ({type(error).__name__})"
        try:
            cuda = importlib.import_module("torch").cuda.is_available()
        except Exception:
            cuda = False
        folder = os.path.abspath(temporary)
        while not os.path.exists(folder):  # another node may have another one, or none yet
            folder = os.path.dirname(folder)
        return {
            "versions": versions,
            "cuda": cuda,
            "token": is_token_auth_enabled(),
            "shared_memory": shutil.disk_usage("/dev/shm").free if os.path.exists("/dev/shm") else None,
            "disk": shutil.disk_usage(folder).free,
        }

    return look


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB"
