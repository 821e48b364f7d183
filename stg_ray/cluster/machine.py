"""Facts of a machine that decide whether runs work on it: versions of packages, GPUs, authentication, room for Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UNUSABLE = "is missing or broken"
"""The beginning of the version of a package that cannot be imported."""
EXTRAS_OF_RAY = ("default", "train", "tune")
"""Those that stg_ray installs."""


@dataclass(frozen=True)
class MachineFacts:
    """Facts of one machine.

    Attributes:
        versions: versions of Python and of the packages, by name; `UNUSABLE` where one cannot be imported.
        cuda: whether torch sees a GPU.
        token: whether Ray's token authentication is on.
        shared_memory: free bytes of shared memory; None where the system does not show it.
        disk: free bytes on the disk that Ray uses.
    """

    versions: dict[str, str]
    cuda: bool
    token: bool
    shared_memory: int | None
    disk: int


def fact_finder(temporary: str, unusable: str = UNUSABLE) -> Callable[[], dict[str, Any]]:
    """Return a function that returns the facts of the machine that it runs on, as arguments of `MachineFacts`.

    Ray sends the function to the nodes by value. It must run where stg_ray or torch is missing, so it imports all that
    it needs, and returns a dictionary.

    Args:
        temporary: the folder that Ray uses.
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
                versions[name] = f"{unusable} ({type(error).__name__})"
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


def missing_for_ray() -> list[str]:
    """Return the names of the packages that Ray itself asks for, as stg_ray installs it, and that are not here.

    Without one of them a process of Ray's may end while it starts, and Ray then says that it timed out.
    """
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        from packaging.requirements import Requirement  # which Ray brings

        lines = requires("ray") or []
    except ImportError as error:  # also that Ray itself has no metadata, where it was built by hand
        return [] if isinstance(error, PackageNotFoundError) else ["packaging"]
    missing = set()
    for line in lines:
        wanted = Requirement(line)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *EXTRAS_OF_RAY)):
            try:
                version(wanted.name)
            except PackageNotFoundError:
                missing.add(wanted.name)
    return sorted(missing)
