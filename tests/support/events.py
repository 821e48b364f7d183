"""Event files of TensorBoard, read back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto import event_pb2


def events_of(path: Path) -> Iterator[event_pb2.Event]:
    """The records of an event file: length, its checksum, an event, its checksum."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        yield event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
        at += length + 16
