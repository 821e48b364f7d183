"""Clusters as platform engineers start them: `ray start` for the head and every node, on this machine, with ports, a
home and a token of their own. A node may live in a mount namespace, so that it sees other files than the rest."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support.processes import PATIENCE, QUICK_TO_NOTICE, without_ray

RAY = str(Path(sys.executable).parent / "ray")
START_SECONDS = 180


COUNTER = """
import sys, ray._raylet
client = None
for _ in sys.stdin:
    try:
        client = client or ray._raylet.GcsClient(address=sys.argv[1])
        print(sum(node.state == 0 for node in client.get_all_node_info().values()), flush=True)
    except Exception:
        client = None
        print(0, flush=True)
"""
"""Answers each line with the number of nodes that are alive; to import Ray for each answer would take longest."""


def free_port() -> int:
    """Above the ports of Ray's workers, and below those that the system deals out: one of these may be taken before the
    cluster has it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def needs_mounts() -> None:
    """Skip the test where nothing can be mounted."""
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mounts in a namespace of its own (needs root): {tried.stderr.decode().strip()}")


def autoscaling(cpus: int, most: int, address: str) -> dict[str, Any]:
    """A configuration of Ray's own autoscaler, which starts nodes of one CPU on this machine."""
    return {
        "cluster_name": "autoscaled",
        "max_workers": most,
        "idle_timeout_minutes": 5,
        "provider": {
            "type": "fake_multinode",
            "use_node_id_as_ip": True,
            "gcs_address": address,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        **{key: {} for key in ("auth", "file_mounts")},
        **{key: [] for key in ("cluster_synced_files", "worker_setup_commands", "worker_start_ray_commands")},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": cpus}, "node_config": {}, "max_workers": 0},
            "more": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
    }


class RayCluster:
    """A head, and nodes that come and go. Everything of it is killed at the end of the block.

    Attributes:
        env: the environment of its clients.
        autoscaled: nodes of one CPU that Ray's autoscaler may start when they are asked for.
        temporary: Ray's own files; short, because it holds sockets, whose paths may not be long.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cpus: int = 1,
        dashboard: bool = False,
        token: bool = False,
        autoscaled: int = 0,
    ) -> None:
        if not Path(RAY).exists():
            pytest.skip(f"no ray command beside {sys.executable}")
        self.folder = folder
        self.processes: list[subprocess.Popen] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.env = without_ray() | {"RAY_AUTH_MODE": "token" if token else "disabled", "HOME": str(folder)}
        if token:
            subprocess.run([RAY, "get-auth-token", "--generate"], env=self.env, capture_output=True, check=True)
        self.temporary = Path(tempfile.mkdtemp(prefix="ray-"))
        self.port, self.dashboard_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.arguments = [
            f"--num-cpus={cpus}",
            f"--temp-dir={self.temporary}",
            f"--include-dashboard={str(dashboard).lower()}",
        ]
        self.arguments += [f"--dashboard-port={self.dashboard_port}", f"--ray-client-server-port={free_port()}"]
        if autoscaled:
            (folder / "autoscaling.yaml").write_text(yaml.safe_dump(autoscaling(cpus, autoscaled, self.address)))
            self.arguments.append(f"--autoscaling-config={folder / 'autoscaling.yaml'}")
            self.env |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        self.env["RAY_metrics_report_interval_ms"] = "1000"
        self.env["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"  # a minute, until a program gives a lost head up
        self.env["RAY_prestart_worker_first_driver"] = "0"  # they would be ended unused, as of a local Ray
        self.env |= QUICK_TO_NOTICE
        self.counter: subprocess.Popen[str] | None = None
        self.env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{self.dashboard_port}"
        self.start_head()
        if dashboard:
            self._wait_for(lambda: self.job("list").returncode == 0)

    def start_head(self) -> None:
        self.head = self._start(["--head", f"--port={self.port}", *self.arguments])
        self._wait_for(lambda: self.n_nodes() == 1)

    def add_node(self, *, cpus: int = 1, first: str = "", arguments: Sequence[str] = ()) -> subprocess.Popen:
        """A further node; `first` is what its shell does in a mount namespace of its own before it starts."""
        before = self.n_nodes()
        node = self._start([f"--address={self.address}", f"--num-cpus={cpus}", *arguments], first)
        self._wait_for(lambda: self.n_nodes() > before)
        return node

    @contextmanager
    def nodes(self, number: int) -> Iterator[list[subprocess.Popen]]:
        """So many nodes of one CPU besides the head; at the end of the block there is only the head, if it lives."""
        try:
            # One after the other: of two that start at the same time on one machine, Ray may give up on one.
            yield [self.add_node() for _ in range(number)]
        finally:
            for process in self.processes:
                if process is not self.head:
                    self.kill(process)
            if self.head.poll() is None:
                self._wait_for(lambda: self.n_nodes() == 1)

    def kill(self, process: subprocess.Popen) -> None:
        """SIGKILL of a node with all that runs on it."""
        if process is self.head:
            self._end_counter()  # its client would wait for that head
        with suppress(psutil.NoSuchProcess):
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.send_signal(signal.SIGSTOP)  # so that none starts another meanwhile
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, timeout=10)
        process.wait()

    def n_nodes(self) -> int:
        """Nodes that are alive, as the cluster knows."""
        if self.counter is None or self.counter.poll() is not None:
            self.counter = subprocess.Popen(
                [sys.executable, "-c", COUNTER, self.address],
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self.counter.stdin is not None
        assert self.counter.stdout is not None
        try:
            self.counter.stdin.write("\n")
            self.counter.stdin.flush()
            return int(self.counter.stdout.readline() or 0)
        except BrokenPipeError:
            return 0

    def _end_counter(self) -> None:
        if self.counter is not None:
            self.counter.kill()
            self.counter.communicate()
            self.counter = None

    def _start(self, arguments: Sequence[str], first: str = "") -> subprocess.Popen:
        # The usual port of the agent may be taken by another Ray of this machine.
        command = [RAY, "start", "--block", "--disable-usage-stats", f"--dashboard-agent-listen-port={free_port()}"]
        command += arguments
        if first:
            command = ["unshare", "-m", "sh", "-c", f"{first} && exec {shlex.join(command)}"]
        log = self.folder / f"node-{len(self.processes)}.log"
        with log.open("w") as output:
            process = subprocess.Popen(command, env=self.env, stdout=output, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            assert self.head.poll() is None, self.logs()
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.2)

    def job(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """`ray job ...`, as a client gives it."""
        command = [RAY, "job", *arguments]
        for _ in range(30):
            done = subprocess.run(
                command, cwd=cwd, env=self.env, capture_output=True, text=True, check=False, timeout=PATIENCE
            )
            if "No available agent" not in done.stdout + done.stderr:
                break
            time.sleep(1)  # the head answers a moment before it can take jobs
        return done

    def metrics(self) -> str:
        """Read the head's metrics as Prometheus does, found by the file that Ray's head writes."""
        listed = json.loads((self.temporary / "prom_metrics_service_discovery.json").read_text())
        target = listed[0]["targets"][0]  # the node; others are the dashboard and the autoscaler
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{target}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("node-*.log")))

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_counter()
        # Not `ray stop`: it ends every Ray of the machine, the other tests' too.
        for process in reversed(self.processes):
            self.kill(process)
        shutil.rmtree(self.temporary, ignore_errors=True)
