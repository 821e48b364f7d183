"""Task sets that Hugging Face's `datasets` saved on disk: folders of Arrow streams, which need no further package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.ipc

from stg_ray.config.tables import looked_up
from stg_ray.data.columns import TableFile
from stg_ray.data.label_lists import names_of_labels
from stg_ray.data.tables import read_tables
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet

if TYPE_CHECKING:
    from stg_ray.config.tables import HuggingFaceConfig

SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
"""Names that splits have in such data sets."""


def read_hugging_face(config: HuggingFaceConfig, root: Path, seed: int, image_size: int | None = None) -> TaskSet:
    """Read the task set of a data set on disk, a batch of rows at a time.

    Names of classes are those of the data set's `ClassLabel` features.

    Args:
        config: the folder, and the columns that are inputs and labels.
        root: the data root, in which relative paths are looked up too.
        seed: seed of the split, where the data set has one part.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Raises:
        InputError: no such folder, one of another kind, a split of another name, and as `read_tables`.
    """
    folder = looked_up(config.folder, root)
    if not folder.is_dir():
        raise InputError(f"data.hugging_face: no folder {config.folder!r} here nor in the data root {root}")
    splits: dict[str | None, Path] = {None: folder}
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder / "dataset_dict.json")["splits"]
        strange = [name for name in names if name not in SPLITS]
        if strange:
            raise InputError(
                f"{folder} has the split {strange[0]!r}: expected {', '.join(SPLITS)} (give the folder of one split, "
                "or save the data set without it)"
            )
        splits = {SPLITS[name]: folder / name for name in names}
        if list(splits) == ["train"]:
            splits = {None: splits["train"]}
    files = [_table_file(path, split, config) for split, part in splits.items() for path in _stream_files(part)]
    if config.split is not None and files[0].split is not None:
        raise InputError(
            f"the splits of {folder} are given twice: by its folders and by data.hugging_face.split; leave the latter "
            "out, or give the folder of one split"
        )
    return read_tables(config, "data.hugging_face", files, seed, image_size)


def _stream_files(folder: Path) -> list[Path]:
    """Return the Arrow files of one split, in their order."""
    if not (folder / "state.json").is_file():
        hint = "no data set that datasets.save_to_disk wrote (state.json is missing)"
        if any(folder.rglob("*.parquet")):
            raise InputError(f"{folder} is {hint}, but has Parquet files: use data.parquet with files: {folder}")
        if any(folder.rglob("*.arrow")):
            raise InputError(f"{folder} is {hint}, but the cache of one: load it and call save_to_disk")
        raise InputError(f"{folder} is {hint}")
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise InputError(f"{folder} keeps its rows by indices: call flatten_indices() before save_to_disk")
    return [folder / file["filename"] for file in state["_data_files"]]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {one_line(error)}") from error


def _table_file(path: Path, split: str | None, config: HuggingFaceConfig) -> TableFile:
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            schema = stream.schema
            n_rows = sum(len(batch) for batch in stream)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no whole Arrow file: {one_line(error)}") from error

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                yield batch.select(list(columns))

    return TableFile(path, _with_class_names(schema, config), n_rows, batches, split=split)


def _with_class_names(schema: pa.Schema, config: HuggingFaceConfig) -> pa.Schema:
    """Return the schema with the names of classes where `read_tables` looks for them."""
    metadata = dict(schema.metadata or {})
    for key, column in ((b"class_names", config.classes), (b"coarse_names", config.groups)):
        if column is not None and (names := names_of_labels(schema, column)):
            metadata[key] = json.dumps(names).encode()
    return schema.with_metadata(metadata)
