"""Digests of the user's files that decide the results of a run: data, checkpoints, and modules with functions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from stg_ray.config import AFFINITY_METHODS, GROUPING_METHODS, Config
from stg_ray.config.data import DataConfig, data_root, npz_path
from stg_ray.config.paths import IMAGE_SUFFIXES, expanded, is_hidden, leads_back
from stg_ray.config.tables import looked_up, named_files
from stg_ray.modules import modules_of

HASHED_WHOLE = 2**31
"""Bytes up to which a Parquet file is hashed whole, which takes a second or two at most."""
END_BYTES = 2**20


def source_digests(config: Config, sections: Collection[str] | None = None) -> dict[str, str]:
    """Hash the user's files that decide the results of a run: data, starting weights, and modules with functions.

    A file that does not exist is left out: its parts may have been laid out before it was deleted.

    Args:
        config: names the files.
        sections: of the configuration whose files are hashed; by default of all.

    Returns:
        SHA-256 digests by the configuration's key that names the file, such as `data.npz`.
    """
    files: dict[str, Path | None] = code_files("model.trunk", config.model.trunk)
    sources = {"data": config.data} | {f"data.{name}": part for name, part in config.data.joined().items()}
    for key, data in sources.items():
        files[f"{key}.npz"] = npz_path(data) if data.npz is not None else None
        files |= {f"{key}.{name}": path for name, path in _files_of(data).items()}
        files |= code_files(f"{key}.function", data.function)
    for name in [] if config.affinity.leaves_methods else config.affinity.methods:
        files |= code_files(f"affinity.methods: {name}", AFFINITY_METHODS.code_of(name))
    files |= code_files("grouping.method", GROUPING_METHODS.code_of(config.grouping.method))
    for kind, name in config.metric.model_dump().items():
        files |= code_files(f"metric.{kind}", name)
    if config.model.weights not in (None, "pretrained") and "://" not in config.model.weights:
        files["model.weights"] = expanded(config.model.weights)
    folders = {f"{key}.images.folder": data for key, data in sources.items() if data.images is not None}
    if sections is not None:
        files = {key: path for key, path in files.items() if key.partition(".")[0] in sections}
        folders = {key: data for key, data in folders.items() if key.partition(".")[0] in sections}
    return file_digests(files) | _folder_digests(folders)


def code_files(key: str, name: str | None) -> dict[str, Path | None]:
    """Return the file of the module that a key names as `module:function`, and those of the user's that it imports."""
    files = modules_of(name)
    own = (name or "").partition(":")[0]
    return {key if module == own else f"{key}: import {module}": file for module, file in files.items()}


def _files_of(data: DataConfig) -> dict[str, Path]:
    """Return the files that a source names, by key; of a data set of Hugging Face's those with its fingerprints."""
    root = data_root(data)
    named: dict[str, Path] = {}
    if data.npy is not None:
        arrays = {"inputs": data.npy.inputs, "labels": data.npy.labels, "split": data.npy.split}
        named |= {f"npy.{key}": looked_up(name, root) for key, name in arrays.items() if name is not None}
    if data.arff is not None and data.arff.xml is not None:
        named["arff.xml"] = looked_up(data.arff.xml, root)
    if data.hugging_face is not None:  # the fingerprints of the splits change with their contents
        key, place, files = ("folder", data.hugging_face.folder, "**/state.json")
        if data.hugging_face.name is not None:  # perhaps a folder of files; what the Hub has is not looked at here
            key, place, files = ("name", data.hugging_face.name, "**/*")
        folder = looked_up(place or "", root)
        named |= {f"hugging_face.{key}: {path.relative_to(folder)}": path for path in sorted(folder.glob(files))}
    for key, table in (("parquet", data.parquet), ("csv", data.csv), ("arff", data.arff), ("libsvm", data.libsvm)):
        if table is not None:
            named |= {f"{key}.files: {path}": path for path in _with_those_inside(named_files(table.files, root))}
    return named


def _with_those_inside(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files, and of directories the files in them."""
    for path in paths:
        yield from sorted(path.rglob("*")) if path.is_dir() else [path]


def _folder_digests(sources: Mapping[str, DataConfig]) -> dict[str, str]:
    """Hash the images in folders that exist, and their places there.

    What systems and tools leave beside images, in hidden folders too, does not count.
    """
    digests = {}
    for key, data in sources.items():
        assert data.images is not None, "folders of images only"
        folder = looked_up(data.images.folder, data_root(data))
        images = {path.relative_to(folder).as_posix(): path for path in _images_below(folder)}
        if images:
            digests[key] = digest_of_all(images)
    return digests


def image_digests(paths: Iterable[str]) -> dict[str, str]:
    """Hash the images that a table names; nothing where some are gone, as their parts may be laid out."""
    images = {name: Path(name) for name in paths}
    exist = all(path.is_file() for path in images.values())
    return {"the column of images": digest_of_all(images)} if images and exist else {}


def digest_of_all(files: Mapping[str, Path]) -> str:
    """Hash the names and sizes of files, and up to `HASHED_WHOLE` their contents.

    Raises:
        OSError: one is not there, or cannot be read.
    """
    sizes = {name: path.stat().st_size for name, path in sorted(files.items())}
    whole = sum(sizes.values()) <= HASHED_WHOLE
    digest = hashlib.sha256()
    for name, size in sizes.items():
        contents = _digest(files[name], whole=True) if whole else ""
        digest.update(f"{name}\0{size} {contents}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _images_below(folder: Path) -> Iterator[Path]:
    """Yield the images in a folder and below it, without hidden ones."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not (is_hidden(name) or leads_back(Path(place, name)))]
        for path in (Path(place, name) for name in names):
            if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name) and path.is_file():
                yield path


def file_digests(files: Mapping[str, Path | None]) -> dict[str, str]:
    """Return the SHA-256 digests of the files that exist."""
    digests = {}
    for key, path in files.items():
        if path is not None and path.is_file():
            digests[key] = _digest(path, whole=".parquet.files" not in key)
    return digests


def _digest(path: Path, *, whole: bool) -> str:
    """Hash a file; of one that is larger than `HASHED_WHOLE` only its size and its ends, unless all of it must be.

    The end of a Parquet file holds the places, sizes and ranges of all its columns.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if whole or size <= HASHED_WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(f"{size} ".encode() + file.read(END_BYTES))
        file.seek(-END_BYTES, 2)
        digest.update(file.read())
        return digest.hexdigest()
