"""Images as arrays: decoding, one size for all, and arrays that are too large for memory."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stg_ray.errors import InputError, one_line

MAPPED_BYTES = 256 * 2**20
"""Larger arrays lie in a file that is mapped into memory."""

CHUNK = 1024


def decode(source: bytes | Path, size: int | None = None, mode: str | None = None) -> np.ndarray:
    """(C, H, W) uint8 pixels of an encoded image.

    Args:
        size: crop the image at its centre to a square and scale it to (size, size).
        mode: "L" or "RGB"; by default "L" for grey images, "RGB" for all others.
    """
    with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
        wanted = mode or (image.mode if image.mode in ("L", "RGB") else "RGB")
        converted = image if image.mode == wanted else image.convert(wanted)
        if size is not None:
            converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(converted)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_all(
    sources: Sequence[bytes | Path], where: Callable[[int], str], size: int | None = None, mode: str | None = None
) -> np.ndarray:
    """(N, C, H, W) uint8 pixels of N encoded images.

    Args:
        where: the place of image i, for messages.
        size, mode: as in `decode`.

    Raises:
        InputError: an image cannot be decoded, or has another shape than the first.
    """

    def one(i: int) -> np.ndarray:
        try:
            return decode(sources[i], size, mode)
        except Exception as error:  # Pillow's decoders raise many kinds for damaged data
            raise InputError(f"{where(i)} cannot be decoded ({one_line(error)})") from error

    first = one(0)
    images = large_array((len(sources), *first.shape), np.uint8)

    def fill(start: int) -> None:
        for i in range(start, min(start + CHUNK, len(sources))):
            pixels = one(i)
            if pixels.shape != first.shape:
                raise InputError(
                    f"{where(i)} has the shape {pixels.shape}, {where(0)} {first.shape}: expected one shape (or set "
                    "data.image_size, to crop and scale them)"
                )
            images[i] = pixels

    # Pillow decodes without holding the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(0, len(sources), CHUNK)):
            pass
    return images


def common_mode(paths: Sequence[Path]) -> str:
    """L if all images of these files are grey, else RGB; a file that is no image is left for decoding to tell."""

    def is_grey(path: Path) -> bool:
        try:
            with Image.open(path) as image:
                return image.mode in ("L", "1")
        except OSError:
            return True

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return "L" if all(pool.map(is_grey, paths, chunksize=CHUNK)) else "RGB"


def large_array(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array to be filled; a large one is the mapping of a temporary file, which is gone with the array, so that it
    takes no memory that could not be given back.

    Raises:
        InputError: there is no room for it in the temporary folder.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if n_bytes <= MAPPED_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="stg_ray-") as file:
        try:
            os.posix_fallocate(
                file.fileno(), 0, n_bytes
            )  # a full disk is told here, not by a signal while it is filled
        except OSError as error:
            raise InputError(
                f"{n_bytes / 2**30:.1f} GiB for an array of the shape {shape} do not fit into {tempfile.gettempdir()} "
                f"({error.strerror}): make room, or set TMPDIR to a larger folder"
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)
