"""Omniglot (Lake, Salakhutdinov and Tenenbaum 2015) as fifty tasks, one for each alphabet: which character is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stg_ray.data.images import decode_all
from stg_ray.data.torchvision_sets import open_set
from stg_ray.errors import InputError
from stg_ray.tasks import MISSING, TaskSet

N_TRAINING_DRAWERS = 15
SIZE = 28


def omniglot(root: Path, seed: int) -> TaskSet:
    """Load fifty multi-class tasks that share no images, scaled to 28x28.

    Twenty people drew every character; the drawings of the first fifteen are for training, the others for tests. The
    images come from omniglot/omniglot28.npz in the data root, else from torchvision.

    Raises:
        InputError: the file is damaged, or torchvision cannot download the images.
    """
    file = root / "omniglot" / "omniglot28.npz"
    images, alphabets, characters, names, is_train = _from_npz(file) if file.is_file() else _from_torchvision(root)
    labels = np.full((len(images), len(names)), MISSING, dtype=np.int8)
    labels[np.arange(len(images)), alphabets] = characters
    return TaskSet.from_arrays(
        images,
        labels,
        names=[name.replace("_", " ") for name in names],
        kinds=["multiclass"] * len(names),
        split=np.where(is_train, "train", "test"),
        seed=seed,
    )


Characters = tuple[np.ndarray, np.ndarray, np.ndarray, list[str], np.ndarray]
"""Images (N, 1, 28, 28), their alphabets (N,) and characters (N,), names of the alphabets, and which are for training
(N,)."""


def _from_npz(file: Path) -> Characters:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            halves = [[arrays[f"{key}_{half}"] for half in ("train", "test")] for key in ("x", "alphabet", "y")]
            names = arrays["alphabet_names"].tolist()
    except Exception as error:  # zipfile and zlib raise their own kinds for truncated files
        raise InputError(f"{file} cannot be read as the converted Omniglot ({error}): convert it again") from error
    images, alphabets, characters = (np.concatenate(half) for half in halves)
    is_train = np.arange(len(images)) < len(halves[0][0])
    return images.transpose(0, 3, 1, 2), alphabets, characters, names, is_train


def _from_torchvision(root: Path) -> Characters:
    """Load the two halves of the alphabets that torchvision has; a file's name ends with the number of its drawer."""
    paths, alphabets, characters = [], [], []
    for half in open_set("Omniglot", root).values():
        for image, character in half._flat_character_images:
            alphabet, number = half._characters[character].split("/")
            paths.append(Path(half.target_folder) / alphabet / number / image)
            alphabets.append(alphabet)
            characters.append(int(number.removeprefix("character")) - 1)
    names = sorted(set(alphabets))
    drawers = np.array([int(path.stem.split("_")[1]) for path in paths])
    images = decode_all(paths, lambda i: f"the image {paths[i]}", SIZE, "L")
    index = np.array([names.index(alphabet) for alphabet in alphabets])
    return images, index, np.array(characters), names, drawers <= N_TRAINING_DRAWERS
