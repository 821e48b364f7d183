"""The `data` section of a configuration: where the task set comes from."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stg_ray.config.fingerprints import since
from stg_ray.config.presets import PRESETS
from stg_ray.errors import unknown

Count = Annotated[int, Field(ge=1)]
Auto = Literal["auto"]
ClassTasks = Literal["one_vs_rest", "multiclass", "by_group"]
"""What a column of classes becomes: a task for each, one multi-class task, or one for each super-class."""


SOURCES = ("preset", "parquet", "images", "npz", "function", "join")
"""Keys of the `data` section of which a file gives exactly one."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParquetConfig(Section):
    """Which columns of Parquet files are inputs, and which are labels."""

    files: str | list[str]
    """Paths or glob patterns, looked for here and in the data root."""
    features: list[str] = []
    """Columns of numbers, as patterns such as `x_*`; or else `image` or `bits`."""
    image: str | None = None
    """Column of encoded images, all of one size."""
    bits: str | None = None
    """Column of packed bits, the lowest first."""
    labels: list[str] = []
    """One column per task, as patterns such as `y_*`, null where a label is missing; or else `classes`."""
    classes: str | None = None
    """Column of classes."""
    class_tasks: ClassTasks = "one_vs_rest"
    """What classes become: one task each, one multi-class task, or one multi-class task per super-class."""
    groups: str | None = None
    """Column of super-classes: the known grouping of the classes."""
    split: str | None = None
    """Column with train, val, test; made by seed if not given."""

    @model_validator(mode="after")
    def _one_of_each(self) -> ParquetConfig:
        for keys in (("features", "image", "bits"), ("labels", "classes")):
            given = [key for key in keys if getattr(self, key)]
            if len(given) != 1:
                raise ValueError(f"expected exactly one of {', '.join(keys)}; found {', '.join(given) or 'none'}")
        if self.groups is not None and self.classes is None:
            raise ValueError("groups are the super-classes of classes, and there are none")
        return self


class ImageFolderConfig(Section):
    """A folder of images: CLASS/IMAGE, or SPLIT/CLASS/IMAGE with the splits train, val and test."""

    folder: str
    """Looked for here and in the data root."""
    class_tasks: Literal["one_vs_rest", "multiclass"] = "one_vs_rest"
    """What classes become: one task each, or one multi-class task (to be joined with others)."""


class DataConfig(Section):
    """Where the task set comes from: a preset, Parquet files, a folder of images, an .npz file, a function of yours, or
    several of these joined (exactly one)."""

    preset: str | None = None
    parquet: ParquetConfig | None = None
    images: ImageFolderConfig | None = None
    npz: str | None = None
    """File with arrays `inputs` (N, ...), `labels` (N, K) and optionally `names`, `kinds`, `groups`, `split`."""
    function: str | None = None
    """`module:function` that returns a TaskSet; the module is looked for in the current directory too."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of `function`."""
    task_set: Annotated[str | None, since("0.2")] = None
    """Digest of a TaskSet that was given to `sr.run` in Python, which sets it; the run directory holds its parts."""
    join: list[DataConfig] = []
    """Several sets as one, their tasks named SET/TASK; `data: [a, b]` is short for `data: {join: [a, b]}`."""
    name: str | None = None
    """Name of a set among those that are joined; by default its preset, or the name of its file, folder or function."""
    root: str | None = None
    """Folder of the data; $STG_RAY_DATA, else ~/.cache/stg_ray, if not given. A relative `npz` is looked for in it."""
    image_size: Count | None = None
    """Encoded images are cropped at their centre to a square and scaled to this size; as they are, if not given."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: every class of a task has the same part in its loss, however rare it is."""
    limit: Count | None = None
    """Training rows at most (drawn by seed); validation and test rows stay."""
    constant_tasks: Literal["refuse", "drop"] = "refuse"
    part_rows: Count | Auto = "auto"
    """Training rows of a part; auto makes 16 parts, more where a part would exceed 8192 rows."""

    @property
    def rows_of_a_part(self) -> int | None:
        return None if self.part_rows == "auto" else self.part_rows

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
        encoded = self.images is not None or (self.parquet is not None and self.parquet.image is not None)
        if (
            self.image_size is not None
            and not encoded
            and "image_size" not in PRESETS[self.preset or "digits"].arguments
        ):
            raise ValueError(f"image_size is for encoded images, and there are none in this {given[0]}")
        if any(part.task_set for part in self.join):
            raise ValueError("a task set that was given in Python cannot be joined: join the arrays")
        if any(part.join for part in self.join):
            raise ValueError("joined sets cannot be joined again: name them in one list")
        if len(self.joined()) < len(self.join):
            raise ValueError("joined sets need distinct names: give each a name of its own (name: ...)")
        return self

    def joined(self) -> dict[str, DataConfig]:
        """The sets that are joined, by name; they look for their files where this one does."""
        return {part.set_name: part.model_copy(update={"root": part.root or self.root}) for part in self.join}

    @property
    def set_name(self) -> str:
        if self.name is not None:
            return self.name
        if self.parquet is not None:
            files = self.parquet.files
            return PurePath(files if isinstance(files, str) else files[0]).stem.rstrip("-_*")
        source = self.preset or (self.images.folder if self.images else self.npz) or self.function or "joined"
        return PurePath(source).stem


def data_root(config: DataConfig) -> Path:
    """Folder of the data: `data.root`, else $STG_RAY_DATA, else ~/.cache/stg_ray."""
    return Path(config.root or os.environ.get("STG_RAY_DATA") or "~/.cache/stg_ray").expanduser()


def npz_path(config: DataConfig) -> Path:
    path = Path(config.npz or "").expanduser()
    return path if path.is_absolute() or path.exists() else data_root(config) / path
