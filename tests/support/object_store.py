"""An object store on this machine: the S3 server of moto, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

START_SECONDS = 60.0


class ObjectStore:
    """A running server with one empty bucket, `runs`, for the length of a `with` block.

    Args:
        log: file of the server's requests.
    """

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.log = log

    def uri(self, name: str) -> str:
        """The URI of a folder in the bucket."""
        return f"s3://runs/{name}?endpoint_override={self.address}&scheme=http&region=us-east-1"

    def __enter__(self) -> ObjectStore:
        host, _, port = self.address.partition(":")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", host, "-p", port], stdout=log, stderr=subprocess.STDOUT
            )
        # Not by urlopen: its opener keeps the proxies of the first call in this process, whoever made that.
        direct = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                direct.open(Request(f"http://{self.address}/runs", method="PUT"), timeout=10).close()
                return self
            except (URLError, ConnectionError):
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, "no object store"
                time.sleep(0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
