"""Files in a folder through pyarrow.fs: the same calls for a local folder, NFS, s3:// and gs://.

Every write appears whole or not at all: a local file is written under a temporary name and renamed; an object store,
which cannot rename but whose single PUT is atomic, gets one PUT.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import uuid
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from stg_ray.config.paths import place
from stg_ray.errors import InputError, one_line

TRANSIENT_ERRORS = {errno.EROFS, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}
"""Errors of a file system that may recover: its server restarts, or it is mounted again."""
PATIENCE_SECONDS = 30.0
"""Time for which a write is retried."""
RETRY_SECONDS = 0.5


class Storage:
    """A folder, given as a path or a URI. Names of files are relative to it, with forward slashes.

    Attributes:
        fs: the pyarrow file system that holds it.
        root: its path within that file system.
        uri: its URI; the absolute path where it is local.
        is_local: whether it is a path of this machine, which includes network mounts.

    Raises:
        InputError: the path or URI is none, is empty, cannot be opened, or holds credentials.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        if not isinstance(uri, str | os.PathLike):
            raise InputError(f"{type(uri).__name__} is no place of files: expected a path or a URI")
        text = os.fspath(uri)
        place(text)
        try:
            if "://" in text:
                self.fs, self.root = fs.FileSystem.from_uri(text)
            else:
                self.fs, self.root = fs.LocalFileSystem(), str(Path(text).expanduser().resolve())
        except (pa.ArrowException, OSError, ValueError, RuntimeError) as error:  # ~ of a user without a home folder
            raise InputError(f"{text!r} is no path and no URI that can be opened ({one_line(error)})") from error
        self.is_local = isinstance(self.fs, fs.LocalFileSystem)
        self.uri = self.root if self.is_local else text

    def path(self, name: str = "") -> str:
        """Return the path of a file in this folder, within the file system (not a URI)."""
        return str(PurePosixPath(self.root) / name) if name else self.root

    def sub_uri(self, name: str) -> str:
        """Return the URI (or, locally, the path) of a file or folder in this folder."""
        if self.is_local:
            return f"{self.uri.rstrip('/')}/{name}"
        parts = urlsplit(self.uri)  # a query (region, endpoint) stays behind the path
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))

    def sub(self, name: str) -> Storage:
        """Return a folder in this folder as a storage; it need not exist."""
        return Storage(self.sub_uri(name))

    def exists(self, name: str = "") -> bool:
        """Return whether there is a file or folder of this name."""
        return bool(self.fs.get_file_info(self.path(name)).type != fs.FileType.NotFound)

    def is_file(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return bool(self.fs.get_file_info(self.path(name)).type == fs.FileType.File)

    def list(self, name: str = "") -> list[str]:
        """Return the sorted names in a folder, without temporary files; empty if the folder does not exist."""
        selector = fs.FileSelector(self.path(name), allow_not_found=True)
        names = (PurePosixPath(info.path).name for info in self.fs.get_file_info(selector))
        return sorted(entry for entry in names if not entry.startswith(".tmp-"))

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it; do nothing if it does not exist."""
        kind = self.fs.get_file_info(self.path(name)).type
        if kind == fs.FileType.Directory:
            self.fs.delete_dir(self.path(name))
        elif kind == fs.FileType.File:
            self.fs.delete_file(self.path(name))

    def copy(self, source: str, target: str) -> None:
        """Copy a file to another name: bytes of its own, never a link, so that damage to one leaves the other whole."""
        if self.is_local:
            self.write_bytes(target, self.read_bytes(source))
        else:
            self.fs.copy_file(self.path(source), self.path(target))

    def check_writable(self, other: str = "folder") -> None:
        """Create the folder if necessary, and write to it once.

        Args:
            other: what else to choose where that fails, for the message.

        Raises:
            InputError: it cannot be written to.
        """
        name = f".probe-{uuid.uuid4().hex}"
        try:
            if self.is_local:
                os.makedirs(self.root, exist_ok=True)
            self.write_bytes(name, b"stg_ray", patience=0)
            self.delete(name)
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise InputError(f"cannot write to {self.uri}: {reason}; choose another {other}") from error

    def write_bytes(self, name: str, data: bytes | pa.Buffer, *, patience: float = PATIENCE_SECONDS) -> None:
        """Write a file. Transient errors of a local or network file system are retried.

        Args:
            patience: seconds for which they are retried.

        Raises:
            OSError: the file cannot be written.
            InputError: a folder stands in its place.
        """
        if not self.is_local:  # pyarrow's client of an object store retries by itself
            with self.fs.open_output_stream(self.path(name)) as stream:
                stream.write(data)
            return
        deadline = time.monotonic() + patience
        while True:
            try:
                self._write_local(name, data)
                return
            except OSError as error:
                if error.errno not in TRANSIENT_ERRORS or time.monotonic() > deadline:
                    raise
            time.sleep(RETRY_SECONDS)

    def _write_local(self, name: str, data: bytes | pa.Buffer) -> None:
        target = Path(self.path(name))
        parent = target.parent
        parent.mkdir(parents=True, exist_ok=True)
        temporary = parent / f".tmp-{uuid.uuid4().hex}"
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError) and target.is_dir():
                raise InputError(
                    f"{target} is a folder, and a file belongs there: move it away, and give the command again"
                ) from error
            raise

    def read_bytes(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: it does not exist, or a folder stands in its place.
        """
        try:
            with self.fs.open_input_stream(self.path(name)) as stream:
                data: bytes = stream.read()
        except OSError as error:
            if self.fs.get_file_info(self.path(name)).type == fs.FileType.Directory:
                raise FileNotFoundError(errno.ENOENT, "a folder stands in the place of a file", name) from error
            raise
        return data

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as an indented JSON file in UTF-8."""
        self.write_bytes(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file."""
        return json.loads(self.read_bytes(name))

    def write_parquet(self, name: str, table: pa.Table) -> None:
        """Write a table as a Parquet file, with a checksum of every page."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True)
        self.write_bytes(name, sink.getvalue())

    def read_parquet(self, name: str) -> pa.Table:
        """Read a Parquet file.

        Raises:
            OSError: it is damaged, by the checksums of its pages.
        """
        return pq.read_table(self.path(name), filesystem=self.fs, page_checksum_verification=True)

    def write_arrow(self, name: str, batch: pa.RecordBatch) -> None:
        """Write a record batch as an Arrow file."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        self.write_bytes(name, sink.getvalue())

    def read_arrow(self, name: str) -> pa.RecordBatch:
        """Read the record batch of an Arrow file; a local file is mapped into memory."""
        path = self.path(name)
        source = pa.memory_map(path) if self.is_local else self.fs.open_input_file(path)
        return pa.ipc.open_file(source).get_batch(0)

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write named arrays of any shapes as one Arrow file (one row, with the shapes in the metadata)."""
        columns = [pa.array([array.reshape(-1)]) for array in arrays.values()]
        shapes = {key: list(array.shape) for key, array in arrays.items()}
        batch = pa.record_batch(columns, names=list(arrays))
        self.write_arrow(name, batch.replace_schema_metadata({"shapes": json.dumps(shapes)}))

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Read the arrays that `write_arrays` wrote; views of the mapped file where it is local."""
        batch = self.read_arrow(name)
        shapes = json.loads(batch.schema.metadata[b"shapes"])
        return {
            key: batch.column(key).flatten().to_numpy(zero_copy_only=True).reshape(shape)
            for key, shape in shapes.items()
        }


def tensor_column(array: np.ndarray) -> pa.Array:
    """Convert an array of shape (rows, ...) to a fixed-shape tensor column; no copy where the array is contiguous."""
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def tensor_array(column: pa.Array) -> np.ndarray:
    """Return a fixed-shape tensor column as an array of shape (rows, ...), without a copy."""
    array: np.ndarray = column.to_numpy_ndarray()
    return array
