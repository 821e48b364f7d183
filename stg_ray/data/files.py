"""The files that a source names: found by pattern, each once, and described where they hold another format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stg_ray.config.tables import Files, matching_paths, refuse_missing
from stg_ray.data.copies import copies_of
from stg_ray.errors import InputError

MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "Parquet", "data.parquet"),
    (b"PARE", "encrypted Parquet", "data.parquet after decrypting it"),
    (b"\x93NUMPY", "a NumPy array (.npy)", "data.npy"),
    (b"PK\x03\x04", "a zip archive (.npz, or a spreadsheet)", "data.npz, or data.csv after saving the sheet as CSV"),
    (b"ARROW1", "an Arrow (Feather) file", "data.parquet after pyarrow.parquet.write_table"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "data.hugging_face with its folder"),
    (b"\x89HDF", "HDF5", "data.function with a function that reads it, or data.npy after saving its arrays"),
    (b"ORC", "ORC", "data.parquet after converting it"),
    (b"Obj\x01", "Avro", "data.parquet after converting it"),
    (b"SQLite format 3", "an SQLite database", "data.parquet after saving the table"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls)", "data.csv after saving the sheet as CSV"),
    (b"\x80\x02", "a pickle", "data.npz after saving its arrays"),
    (b"\x80\x03", "a pickle", "data.npz after saving its arrays"),
    (b"\x80\x04", "a pickle", "data.npz after saving its arrays"),
    (b"\x80\x05", "a pickle", "data.npz after saving its arrays"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "git lfs pull, to fetch the file"),
    (b"{", "JSON", "data.csv or data.parquet after converting it"),
    (b"[", "JSON", "data.csv or data.parquet after converting it"),
    (b"<", "XML or HTML", "the data file itself"),
)
"""The first bytes of files of a format, what it is, and what to use instead."""

COMPRESSIONS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\x1f\x8b", "gzip", ".gz"),
    (rb"BZh[1-9]1AY&SY", "bzip2", ".bz2"),
    (rb"\x28\xb5\x2f\xfd", "Zstandard", ".zst"),
    (rb"\x04\x22\x4d\x18", "LZ4", ".lz4"),
    (rb"\xfd7zXZ\x00", "xz", ".xz"),
)
"""The first bytes of compressed data, and the end of the name that it has."""

READ_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
"""Ends of names of compressed files that `data.csv` reads."""

HEAD_BYTES = 4096

DATA_SUFFIXES = {".parquet", ".parq", ".pq", ".arff", ".csv", ".tsv", ".txt", ".svm", ".libsvm", ".gz", ".bz2", ".zst"}


@dataclass(frozen=True)
class Found:
    """A file that a source names.

    Attributes:
        path: the file.
        split: train, val or test, where the configuration gives files by split.
        base: the directory whose pattern or name found it, below which folders may be partitions.
    """

    path: Path
    split: str | None = None
    base: Path | None = None


def find_files(files: Files, root: Path, key: str) -> list[Found]:
    """Return the files that paths and patterns name, those of directories too, in their order.

    Hidden files and those that begin with an underscore (`_SUCCESS`) are left out of directories.

    Args:
        files: paths or patterns, or these by split.
        root: the data root, in which relative paths are looked up too.
        key: the configuration's section, for messages.

    Raises:
        InputError: a path without a file, or the same file twice, by name or by contents.
    """
    by_split = files if isinstance(files, dict) else {None: files}
    found = [
        file
        for split, patterns in by_split.items()
        for pattern in ([patterns] if isinstance(patterns, str) else patterns)
        for file in _matches(pattern, root, key, split)
    ]
    if not found:
        raise InputError(f"{key}.files names no file: expected a path or a pattern")
    seen: dict[Path, Found] = {}
    for file in found:
        if (other := seen.setdefault(file.path.resolve(), file)) is not file:
            also = "" if other.path == file.path else f" (also as {other.path})"
            raise InputError(f"{key}.files names {file.path} twice{also}: {_leak(file, other)}, so name it once")
    _check_copies(found, key)
    return found


def _leak(file: Found, other: Found) -> str:
    """Say what becomes of rows that are read twice."""
    if file.split != other.split:
        return f"its rows would be in {other.split} and in {file.split}"
    return "each of its rows would count twice" + ("" if file.split else ", perhaps once in train and once in test")


def _matches(pattern: str, root: Path, key: str, split: str | None) -> Iterator[Found]:
    matches = matching_paths(pattern, root)
    if matches is None:
        refuse_missing(f"{key}.files", pattern, root)
    for path in matches:
        if not path.is_dir():
            yield Found(path, split)
            continue
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(step.startswith((".", "_")) for step in file.relative_to(path).parts)
        ]
        known = [file for file in inside if DATA_SUFFIXES & set(file.suffixes)]
        if not inside:
            raise InputError(f"{key}.files: the directory {path} holds no data file")
        yield from (Found(file, split, path) for file in known or inside)


def _check_copies(found: list[Found], key: str) -> None:
    """Refuse files with the same contents."""
    named = {file.path: file for file in found}
    for path, other in copies_of(list(named)).items():
        leak = _leak(named[path], named[other])
        raise InputError(f"{key}.files: {path} is a copy of {other}: {leak}, so name one of them")


def other_format(path: Path, key: str) -> str | None:
    """Tell what a file holds and what to use for it, from its first bytes.

    None where these tell nothing, or what the section `key` (such as `data.csv`) reads.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        return "the file is empty"
    if (key == "data.csv" and path.suffix in READ_COMPRESSED) or _compression(head):
        return _misnamed(path, head, key)
    bare = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what, instead in MAGIC:
        if head.startswith(magic) or (magic in (b"{", b"[", b"<") and bare.startswith(magic)):
            return None if instead == key else f"it holds {what}: use {instead}"
    if b"\0" in head:
        return None
    lines = bare.decode("utf-8", "replace").splitlines()
    if any(line.lower().startswith(("@relation", "@attribute")) for line in lines):
        return None if key == "data.arff" else "it holds ARFF: use data.arff"
    if not lines:
        return "the file holds spaces only"
    words = lines[0].split()
    if len(words) > 1 and all(":" in word for word in words[1:]):
        return None if key == "data.libsvm" else "it holds text in LIBSVM's format: use data.libsvm"
    start = lines[0][:40] + ("..." if len(lines[0]) > 40 else "")
    return None if key == "data.csv" else f"it holds text ({start!r}): use data.csv"


def _compression(head: bytes) -> tuple[str, str] | None:
    """Return the name of the compression of data and the end of a name that it has; None where it is none."""
    return next(((name, suffix) for magic, name, suffix in COMPRESSIONS if re.match(magic, head)), None)


def _misnamed(path: Path, head: bytes, key: str) -> str | None:
    """Tell why a file that is compressed, or named so, cannot be read; None where it can."""
    name, suffix = _compression(head) or ("", "")
    if not name:
        return f"it is not compressed, though its name ends in {path.suffix}: name it {path.stem}"
    if key != "data.csv" or suffix not in READ_COMPRESSED:
        instead = "" if key != "data.csv" else f", or compress it as {', '.join(READ_COMPRESSED)}"
        return f"it is compressed with {name}: unpack it first{instead}"
    own = path.stem if path.suffix in READ_COMPRESSED else path.name
    return None if path.suffix == suffix else f"it is compressed with {name}: name it {own}{suffix}"
