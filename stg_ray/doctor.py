"""Checks of this machine, its storage, a run in it and the nodes of a cluster for faults that a run would meet.

Every check yields findings. A run survives a warning, but not a problem.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.addresses import ray_address
from stg_ray.cluster.calls import root_cause
from stg_ray.cluster.machine import EXTRAS_OF_RAY, UNUSABLE, MachineFacts, fact_finder, missing_for_ray
from stg_ray.cluster.nodes import ask_nodes, named_nodes
from stg_ray.cluster.places import check_settings, is_home_writable, local_settings, ray_temporary
from stg_ray.cluster.session import session
from stg_ray.cluster.shared_storage import REMEDY, nodes_apart
from stg_ray.config.data import DataConfig, data_root
from stg_ray.config.methods import AFFINITY_METHODS, DATA_FUNCTIONS, GROUPING_METHODS, TRUNK_NAMES
from stg_ray.errors import InputError, StgRayError, one_line
from stg_ray.findings import Finding, check_run
from stg_ray.shown import counted

MIN_FREE_DISK = 5 * 2**30
"""Bytes. Ray refuses objects on a disk that is 95 % full, and a run of CIFAR-100 takes a gigabyte."""
MIN_SHARED_MEMORY = 2**30
"""Bytes. A container has 64 MiB unless it is given more, and Ray's object store is slow without."""


def examine(out: str, root: str | None, address: str | None) -> Iterator[Finding]:
    """Run all checks, the quick ones first.

    Args:
        out: the intended run directory; it need not exist. If there is a run in it, all of its files are checked.
        root: the folder of the data; by default $STG_RAY_DATA, else ~/.cache/stg_ray.
        address: a cluster to check; by default the one at $RAY_ADDRESS, else none.
    """
    here = MachineFacts(**fact_finder(ray_temporary(os.environ))())
    yield check_packages(here)
    yield check_devices()
    yield from check_offers()
    if ray_address(address) == "local":
        yield from check_places(os.environ)
    yield check_data_root(data_root(DataConfig(preset="digits", root=root)))
    storage, finding = check_out(out)
    yield finding
    yield check_room("this machine", here)
    if storage is not None and (run := RunDir(out)).has_config():
        yield from check_run(run)
    if ray_address(address) != "local":
        yield from check_cluster(address, here, storage)


def check_packages(here: MachineFacts) -> Finding:
    """Check that the packages can be imported."""
    shown = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    broken = [name for name, version in here.versions.items() if version.startswith(UNUSABLE)]
    missing = missing_for_ray()
    if not broken and missing:
        what = f"Ray may not start without {', '.join(missing)}: pip install 'ray[{','.join(EXTRAS_OF_RAY)}]'"
        return Finding("warning", shown, what)
    if not broken:
        return Finding("ok", shown)
    again = "pip install -c jobs/constraints.txt . installs versions that belong together"
    if broken == ["torchvision"]:
        return Finding("warning", shown, f"no ResNets, and no data sets that torchvision downloads: {again}")
    return Finding("problem", shown, f"no stage would run: {again}")


def check_devices() -> Finding:
    """Report the devices that would train, and in which precision; a driver without a fitting torch is a warning."""
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


def check_offers() -> Iterator[Finding]:
    """Check what installed packages offer by entry points, and import it; only faults are found."""
    for methods in (AFFINITY_METHODS, GROUPING_METHODS, TRUNK_NAMES, DATA_FUNCTIONS):
        for name in sorted(methods.installed()):
            offer = f"an installed package offers {name!r} for {methods.setting}"
            if name in methods.own:
                yield Finding("warning", offer, f"stg_ray's own {name} is taken: give this one as module:name")
                continue
            try:
                methods.found(name)
            except InputError as error:
                yield Finding("warning", offer, str(error))


