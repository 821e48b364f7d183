"""A folder that one process owns at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stg_ray.artifacts.lease import Lease, file_lease, object_lease
from stg_ray.artifacts.storage import Storage


class OwnedStorage(Storage):
    """A storage that can be owned, and that knows whether it still is."""

    _owner: Lease | None = None

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Own the directory for the length of a `with` block; a second process is refused.

        Raises:
            InputError: another process owns the directory.
        """
        with (file_lease if self.is_local else object_lease)(self) as self._owner:
            try:
                yield
            finally:
                self._owner = None

    def check_owner(self) -> None:
        """Refuse to go on in a directory that this process has owned, and that another has taken over.

        Raises:
            StgRayError: it has.
        """
        if self._owner is not None:
            self._owner.check()
