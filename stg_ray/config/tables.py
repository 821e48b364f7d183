"""The sections of a configuration about files of tables and arrays, and about which columns are inputs and labels."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, field_validator, model_validator

from stg_ray.config.fingerprints import since
from stg_ray.config.paths import expanded
from stg_ray.config.section import Section
from stg_ray.errors import InputError, NotHere

ClassTasks = Literal["one_vs_rest", "multiclass", "by_group"]
"""Tasks made from a column of classes: one for each class, one multi-class task, or one for each super-class."""

SplitName = Literal["train", "val", "test"]

Files = str | list[str] | dict[SplitName, str | list[str]]
"""Paths or glob patterns of files; or these for each split, such as `{train: a.csv, test: b.csv}`."""

Separator = Annotated[str, Field(min_length=1)]


class ColumnsConfig(Section):
    """Roles of a table's columns."""

    features: list[str] = []
    """Columns of numbers that are the inputs, as names or patterns such as `x_*`; `!id` after a pattern leaves a
    column out. A pattern leaves out the columns that are named as labels, classes, groups or split."""
    image: str | None = None
    """Column of images that are the inputs: encoded (JPEG, PNG, ...), or paths from the folder of the table's file or
    from the current directory. They have one size unless `data.image_size` is given."""
    labels: list[str] = []
    """Columns of labels, one per task, as names or patterns such as `y_*`, null where a label is missing; or else
    `classes`. A column of lists of label names becomes one binary task per label."""
    separator: Annotated[Separator | dict[str, Separator] | None, since("0.2")] = None
    """Separator of the label names in text, `a;b` with `;`: every column of text that holds it becomes one binary task
    per label. Or separators of columns by name. By default a text is one class."""
    empty: Annotated[Literal["none", "missing"] | None, since("0.2")] = None
    """Meaning of rows that list no label (empty or null), of columns that list labels: they have none of the labels,
    or these are missing. By default empty lists are none and nulls beside them missing, and all else is asked."""
    classes: str | None = None
    """Column of classes from which the tasks are made."""
    class_tasks: ClassTasks = "one_vs_rest"
    """Tasks made from the classes: one_vs_rest, one for each class; multiclass, one for all; by_group, one multi-class
    task for each super-class."""
    groups: str | None = None
    """Column of super-classes, which are the known groups of the classes."""
    split: str | None = None
    """Column of splits: train, val or test; by default rows are split by seed."""

    @field_validator("features", "labels", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_each(self) -> ColumnsConfig:
        inputs = [key for key in ("features", "image", "bits") if key in type(self).model_fields]
        all_columns, some = 'features: ["*"], which are all columns but those of labels', 'labels: ["y_*"]'
        for keys, example in ((inputs, all_columns), (["labels", "classes"], some)):
            given = [key for key in keys if getattr(self, key)]
            if len(given) != 1:
                found = ", ".join(given) or f"none (for example {example})"
                raise ValueError(f"expected exactly one of {', '.join(keys)}; found {found}")
        if self.groups is not None and self.classes is None:
            raise ValueError("groups are the super-classes of classes, and there are none")
        if self.split is not None and isinstance(getattr(self, "files", None), dict):
            raise ValueError("the splits are given twice: by the files and by a column")
        return self


class ParquetConfig(ColumnsConfig):
    """Parquet files, with the columns that are inputs and those that are labels."""

    files: Files
    """Paths or glob patterns of the files, or of directories of files, also partitioned ones (`split=train/...`);
    looked up in the current directory and in the data root. Or these for each split: `{train: a, test: b}`."""
    bits: str | None = None
    """Column of packed bits that are the inputs, the lowest bit first."""


class CsvConfig(ColumnsConfig):
    """CSV or TSV files with a header, with the columns that are inputs and those that are labels."""

    files: Files
    """Paths or glob patterns of the files, also compressed (.gz, ...), looked up in the current directory and in the
    data root. Or these for each split: `{train: a.csv, test: b.csv}`."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between cells; by default the comma, semicolon, tab or vertical bar that the header has most of."""
    decimal: Literal[".", ","] = "."
    """Decimal point of the numbers."""
    encoding: str = "utf-8"
    """Encoding of the text, such as utf-8, latin-1 or utf-16."""


class ArffConfig(Section):
    """ARFF files, as Mulan and MEKA have them: a data set of many labels, dense or sparse."""

    files: Files
    """Paths or glob patterns of the files, looked up in the current directory and in the data root. Or these for each
    split: `{train: a-train.arff, test: a-test.arff}`."""
    xml: str | None = None
    """Mulan's XML file of label names; by default the one named like the file, if it is there."""
    labels: list[str] = []
    """Attributes that are labels, as names or patterns, instead of an XML file."""
    features: list[str] = ["*"]
    """Attributes that are inputs, as names or patterns; by default all that are no labels."""

    @field_validator("features", "labels", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class LibsvmConfig(Section):
    """Files in LIBSVM's (SVMlight's) multi-label format: `1,4 3:0.5 7:1` has the labels 1 and 4."""

    files: Files
    """Paths or glob patterns of the files, looked up in the current directory and in the data root. Or these for each
    split: `{train: a.svm, test: b.svm}`."""


class HuggingFaceConfig(ColumnsConfig):
    """A data set of Hugging Face's `datasets`, in a folder of `save_to_disk` or by name; its splits are taken."""

    folder: str | None = None
    """Folder of the data set, looked up in the current directory and in the data root."""
    name: Annotated[str | None, since("0.2")] = None
    """Name of a data set on the Hub, `owner/set`, or a folder of files that `datasets.load_dataset` takes; needs
    `pip install 'stg_ray[hf]'`. No code of a data set is ever run."""
    config: Annotated[str | None, since("0.2")] = None
    """Configuration (the Hub says subset) of the data set of this name, where it has several."""
    revision: Annotated[str | None, since("0.2")] = None
    """Commit, tag or branch of the data set of this name; by default its newest state."""
    splits: Annotated[dict[SplitName, str], since("0.2")] = {}
    """Splits of the data set that are used, such as `{train: train, test: validation}`; by default all, by their names.
    With train alone, its rows are split by seed."""

    @model_validator(mode="after")
    def _one_place(self) -> HuggingFaceConfig:
        if (self.folder is None) == (self.name is None):
            raise ValueError("expected exactly one of folder (of save_to_disk), name (owner/set)")
        for key in ("config", "revision"):
            if self.name is None and getattr(self, key) is not None:
                raise ValueError(f"{key} belongs to a data set by name, and this is a folder")
        if self.split is not None and self.splits:
            raise ValueError("the splits are given twice: by splits and by a column")
        if self.splits and "train" not in self.splits:
            raise ValueError(
                "splits name no train: expected one for training, such as {train: train, test: validation}"
            )
        return self


class NpyConfig(Section):
    """Arrays in files of their own: .npy, or .npz as scipy.sparse.save_npz writes one sparse matrix."""

    inputs: str
    """File of the inputs (N, ...), looked up in the current directory and in the data root."""
    labels: str
    """File of the labels (N, K); -1 (integers) or NaN where a label is missing."""
    names: list[str] | None = None
    """Names of the K tasks."""
    split: str | None = None
    """File of N entries: train, val or test; by default rows are split by seed."""


def first_of(files: Files) -> str:
    """Return the first of some paths or patterns."""
    if isinstance(files, dict):
        return first_of(next(iter(files.values()), ""))
    return files if isinstance(files, str) else next(iter(files), "")


def looked_up(name: str, root: Path) -> Path:
    """Return a path as it is given, or in the data root where nothing is there."""
    path = expanded(name)
    return path if path.is_absolute() or path.exists() else root / path


def refuse_missing(key: str, name: str, root: Path, what: str = "file") -> NoReturn:
    """Refuse a path that names nothing.

    Nothing is looked up in the folder of the configuration file: a run is resumed from a copy, which lies elsewhere.

    Raises:
        InputError: it says where the path was looked up.
    """
    variables = "; variables of the shell stay as they are, and ~ is the home folder" if "$" in name else ""
    if expanded(name).is_absolute():
        raise InputError(f"{key}: no {what} {name!r}: check the path")
    raise NotHere(
        f"{key}: no {what} {name!r} here nor in the data root {root}; here is {Path.cwd()}, wherever the configuration "
        f"file lies{variables}",
        name,
    )


def named_files(files: Files, root: Path) -> list[Path]:
    """Return the files and directories that paths and patterns name, where they are there."""
    patterns = list(files.values()) if isinstance(files, dict) else [files]
    names = [name for own in patterns for name in ([own] if isinstance(own, str) else own)]
    return [path for name in names for path in matching_paths(name, root) or []]


def matching_paths(pattern: str, root: Path) -> list[Path] | None:
    """Return what a path or pattern names in the current directory, else in the data root; None if that is nothing."""
    for candidate in (expanded(pattern), root / pattern):
        if matches := sorted(glob.glob(str(candidate))):
            return list(map(Path, matches))
        if candidate.exists():  # a name may have the characters of a pattern: a[1].csv
            return [candidate]
    return None
