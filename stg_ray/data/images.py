"""Images as arrays: decoding, scaling to one size, and arrays that are too large for memory."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stg_ray.data.used_files import uses
from stg_ray.errors import InputError, one_line

MAPPED_BYTES = 256 * 2**20
"""Size from which on an array lies in a file that is mapped into memory."""

CHUNK = 1024
"""Number of images that a thread decodes at a time."""

GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of grey images with 16 bits a pixel, which `convert` would clip to 255 instead of scaling them."""

ORIENTATION = 0x0112
"""The EXIF tag of the turn or reflection that a camera leaves to whoever shows the image."""


def decode(source: bytes | Path, size: int | None = None, mode: str | None = None) -> np.ndarray:
    """Decode an image to (C, H, W) uint8 pixels, upright as its EXIF orientation says.

    Grey images with 16 bits a pixel are scaled to 8.

    Args:
        source: the encoded image, or the path of its file.
        size: crop the image at its centre to a square and scale it to (size, size).
        mode: "L" or "RGB"; by default "L" for grey images, "RGB" for all others.

    Raises:
        InputError: its pixels are 32-bit or floating-point numbers, whose range is not known, or there are too many.
        OSError: it cannot be decoded.
    """
    # Never by its path: Pillow maps an uncompressed TIFF file into memory, and then turns it wrongly (Pillow 13.0).
    encoded = source.read_bytes() if isinstance(source, Path) else source
    try:
        opened = Image.open(io.BytesIO(encoded))
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise InputError(f"more than {limit:.0f} megapixels, which Pillow refuses: scale the file down") from error
    except UnidentifiedImageError as error:  # whose message names the object that holds the bytes
        raise OSError("no image, or of a kind that Pillow does not know") from error
    with opened as image:
        image.load()  # turns TIFF files by itself, and removes the tag
        orientation = image.getexif().get(ORIENTATION, 1)
        in_bytes = _scaled_to_bytes(image)
        wanted = mode or (in_bytes.mode if in_bytes.mode in ("L", "RGB") else "RGB")
        converted = in_bytes if in_bytes.mode == wanted else in_bytes.convert(wanted)
        if orientation != 1:
            converted.getexif()[ORIENTATION] = orientation  # a scaled image has lost the tag
            converted = ImageOps.exif_transpose(converted)
        if size is not None:
            converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(converted)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _scaled_to_bytes(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits a channel: one of 16 bits is scaled, any other is left as it is."""
    # Older versions of Pillow open a grey PNG file of 16 bits as 32-bit integers.
    if image.mode in GREY_16_BIT or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise InputError(f"its pixels are {kind} of unknown range: save it with 8 or 16 bits a channel")
    return image


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
        except InputError as error:
            raise InputError(f"{where(i)} cannot be used: {error}") from error
        except Exception as error:  # Pillow's decoders raise many kinds for damaged data
            raise InputError(f"{where(i)} cannot be decoded ({one_line(error)})") from error

    with _large_images_allowed():
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
    with _large_images_allowed(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(0, len(sources), CHUNK)):
            pass
    return images


def image_source(value: object, file: Path, column: str, row: int) -> bytes | Path:
    """Return the encoded image of a cell: bytes, a path, or Hugging Face's struct of these.

    Raises:
        InputError: a path is no file beside the table's, nor from the current directory.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if not isinstance(value, str):
        return value if isinstance(value, bytes) else b""
    found = next((path for path in (file.parent / value, Path(value)) if path.is_file()), None)
    if found is None:
        raise InputError(
            f"{file}: the column {column!r} holds paths of images, and the one in row {row}, {value!r}, is no file in "
            f"{file.parent.absolute()} nor in the current directory {Path.cwd()}: write paths from one of these, or "
            "whole ones"
        )
    uses(found)
    return found


def common_mode(sources: Sequence[bytes | Path]) -> str:
    """Return "L" if all these images, encoded or by the paths of their files, are grey, else "RGB".

    What is no image is ignored.
    """

    def is_grey(source: bytes | Path) -> bool:
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                return image.mode in ("L", "1", "I", *GREY_16_BIT)
        except (OSError, Image.DecompressionBombError):
            return True

    with _large_images_allowed(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return "L" if all(pool.map(is_grey, sources, chunksize=CHUNK)) else "RGB"


@contextmanager
def _large_images_allowed() -> Iterator[None]:
    """Silence Pillow's warning of images from 89 megapixels on, which are decoded all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


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
            _reserve(file, n_bytes)
        except OSError as error:
            raise InputError(
                f"{n_bytes / 2**30:.1f} GiB for an array of the shape {shape} do not fit into {tempfile.gettempdir()} "
                f"({error.strerror}): make room, or set TMPDIR to a larger folder"
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)


def _reserve(file: BinaryIO, n_bytes: int) -> None:
    """Give a file its size, so that a full disk raises here instead of killing the process while the file is filled.

    Raises:
        OSError: there is no room.
    """
    allocate = getattr(os, "posix_fallocate", None)  # macOS and some C libraries have none
    if allocate is not None:
        try:
            allocate(file.fileno(), 0, n_bytes)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise  # some file systems have none either
    if shutil.disk_usage(tempfile.gettempdir()).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.truncate(n_bytes)
