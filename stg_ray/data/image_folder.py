"""Task sets from folders of images, with a folder for each class.

Folders are splits where all of them are called so (`SPLIT_NAMES`, in any case), else classes. Hidden files and folders,
whose names begin with a dot, and those of systems are left out, as is what is no image.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stg_ray.config.paths import IMAGE_SUFFIXES, expanded, is_hidden, leads_back
from stg_ray.config.tables import refuse_missing
from stg_ray.data.classes import class_tasks
from stg_ray.data.copies import copies_of, leaks
from stg_ray.data.images import common_mode, decode_all
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from stg_ray.tasks.notes import DataWarning
from stg_ray.tasks.settings import current_settings
from stg_ray.tasks.splitting import SPLIT_NAMES, SPLITS

if TYPE_CHECKING:
    from stg_ray.config.data import ImageFolderConfig

Sample = tuple[Path, int]
"""The path of an image, and the number of its class."""


def read_image_folder(config: ImageFolderConfig, root: Path, seed: int, image_size: int | None = None) -> TaskSet:
    """Read the task set of `folder`/CLASS/IMAGE, or of `folder`/SPLIT/CLASS/IMAGE with the splits train, val and test.

    Args:
        config: the folder, and the tasks to make from its classes.
        root: the data root, in which a relative folder is looked up too.
        seed: seed of the split, where there are no folders of splits.
        image_size: side in pixels to which images are cropped and scaled; by default they stay as they are.

    Warns:
        DataWarning: files were left out, with their number by suffix.

    Raises:
        InputError: no such folder, a class without images, an image that cannot be decoded, images of several shapes,
            splits of different classes, or folders that may be splits or classes.
    """
    folder = next((f for f in (expanded(config.folder), root / config.folder) if f.is_dir()), None)
    if folder is None:
        refuse_missing("data.images.folder", config.folder, root, "folder")
    ignored: Counter[str] = Counter()
    splits = _splits_of(folder)
    by_split = {split: _classes_of(path, ignored) for split, path in splits.items()}
    if ignored:
        shown = ", ".join(f"{count:,} {suffix}" for suffix, count in ignored.most_common(5))
        warnings.warn(
            f"{folder}: {ignored.total():,} files are left out ({shown}): expected {', '.join(IMAGE_SUFFIXES)}",
            DataWarning,
            stacklevel=2,
        )
    first, (names, _) = next(iter(by_split.items()))
    for split, (other, _) in by_split.items():
        if other != names:
            strange = sorted(set(names) ^ set(other))
            raise InputError(
                f"{folder}: {splits[split].name} and {splits[first].name} have different classes, such as "
                f"{strange[0]!r}"
            )
    samples = [sample for _, in_split in by_split.values() for sample in in_split]
    paths = [path for path, _ in samples]
    classes = np.array([c for _, c in samples], dtype=np.int32)
    split_of = [split for split, (_, in_split) in by_split.items() for _ in in_split] if len(by_split) > 1 else None
    in_splits = {split: [path for path, _ in by_split[split][1]] for split in ("", *SPLITS) if split in by_split}
    with suppress(OSError):  # what cannot be read is named when it is decoded
        _check_copies(folder, in_splits)
    images = decode_all(paths, lambda i: f"the image {paths[i]}", image_size, common_mode(paths))
    tasks = class_tasks(classes, names, tasks=config.class_tasks)
    return TaskSet.from_arrays(images, **tasks, split=split_of, seed=seed)


def _splits_of(folder: Path) -> dict[str, Path]:
    """Return the folder of each split; one folder, whatever its key, where the rows are to be split by seed.

    Raises:
        InputError: folders of splits without one for training or testing, two for one split, or beside other folders.
    """
    inside = _visible_folders(folder)
    known = [path for path in inside if path.name.lower() in SPLIT_NAMES]
    splits: dict[str, Path] = {}
    for path in known:
        split = SPLIT_NAMES[path.name.lower()]
        if split in splits:
            raise InputError(f"{folder}: {splits[split].name!r} and {path.name!r} are both {split}: keep one of them")
        splits[split] = path
    shown = " and ".join(path.name for path in known)
    if len(splits) > 1 and len(known) < len(inside):
        other = next(path.name for path in inside if path not in known)
        raise InputError(
            f"{folder}: are {shown} splits or classes? There is {other!r} beside them: move it away if they are "
            "splits, or give them other names if they are classes"
        )
    if not splits or len(known) < len(inside):
        return {"": folder}
    if len(splits) == 1:
        holds_folders = bool(_visible_folders(known[0]))
        return {"": known[0] if holds_folders else folder}
    if not {"train", "test"} <= set(splits) and not current_settings().makes_split:
        missing = "train" if "train" not in splits else "test"
        way = "" if missing == "train" else " (if val is what to measure on: validation rows then come from train)"
        raise InputError(
            f"{folder} has the splits {shown}, but no {missing}: add a folder {missing}, or give one of these that "
            f"name{way}; data.split=stratified splits all rows by seed"
        )
    return splits


def _visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def _classes_of(folder: Path, ignored: Counter[str]) -> tuple[list[str], list[Sample]]:
    """Return the names of the classes, and the path and class of each image.

    Args:
        folder: of folders of classes.
        ignored: to which files that are left out are added, by suffix.
    """
    classes = _visible_folders(folder)
    for path in classes:
        _check_link(path)
    if not classes:
        if any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()):
            raise InputError(
                f"{folder} is no folder of classes: it holds images. Expected a folder of images for each class; where "
                "a table has the labels, use data.csv (or parquet) with image: COLUMN, whose cells are paths of images"
            )
        raise InputError(f"{folder} is no folder of classes: expected a folder of images for each class")
    samples: list[Sample] = []
    for number, path in enumerate(classes):
        before = len(samples)
        for image in _files_below(path):
            if image.suffix.lower() in IMAGE_SUFFIXES:
                samples.append((image, number))
            else:
                ignored[image.suffix.lower() or image.name] += 1
        if len(samples) == before:
            raise InputError(
                f"{folder} is no folder of classes: no image is in {path.name!r} (expected {', '.join(IMAGE_SUFFIXES)})"
            )
    return [path.name for path in classes], samples


def _check_copies(folder: Path, paths: dict[str, list[Path]]) -> None:
    """Refuse a split whose images are all in another one, and warn of single ones: test rows would be trained on.

    Args:
        folder: for messages.
        paths: of the images, by split; by no name where they are to be split by seed.

    Raises:
        InputError: a split is a copy of another, or of a part of it.
    """
    if len(paths) == 1 and (of_one := list(copies_of(next(iter(paths.values()))).items())):
        image, like = of_one[0]
        warnings.warn(
            f"{folder}: {len(of_one):,} images are copies of others, such as {image} of {like}: one may be trained on "
            "and the other tested",
            DataWarning,
            stacklevel=3,
        )
    for (split, other), copies in leaks(paths).items():
        image, like = copies[0]
        if len(copies) == len(paths[split]) or len({path for _, path in copies}) == len(paths[other]):
            whole, of = (split, other) if len(copies) == len(paths[split]) else (other, split)
            raise InputError(
                f"{folder}: all images of {whole} are in {of} too, such as {image} and {like}: splits must share "
                "no rows"
            )
        warnings.warn(
            f"{folder}: {len(copies):,} images of {split} are in {other} too, such as {image} and {like}: scores on "
            "them tell nothing of new images",
            DataWarning,
            stacklevel=3,
        )


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder, and through those that links in it lead to."""
    for place, folders, names in os.walk(folder, followlinks=True):
        for name in folders:
            _check_link(Path(place, name))
        yield place, folders, names


def _check_link(path: Path) -> None:
    """Refuse a link that leads back to a folder that it is in, and so around for ever.

    Raises:
        InputError: it does.
    """
    if leads_back(path):
        raise InputError(f"{path} is a link to {path.resolve()}, in which it is itself: remove it")


def _files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and in the folders below it, without hidden ones, in a fixed order."""
    found: list[Path] = []
    for place, _, names in sorted(_walk(folder)):
        if not any(is_hidden(step) for step in Path(place).relative_to(folder).parts):
            found += [Path(place, name) for name in sorted(names) if not is_hidden(name)]
    return found
