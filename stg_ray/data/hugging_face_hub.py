"""Data sets by name, which Hugging Face's `datasets` downloads or finds in its cache: the extra `hf`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stg_ray.config.tables import looked_up
from stg_ray.data.columns import TableFile
from stg_ray.errors import InputError, one_line

if TYPE_CHECKING:
    from stg_ray.config.tables import HuggingFaceConfig

BATCH_ROWS = 4096


def loaded_splits(config: HuggingFaceConfig, root: Path) -> dict[str | None, list[TableFile]]:
    """Load a data set by name and return its rows by split, which stay in the library's cache of Arrow files.

    Code that comes with a data set is never run: `datasets` from version 4 on, which the extra asks for, has no way to.

    Args:
        config: the name, and perhaps a configuration and a revision.
        root: the data root, in which a folder of files is looked up too.

    Raises:
        InputError: the library is not installed, or does not get at the data set.
    """
    name = str(config.name)
    folder = looked_up(name, root)
    if not folder.is_dir() and name.count("/") != 1:  # the library takes "csv" for a format
        raise InputError(
            f"data.hugging_face.name: {name!r} is no folder and no name on the Hub: expected owner/set, as in its "
            "address huggingface.co/datasets/owner/set"
        )
    if folder.is_dir() and any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
        raise InputError(
            f"data.hugging_face.name: {folder} was written by save_to_disk: give it as folder, not as name"
        )
    if importlib.util.find_spec("datasets") is None:
        raise InputError(
            "data.hugging_face.name needs the package datasets: pip install 'stg_ray[hf]' (a folder that save_to_disk "
            "wrote does not need it: data.hugging_face.folder)"
        )
    splits = _loaded(str(folder.absolute()) if folder.is_dir() else name, config)
    return {split: [_table_file(Path(name) / split, dataset)] for split, dataset in splits.items()}


def _loaded(name: str, config: HuggingFaceConfig) -> dict[str, Any]:
    """Return the data set's splits, as the library has them."""
    import datasets  # seconds of imports that no other source needs

    try:
        return dict(datasets.load_dataset(name, config.config, revision=config.revision))
    except ConnectionError as error:
        raise InputError(
            f"data.hugging_face.name: {name!r} is not in the cache, and the Hub cannot be reached ({one_line(error)}): "
            "load it once with a network, or copy what save_to_disk wrote and give data.hugging_face.folder"
        ) from error
    except Exception as error:  # the library's own, those of its downloads and of the readers of each format
        cause = error.__cause__ or error
        raise InputError(f"data.hugging_face.name: {name!r} cannot be loaded: {one_line(cause)}") from error


def _table_file(path: Path, dataset: Any) -> TableFile:
    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for table in dataset.select_columns(list(columns)).with_format("arrow").iter(BATCH_ROWS):
            yield from table.combine_chunks().to_batches()

    return TableFile(path, dataset.features.arrow_schema, len(dataset), batches)
