"""The fork server of a local Ray: started with it, and ended with it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from stg_ray.cluster import fork_client, fork_server

MODULES = ("torch", "pandas", "pyarrow.parquet", "stg_ray.affinities.actor", "stg_ray.retraining.trial")
"""What workers import, with all that these import; Ray is not."""

OF_RAY = ("ray.train.torch", "ray.tune", "ray._private.workers.default_worker", "stg_ray.profiling.worker")
"""What they import of Ray, and with it."""

GPUS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd")
"""Devices of machines with GPUs, on which forks were not tried yet; torch's CUDA allows them until it is used."""

OFF = "STG_RAY_NO_FORKS"
"""Environment variable with which each worker is a new process, as Ray starts them."""

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Environment of the server: libraries start threads when they are imported, and a process with threads is not to be
forked. Workers set their number of threads themselves."""

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
    name, secret = f"stg_ray-{os.getpid()}-{secrets.token_hex(4)}", secrets.token_hex(16)
    folders = [folder for folder in sys.path if isinstance(folder, str)]  # Python skips others
    flags = [f"-{flag}" for flag, is_set in (("s", sys.flags.no_user_site), ("S", sys.flags.no_site)) if is_set]
    what = json.dumps([folders, MODULES, OF_RAY])
    try:
        server = subprocess.Popen(
            [sys.executable, *flags, fork_server.__file__, name, str(os.getpid()), what],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # neither Ctrl-C nor a signal to the program's group ends it
        )
        _servers.append(server)
        assert server.stdin is not None
        server.stdin.write(f"{secret}\n".encode())
        server.stdin.flush()
    except OSError:  # Ray starts workers without it
        end()
        return {}
    os.environ |= {fork_client.ADDRESS: f"{name}:{secret}", fork_client.OF_RAY: str(script)}
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


def pause() -> None:
    """Let the fork server fork no more."""
    for server in _servers:
        server.send_signal(signal.SIGSTOP)


def end() -> None:
    """End the fork server; its forks, which are Ray's workers, are Ray's."""
    while _servers:
        with _servers.pop() as server:
            server.kill()
