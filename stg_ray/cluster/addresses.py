"""Addresses of Ray clusters: the one that a session uses, and whether a cluster answers there."""

from __future__ import annotations

import os
import socket

from stg_ray.errors import InputError

CONNECT_SECONDS = 10.0

EXPECTED = (
    "give --address or RAY_ADDRESS the HOST:PORT of the cluster's head, whose port is 6379 unless ray start --head was "
    "given another"
)


def ray_address(address: str | None) -> str:
    """Return the address that a session would use: the one given, else $RAY_ADDRESS, else `local`."""
    return address or os.environ.get("RAY_ADDRESS") or "local"


def check_address(address: str | None) -> None:
    """Probe the address first: Ray itself retries for minutes, and says little of the reason.

    Raises:
        InputError: it is no address of a cluster's head, no cluster answers there, or one with another token.

    Example:
        >>> check_address("http://10.0.0.1:8265")
        Traceback (most recent call last):
        ...
        stg_ray.errors.InputError: http://10.0.0.1:8265 is an address for ray job submit: give --address ...
    """
    target = ray_address(address)
    scheme, is_uri, _ = target.partition("://")
    if scheme in ("http", "https") and is_uri:
        raise InputError(f"{target} is an address for ray job submit: {EXPECTED}")
    if scheme == "ray" and is_uri:
        raise InputError(
            f"{target} is an address of Ray Client, through which Ray's training libraries do not work: {EXPECTED}, on "
            "one of the cluster's nodes; from elsewhere use ray job submit"
        )
    if is_uri or target in ("local", "auto"):
        return  # which Ray resolves
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise InputError(f"{target!r} is no address of a Ray cluster: {EXPECTED}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at {target} ({getattr(error, 'strerror', None) or error}): check --address and "
            "RAY_ADDRESS"
        ) from error
    _check_head(target)


def _check_head(target: str) -> None:
    """Ask what listens at an address whether it is the head of a cluster, and takes this machine's token.

    Raises:
        InputError: it is none, or does not.
    """
    try:
        import grpc
        from ray._private.gcs_utils import create_gcs_channel
        from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
        from ray.exceptions import AuthenticationError
    except ImportError:  # another version of Ray: it says something itself, late
        return
    channel = None
    try:
        channel = create_gcs_channel(target)
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        head.CheckAlive(gcs_service_pb2.CheckAliveRequest(), timeout=CONNECT_SECONDS)
    except AuthenticationError as error:
        raise _no_token(target, "there is none here") from error
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise _no_token(target, "what is here is none or another") from error
        if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:  # a head may be busy
            raise InputError(f"what answers at {target} is not the head of a Ray cluster: {EXPECTED}") from error
    finally:
        if channel is not None:
            channel.close()


def _no_token(target: str, why: str) -> InputError:
    return InputError(
        f"the Ray cluster at {target} asks for its token, and {why}: copy ~/.ray/auth_token from one of its nodes, and "
        "set RAY_AUTH_MODE=token"
    )
