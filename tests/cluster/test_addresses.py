"""What is said of an address at which no cluster can be joined, at once and in one line."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from stg_ray.cluster.addresses import check_address
from stg_ray.errors import InputError


class Head(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
    """A head that refuses every token, or asks for none."""

    def __init__(self, refuses: bool) -> None:
        self.refuses = refuses

    def CheckAlive(self, request: object, context: grpc.ServicerContext) -> gcs_service_pb2.CheckAliveReply:
        if self.refuses:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return gcs_service_pb2.CheckAliveReply()


@contextmanager
def head(*, refuses: bool) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(Head(refuses), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_a_head_answers() -> None:
    with head(refuses=False) as address:
        check_address(address)


def test_a_head_refuses_the_token() -> None:
    with (
        head(refuses=True) as address,
        pytest.raises(InputError, match=f"the Ray cluster at {address} asks for its token"),
    ):
        check_address(address)


def test_what_listens_is_no_head() -> None:
    """As on the port of the dashboard, on which Ray itself retries for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server, futures.ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        pool.submit(answer)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=f"what answers at {address} is not the head of a Ray cluster: give"):
            check_address(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://10.0.0.1:10001", "is an address of Ray Client, through which Ray's training libraries do not work"),
        ("http://10.0.0.1:8265", "is an address for ray job submit: give --address or RAY_ADDRESS the HOST:PORT"),
        ("10.0.0.1", "'10.0.0.1' is no address of a Ray cluster"),
        (":", "':' is no address of a Ray cluster"),
        ("10.0.0.1:6379/", "is no address of a Ray cluster"),
        ("127.0.0.1:99999", "no Ray cluster answers at 127.0.0.1:99999"),
    ],
)
def test_no_address_of_a_head(address: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        check_address(address)
    assert message in str(refused.value)


@pytest.mark.parametrize("address", ["auto", "local"])
def test_addresses_that_ray_resolves(address: str) -> None:
    check_address(address)
