"""Task sets of Hugging Face's `datasets`: folders of Arrow streams that it saved, or data sets by name (an extra)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.ipc

from stg_ray.config.tables import looked_up, refuse_missing
from stg_ray.data.columns import TableFile
from stg_ray.data.hugging_face_hub import loaded_splits
from stg_ray.data.label_lists import names_of_labels
from stg_ray.data.tables import read_tables
from stg_ray.errors import InputError, one_line
from stg_ray.tasks import TaskSet
from stg_ray.tasks.settings import current_settings
from stg_ray.tasks.splitting import SPLIT_NAMES

if TYPE_CHECKING:
    from stg_ray.config.tables import HuggingFaceConfig


def read_hugging_face(config: HuggingFaceConfig, root: Path, seed: int, image_size: int | None = None) -> TaskSet:
    """Read the task set of a data set, a batch of rows at a time.

    Names of classes are those of the data set's `ClassLabel` features.

    Args:
        config: the folder or the name, and the columns that are inputs and labels.
        root: the data root, in which relative paths are looked up too.
        seed: seed of the split, where the data set has one part.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Raises:
        InputError: no such folder or data set, one of another kind, a split of another name, and as `read_tables`.
    """
    place = Path(config.name or looked_up(config.folder or "", root))
    parts = _saved(place, config, root) if config.name is None else loaded_splits(config, root)
    splits = _splits(place, list(parts), config)
    files = [
        TableFile(file.path, _with_class_names(file.schema, config), file.n_rows, file.batches, split=split)
        for split, name in splits.items()
        for file in parts[name]
    ]
    if config.split is not None and files[0].split is not None:
        raise InputError(
            f"the splits of {place} are given twice: by its own and by data.hugging_face.split; leave the latter out, "
            "or name one of its splits: data.hugging_face.splits={train: train}"
        )
    return read_tables(config, "data.hugging_face", files, seed, image_size)


def _splits(place: Path, names: Sequence[str | None], config: HuggingFaceConfig) -> dict[str | None, str | None]:
    """Return the names of a data set's splits by ours; a single one is to be split by seed."""
    shown = ", ".join(map(str, names))
    if not config.splits and None in names:
        return {None: None}
    splits: dict[str | None, str | None] = dict(config.splits.items())
    if strange := [name for name in splits.values() if name not in names]:
        found = "one part and no splits" if None in names else f"the splits {shown}"
        raise InputError(f"data.hugging_face.splits: no split {strange[0]!r}: {place} has {found}")
    say = f"say which to use: data.hugging_face.splits={{train: NAME, test: NAME}} ({place} has {shown})"
    for name in names if not config.splits else ():
        own = SPLIT_NAMES.get(str(name).lower())
        if own is None or own in splits:
            beside = "" if own is None else f" beside {splits[own]!r}"
            raise InputError(f"{place} has the split {name!r}{beside}: expected {', '.join(SPLIT_NAMES)}; {say}")
        splits[own] = name
    if list(splits) == ["train"]:
        return {None: splits["train"]}
    if not {"train", "test"} <= set(splits) and not current_settings().makes_split:
        raise InputError(f"{place} has no split for {'training' if 'train' not in splits else 'tests'}: {say}")
    return splits


def _saved(folder: Path, config: HuggingFaceConfig, root: Path) -> dict[str | None, list[TableFile]]:
    """Return the files of a folder that `save_to_disk` wrote, by split; by None where it has none."""
    if not folder.is_dir():
        refuse_missing("data.hugging_face", config.folder or "", root, "folder")
    if not (folder / "dataset_dict.json").is_file():
        return {None: _stream_files(folder)}
    names = _json(folder / "dataset_dict.json")["splits"]
    used = set(config.splits.values()) or set(names)
    return {name: _stream_files(folder / name) if name in used else [] for name in names}


def _stream_files(folder: Path) -> list[TableFile]:
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
    return [_table_file(folder / file["filename"]) for file in state["_data_files"]]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {one_line(error)}") from error


def _table_file(path: Path) -> TableFile:
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

    return TableFile(path, schema, n_rows, batches)


def _with_class_names(schema: pa.Schema, config: HuggingFaceConfig) -> pa.Schema:
    """Return the schema with the names of classes where `read_tables` looks for them."""
    metadata = dict(schema.metadata or {})
    for key, column in ((b"class_names", config.classes), (b"coarse_names", config.groups)):
        if column is not None and (names := names_of_labels(schema, column)):
            metadata[key] = json.dumps(names).encode()
    return schema.with_metadata(metadata)
