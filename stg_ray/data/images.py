"""Images as arrays: decoding, scaling to one size, and arrays that are too large for memory."""

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
"""Size from which on an array lies in a file that is mapped into memory."""

CHUNK = 1024
"""Number of images that a thread decodes at a time."""


def decode(source: bytes | Path, size: int | None = None, mode: str | None = None) -> np.ndarray:
    """Decode an image to (C, H, W) uint8 pixels.

    Args:
        source: the encoded image, or the path of its file.
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
    """Decode N images of one shape to (N, C, H, W) uint8 pixels.

    Args:
        sources: the encoded images, or the paths of their files.
        where: a function that names image i in messages.
        size: as in `decode`.
        mode: as in `decode`.

    Raises:
        InputError: an image cannot be decoded, or has another shape than the first.
    """

    def pixels_of(i: int) -> np.ndarray:
        try:
            return decode(sources[i], size, mode)
        except Exception as error:  # Pillow's decoders raise many kinds for damaged data
            raise InputError(f"{where(i)} cannot be decoded ({one_line(error)})") from error

    first = pixels_of(0)
    images = large_array((len(sources), *first.shape), np.uint8)

    def fill(start: int) -> None:
        for i in range(start, min(start + CHUNK, len(sources))):
            pixels = pixels_of(i)
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
    """Return "L" if the images of all these files are grey, else "RGB"; files that are not images are ignored."""

    def is_grey(path: Path) -> bool:
        try:
            with Image.open(path) as image:
                return image.mode in ("L", "1")
        except OSError:
            return True

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return "L" if all(pool.map(is_grey, paths, chunksize=CHUNK)) else "RGB"


def large_array(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Allocate an array.

    A large one maps a temporary file, which is deleted with the array, so that the system can take its memory back.

    Raises:
        InputError: the temporary folder has no room for it.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if n_bytes <= MAPPED_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="stg_ray-") as file:
        try:
            # A full disk raises here, instead of killing the process while the array is filled.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            raise InputError(
                f"{n_bytes / 2**30:.1f} GiB for an array of the shape {shape} do not fit into {tempfile.gettempdir()} "
                f"({error.strerror}): make room, or set TMPDIR to a larger folder"
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)