def check_places(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check Ray's temporary folder, the home folder and the settings of Ray; only faults are found."""
    try:
        check_settings(environment)
        settings = local_settings(environment)
    except InputError as error:
        yield Finding("problem", "Ray's settings do not allow a run", str(error))
        return
    if "RAY_TMPDIR" in settings:
        yield Finding(
            "warning",
            f"the path of the temporary folder {ray_temporary(environment)} is too long for Ray's sockets",
            f"Ray would use {settings['RAY_TMPDIR']}: set RAY_TMPDIR to another folder with a short path",
        )
    if not is_home_writable():
        yield Finding(
            "warning",
            "there is no home folder of this user that can be written to",
            "Ray's token would end with each session, and presets need STG_RAY_DATA: set HOME to a folder that can be",
        )


def check_data_root(root: Path) -> Finding:
    """Check the folder in which presets other than digits look for their data."""
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
    """Check that a run can be written, by writing to the directory or, if it does not exist, to the one above it.

    Returns:
        The directory that was written to, None where that failed, and the finding.
    """
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
        if free < MIN_FREE_DISK:
            return directory, Finding(
                "warning",
                f"runs in {out}: {_size(free)} free",
                "a run that fills its disk stops, and goes on when there is room: make some, or choose another --out",
            )
        return directory, Finding("ok", f"runs in {out}: can be written to, {_size(free)} free")
    return directory, Finding("ok", f"runs in {out}: can be written to")


def check_room(where: str, facts: MachineFacts) -> Finding:
    """Check the room for Ray: shared memory for its objects, disk for its logs and for objects that are spilled.

    Args:
        where: the name of the machine.
    """
    memory = "" if facts.shared_memory is None else f"{_size(facts.shared_memory)} of shared memory and "
    shown = f"{where}: {memory}{_size(facts.disk)} of disk for Ray"
    if facts.disk < MIN_FREE_DISK:
        return Finding(
            "warning", shown, "Ray refuses objects on a disk that is 95 % full: make room, or set RAY_TMPDIR to another"
        )
    if facts.shared_memory is not None and facts.shared_memory < MIN_SHARED_MEMORY:
        return Finding(
            "warning", shown, "Ray's object store would be on disk, and slow: give the container more (--shm-size=4g)"
        )
    return Finding("ok", shown)


def check_cluster(address: str | None, here: MachineFacts, storage: RunDir | None) -> Iterator[Finding]:
    """Check that a cluster answers, and its nodes.

    Args:
        here: facts of this machine, with whose versions the nodes' versions must agree.
        storage: a folder that the nodes should share with this machine; None if it cannot be written here.
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
    """Check every node of the joined cluster, its authentication, and whether the nodes share the storage."""
    import ray

    resources = named_nodes()
    facts: dict[str, MachineFacts] = {}
    for node, answer in ask_nodes(fact_finder(ray.get_runtime_context().get_temp_dir())).items():
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
    yield Finding("ok", f"the cluster at {target} has {counted(len(facts), 'node')} that can work")
    for node, of_node in facts.items():
        yield from _check_node(node, of_node, here, resources[node])
    if all(of_node.token for of_node in facts.values()):
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


def _check_node(
    node: str, facts: MachineFacts, here: MachineFacts, resources: Mapping[str, float]
) -> Iterator[Finding]:
    different = [
        f"{name} {facts.versions.get(name, 'missing')} (here {here.versions.get(name, 'missing')})"
        for name in here.versions | facts.versions
        if facts.versions.get(name) != here.versions.get(name)
    ]
    if different:
        yield Finding(
            "problem",
            f"{node} has {', '.join(different)}",
            "its work would fail or differ: pip install -c jobs/constraints.txt . on every node, or one image for all",
        )
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    if gpus and not facts.cuda:
        yield Finding(
            "problem",
            f"{node} offers {counted(int(gpus), 'GPU')}, but its torch sees none",
            "what is trained there would fail: install a build of torch for its CUDA, or start it with --num-gpus=0",
        )
    yield check_room(f"{node}, {counted(int(cpus), 'CPU')}, {counted(int(gpus), 'GPU')}", facts)


def _check_shared(storage: RunDir) -> Iterator[Finding]:
    try:
        apart = nodes_apart(storage)
    except OSError as error:
        yield Finding("problem", f"{storage.uri} cannot be written to: {one_line(error)}", REMEDY)
        return
    for node, reason in apart.items():
        yield Finding("problem", f"{node} {reason}: {storage.uri} is not shared", f"a run would be refused: {REMEDY}")
    if not apart:
        yield Finding("ok", f"every node reads and writes {storage.uri}")


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB"
