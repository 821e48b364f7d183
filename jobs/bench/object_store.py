"""A run on an object store beside the same run in a folder: seconds of every stage, and of the same command again.

    python -m jobs.bench.object_store [--store URI] [--quick]

Without --store, the S3 server of moto (`pip install 'moto[server]'`) is started on this machine: what is measured then
is the number of requests rather than a network. With --quick, digits with fewer epochs and one plan.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from jobs.bench.measure import show, timed
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.findings import check_run

QUICK = ["--set", "profile.epochs=2", "--set", "retrain.epochs=2", "--set", "retrain.plans=[ours]"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", metavar="URI", help="a folder of a bucket, such as s3://bucket/bench")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else []
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, server(arguments.store) as store:
        places = {"folder": f"{scratch}/run", "store": store}
        seconds: dict[str, dict[str, float]] = {}
        for name, place in places.items():
            own = {"first": timed(lambda at=place: run(at, settings))}
            own["again"] = timed(lambda at=place: run(at, settings))
            directory = RunDir(place)
            stages = directory.read_config().stages
            own |= {stage: float(directory.marker(stage)["seconds"]) for stage in stages}
            began = time.perf_counter()
            assert {finding.state for finding in check_run(directory)} == {"ok"}
            seconds[name] = own | {"doctor": time.perf_counter() - began}
        same = RunDir(places["folder"]).read_bytes("groups.json") == RunDir(store).read_bytes("groups.json")
        files = sum(len(RunDir(store).recorded(stage)) for stage in stages)
        RunDir(store).delete("")
    rows = [
        (what, f"{value:.1f} s", f"{seconds['folder'][what]:.1f} s in a folder")
        for what, value in seconds["store"].items()
    ]
    rows.append(("groups", "the same" if same else "others", "the same"))
    show("A run on an object store", rows, {"benchmark": "object_store", "seconds": seconds, "files": files})


def run(out: str, settings: list[str]) -> None:
    command = [sys.executable, "-m", "stg_ray", "run", "digits", "--out", out, "--set", "profile.precision=float32"]
    subprocess.run([*command, "--set", "retrain.precision=float32", *settings], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def server(store: str | None) -> Iterator[str]:
    """The URI of a new folder: of a given store, or of a server that ends with the block."""
    name = f"stg_ray-bench-{uuid.uuid4().hex}"
    if store is not None:
        yield f"{store.rstrip('/')}/{name}"
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(variable, "test")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (Path(tempfile.gettempdir()) / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    direct = build_opener(ProxyHandler({}))  # the server is here, whatever proxy the environment names
    try:
        for _ in range(300):
            with suppress(URLError, ConnectionError):
                direct.open(Request(f"http://127.0.0.1:{port}/bench", method="PUT"), timeout=10).close()
                break
            time.sleep(0.1)
        yield f"s3://bench/{name}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        process.kill()
        process.wait()
        Path(log.name).unlink()


if __name__ == "__main__":
    main()
