"""The fork server of a local Ray: started with it, and ended with it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from stg_ray.cluster import fork_client, fork_server

MODULES = ("torch", "pandas", "pyarrow.parquet", "stg_ray.affinities.actor", "stg_ray.retraining.trial")
"""What workers import, with all that these import; Ray is not."""

OF_RAY = ("ray.train.torch", "ray.tune", "ray._private.workers.default_worker", "stg_ray.profiling.worker")
"""What they import of Ray, and with it."""

GPUS = ("/dev/nvidiactl", "/dev/kfd")
"""Devices of machines with GPUs, on which forks were not tried yet; torch's CUDA allows them until it is used."""

OFF = "STG_RAY_NO_FORKS"
"""Environment variable with which each worker is a new process, as Ray starts them."""

_servers: list[subprocess.Popen[bytes]] = []


def start() -> dict[str, str]:
    """Start the fork server of a local Ray that is to be started.

    Returns:
        The parameters of Ray that make use of it; none where processes cannot be forked once torch is imported, which
        is everywhere but on Linux, where there is a GPU, or where `STG_RAY_NO_FORKS` is set.
    """
    import ray

    script = Path(ray.__file__).parent / "_private" / "workers" / "setup_worker.py"
    has_gpu = any(Path(device).exists() for device in GPUS)
    if not sys.platform.startswith("linux") or has_gpu or os.environ.get(OFF) or not script.exists():
        return {}
    address = f"stg_ray-{os.getpid()}-{secrets.token_hex(8)}"
    what = json.dumps([sys.path, MODULES, OF_RAY])
    command = [sys.executable, fork_server.__file__, address, str(os.getpid()), what]
    _servers.append(
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Libraries start threads when they are imported, and a process with threads is not to be forked. Workers
            # set their number of threads themselves.
            env=os.environ | {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"},
            start_new_session=True,  # neither Ctrl-C nor a signal to the program's group ends it
        )
    )
    os.environ |= {fork_client.ADDRESS: address, fork_client.OF_RAY: str(script)}
    return {"setup_worker_path": fork_client.__file__}


def ray_is_up() -> None:
    """Have the fork server import what needs Ray, before the first worker asks."""
    import ray
    from ray._private.worker import _global_node

    raylets = _global_node.all_processes.get("raylet") if _global_node is not None else None
    if not _servers or not raylets:
        return
    flags = {"RAY_JOB_ID": ray.get_runtime_context().get_job_id(), "RAY_RAYLET_PID": str(raylets[0].process.pid)}
    with suppress(OSError), fork_client.connected(os.environ[fork_client.ADDRESS]) as connection:
        fork_client.ask(connection, {"environment": os.environ | flags})


def end() -> None:
    """End the fork server; its forks, which are Ray's workers, are Ray's."""
    while _servers:
        with _servers.pop() as server:
            server.kill()
