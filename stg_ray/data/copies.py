"""Files with the same contents: rows of one split that are in another, too."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def copies_of(paths: Iterable[Path]) -> dict[Path, Path]:
    """Return the files that hold the same bytes as one before them, with that one. Only files of one size are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    found: dict[Path, Path] = {}
    for same_size in by_size.values():
        seen: dict[bytes, Path] = {}
        for path in same_size if len(same_size) > 1 else ():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
            if (other := seen.setdefault(digest, path)) is not path:
                found[path] = other
    return found


def leaks(paths_of_split: Mapping[str, Sequence[Path]]) -> dict[tuple[str, str], list[tuple[Path, Path]]]:
    """Return the files of one split that are copies of files of an earlier one, with those, by the two splits."""
    split_of = {path: split for split, paths in paths_of_split.items() for path in paths}
    found: dict[tuple[str, str], list[tuple[Path, Path]]] = defaultdict(list)
    for path, other in copies_of(split_of).items():
        if split_of[path] != split_of[other]:
            found[split_of[path], split_of[other]].append((path, other))
    return dict(found)
