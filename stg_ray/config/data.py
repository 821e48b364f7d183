"""The section of a configuration about data: the source of the task set."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stg_ray.config.fingerprints import since
from stg_ray.config.methods import DATA_FUNCTIONS
from stg_ray.config.paths import expanded
from stg_ray.config.plain_values import check_plain
from stg_ray.config.presets import PRESETS
from stg_ray.config.section import Section as Section
from stg_ray.config.tables import (
    ArffConfig,
    CsvConfig,
    HuggingFaceConfig,
    LibsvmConfig,
    NpyConfig,
    ParquetConfig,
    first_of,
    looked_up,
)
from stg_ray.config.tables import ClassTasks as ClassTasks
from stg_ray.errors import unknown
from stg_ray.imports import python_name

LARGEST_COUNT = 10**12
"""Nobody has more rows, epochs or coordinates, and products of two such numbers fit into floating point."""

Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
NotNegative = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Auto = Literal["auto"]
SOURCES = ("preset", "parquet", "csv", "arff", "libsvm", "hugging_face", "images", "npz", "npy", "function", "join")
"""Keys of the `data` section of which a file gives exactly one."""


class ImageFolderConfig(Section):
    """A folder of images: CLASS/IMAGE, or SPLIT/CLASS/IMAGE with the splits train, val and test."""

    folder: str
    """Path of the folder, looked up in the current directory and in the data root."""
    class_tasks: Literal["one_vs_rest", "multiclass"] = "one_vs_rest"
    """Tasks made from the classes: one_vs_rest, one for each class; multiclass, one for all (to be joined with other
    sets)."""


class TaskConfig(Section):
    """Facts about a task that override what its labels suggest."""

    kind: Literal["binary", "multiclass", "regression"] | None = None
    """Kind of the task; by default it is told from the labels."""
    missing: list[int | float | str] | None = None
    """Values that mark missing labels; an empty list where no value does. By default a lone -1 beside classes does."""


class DataConfig(Section):
    """The source of the task set: exactly one of a preset, files of tables (Parquet, CSV, ARFF, LIBSVM, Hugging Face),
    a folder of images, files of arrays, a function, or several of these joined."""

    preset: str | None = None
    """Name of a preset; `stg-ray presets` lists them."""
    parquet: ParquetConfig | None = None
    """Parquet files, and the columns that are inputs and labels."""
    csv: Annotated[CsvConfig | None, since("0.2")] = None
    """CSV or TSV files, and the columns that are inputs and labels."""
    arff: Annotated[ArffConfig | None, since("0.2")] = None
    """ARFF files with many labels, as Mulan and MEKA have them."""
    libsvm: Annotated[LibsvmConfig | None, since("0.2")] = None
    """Files in LIBSVM's multi-label format."""
    hugging_face: Annotated[HuggingFaceConfig | None, since("0.2")] = None
    """A data set of Hugging Face's `datasets`, saved on disk or by name, and the columns that are inputs and labels."""
    images: ImageFolderConfig | None = None
    """Folder of images, with a folder for each class."""
    npz: str | None = None
    """File with the arrays `inputs` (N, ...), `labels` (N, K) and optionally `names`, `kinds`, `groups`, `split`."""
    npy: Annotated[NpyConfig | None, since("0.2")] = None
    """Files of arrays, .npy or sparse matrices in .npz, of the inputs and of the labels."""
    function: str | None = None
    """Name of a function that returns a TaskSet, as `module:function`, whose module may be in the current directory, or
    as an installed package offers it."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of `function`."""
    task_set: Annotated[str | None, since("0.2")] = None
    """Digest of a TaskSet that was given to `sr.run` in Python, which sets it; the run directory holds its parts."""
    join: list[DataConfig] = []
    """Sets that are joined to one, their tasks named SET/TASK; `data: [a, b]` is short for `data: {join: [a, b]}`."""
    name: str | None = None
    """Name of a set among those that are joined; by default its preset, or the name of its file, folder or function."""
    root: str | None = None
    """Data root: the folder of the presets' data, in which relative paths are looked up too; by default $STG_RAY_DATA,
    else ~/.cache/stg_ray."""
    image_size: Count | None = None
    """Side in pixels of the square to which encoded images are cropped at their centre and scaled; by default that of
    the preset if it has one, else images stay as they are."""
    normalize: Annotated[Literal["auto", "none", "standard"], since("0.2")] = "auto"
    """Inputs of the trunk: standard, (x - mean) / std of the training rows, per channel of images, else per feature;
    none, as they are; auto: standard, but as they are, in int64, where all inputs are whole numbers and a trunk of
    yours looks them up (nn.Embedding, one_hot, .long()), and, where all features are 0 or 1, with one std for all of
    them (a linear trunk takes those as they are), so that rare ones are not stretched."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in a task's loss; balanced: every class has the same share, however rare it is."""
    limit: Count | None = None
    """Largest number of training rows, drawn by seed; validation and test rows stay. By default all are kept."""
    tasks: Annotated[dict[str, TaskConfig], since("0.2")] = {}
    """Facts about tasks, by name or pattern such as `y_*`: their kind, and the values that mark missing labels."""
    constant_tasks: Literal["refuse", "drop", "unscored"] = "refuse"
    """Treatment of tasks with a single label in the training or test rows, or with fewer than `min_positives`: the run
    is refused; they are dropped by name; or those that can be learned are trained and not scored (unscored)."""
    min_positives: Annotated[Count | dict[Literal["train", "val", "test"], NotNegative], since("0.2")] = 1
    """Labels of a task beside its most frequent one, such as the positives of a rare label, that it needs in the
    training and in the test rows, or in each split: `{test: 10}`. One: two values occur in both."""
    split: Annotated[Literal["given", "stratified"], since("0.2")] = "given"
    """The split of the rows: the one that the data has, if any; or a new one by seed, stratified for rare labels."""
    part_rows: Count | Auto = "auto"
    """Number of training rows of a part; auto: 16, 32, 64, ... parts, as many as have 1,024 rows, or 8,192 of many
    tasks. A profile has no more workers than parts, and the affinities no more actors."""

    @property
    def rows_of_a_part(self) -> int | None:
        """Training rows of a part; None for auto."""
        return None if self.part_rows == "auto" else self.part_rows

    @field_validator("function", mode="before")
    @classmethod
    def _function_by_name(cls, function: Any) -> Any:
        return DATA_FUNCTIONS.place_of(python_name(function, "data.function"))

    @field_validator("arguments")
    @classmethod
    def _plain_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        check_plain(arguments)
        return arguments

    @field_validator("join", mode="before")
    @classmethod
    def _presets_by_name(cls, join: Any) -> Any:
        return (
            [{"preset": part} if isinstance(part, str) else part for part in join] if isinstance(join, list) else join
        )

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        given = [key for key in (*SOURCES, "task_set") if getattr(self, key) not in (None, [])]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(SOURCES)}; found {', '.join(given) or 'none'}")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(unknown(self.preset, PRESETS, "preset"))
        if self.arguments and self.function is None:
            raise ValueError("arguments belong to a function, and there is none")
        tables = (self.parquet, self.csv, self.hugging_face)
        encoded = self.images is not None or any(table and table.image for table in tables)
        if (
            self.image_size is not None
            and not encoded
            and "image_size" not in PRESETS[self.preset or "digits"].arguments
        ):
            raise ValueError(f"image_size is for encoded images, and there are none in this {given[0]}")
        if any(part.task_set for part in self.join):
            raise ValueError("a task set that was given in Python cannot be joined: join the arrays")
        if self.tasks and (self.join or self.task_set):
            where = "TaskSet.from_arrays" if self.task_set else "each of the joined sets"
            raise ValueError(f"tasks (kinds and missing values) belong to {where}")
        if any(part.normalize != "auto" for part in self.join):
            raise ValueError("the inputs of joined sets are normalised together: give normalize beside join")
        if any(part.join for part in self.join):
            raise ValueError("joined sets cannot be joined again: name them in one list")
        if len(self.joined()) < len(self.join):
            raise ValueError("joined sets need distinct names: give each a name of its own (name: ...)")
        return self

    def joined(self) -> dict[str, DataConfig]:
        """Return the sets that are joined, by name, with the data root of this one unless they have one."""
        return {part.set_name: part.model_copy(update={"root": part.root or self.root}) for part in self.join}

    @property
    def side_of_images(self) -> int | None:
        """Side in pixels to which encoded images are scaled, here or in a joined set; None: they stay as they are."""
        of_preset = PRESETS[self.preset].arguments.get("image_size") if self.preset else None
        sides = [self.image_size or of_preset, *(part.side_of_images for part in self.join)]
        return next(filter(None, sides), None)

    @property
    def set_name(self) -> str:
        """Name of this set among those that are joined."""
        if self.name is not None:
            return self.name
        for table in (self.parquet, self.csv, self.arff, self.libsvm):
            if table is not None:
                return PurePath(first_of(table.files)).stem.rstrip("-_*")
        folder = self.images.folder if self.images else None
        if self.hugging_face is not None:
            folder = self.hugging_face.folder or self.hugging_face.name
        file = self.npy.inputs if self.npy else self.npz
        source = self.preset or folder or file or self.function or "joined"
        return PurePath(source).stem


def data_root(config: DataConfig) -> Path:
    """Return the folder of the data: `data.root`, else $STG_RAY_DATA, else ~/.cache/stg_ray.

    Raises:
        InputError: it is in the home folder of a user that there is not.
    """
    if root := config.root or os.environ.get("STG_RAY_DATA"):
        return expanded(root)
    try:
        return Path("~/.cache/stg_ray").expanduser()
    except RuntimeError:  # a user without a home folder
        return Path(tempfile.gettempdir()) / "stg_ray"


def npz_path(config: DataConfig) -> Path:
    """Return the path of `data.npz`: as it is given, or in the data root where no file is there."""
    return looked_up(config.npz or "", data_root(config))
