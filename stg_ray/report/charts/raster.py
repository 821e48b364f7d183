"""Images in the page: PNGs of a few colours as data URIs, which take a byte where text takes ten."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.report.charts.palette import group_colors, rgb

LEVELS = 32
"""Shades of a matrix: more are not told apart, and make the file larger."""
PIXELS = 2_400_000
"""Of all matrices of a page together; larger ones are drawn by the means of blocks."""
VIRIDIS = (
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37),
)  # fmt: skip
"""Colours of matplotlib's map of this name (CC0), from far to alike; between them they are interpolated."""
MAP_LEVELS = 16
TILES = 32
"""Data maps in a row of their common image."""
THUMBNAIL = 72
"""Largest side of a sample's picture in pixels."""


def matrix_image(matrix: TaskMatrix, order: np.ndarray, n_matrices: int = 1) -> tuple[str, float, float]:
    """Draw a matrix with its tasks in this order, bright where they are alike.

    Args:
        matrix: of K tasks; the diagonal and pairs without a value stay empty.
        order: (K,) of the tasks.
        n_matrices: on the page, which share its pixels.

    Returns:
        The image, and the values that its darkest and its brightest colour stand for: the 1st and 99th percentile.
    """
    values = matrix.values[np.ix_(order, order)].astype(np.float64)
    np.fill_diagonal(values, np.nan)
    low, high = limits(values)
    side = len(values)
    largest = int((PIXELS / n_matrices) ** 0.5)
    if side > largest:
        values = _block_means(values, -(-side // largest))
    scaled = (values - low) / (high - low)
    levels = np.clip(scaled * LEVELS, 0, LEVELS - 1)
    if matrix.kind == "distance":
        levels, low, high = LEVELS - 1 - levels, high, low
    pixels = np.where(np.isnan(levels), LEVELS, np.nan_to_num(levels)).astype(np.uint8)
    anchors = np.linspace(0, LEVELS - 1, len(VIRIDIS))
    colors = np.stack([np.interp(np.arange(LEVELS), anchors, channel) for channel in zip(*VIRIDIS, strict=True)], 1)
    alpha = [255] * LEVELS + [0]
    return png(pixels, np.vstack([colors, [[0, 0, 0]]]).round().astype(np.uint8), alpha), low, high


def limits(values: np.ndarray) -> tuple[float, float]:
    """Return the 1st and 99th percentile of the values that are there, a little apart where they are equal."""
    known = values[np.isfinite(values)]
    low, high = (float(v) for v in np.percentile(known, [1, 99])) if len(known) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def membership_image(membership: np.ndarray, order: np.ndarray) -> str:
    """Draw memberships (K, G): a row for each group in its colour, a column for each task in this order."""
    shares = np.clip(membership[order], 0, 1).T
    colors = np.array([rgb(color) for color in group_colors(len(shares))], dtype=np.uint8)
    pixels = np.concatenate(
        [np.broadcast_to(colors[:, None], (*shares.shape, 3)), (255 * shares[..., None]).round().astype(np.uint8)],
        axis=2,
    )
    return uri(Image.fromarray(pixels, "RGBA"))


def maps_image(counts: np.ndarray) -> str:
    """Draw the data maps of K tasks in one image, `TILES` in a row, which the page takes for a mask of its colour.

    Args:
        counts: (K, B, B) numbers of samples by bin of confidence and of variability. In the image, variability goes to
            the right and confidence up; the shades are of the logarithm.
    """
    k, bins, _ = counts.shape
    shade = np.log1p(counts)
    shade /= np.maximum(shade.max(axis=(1, 2), keepdims=True), 1e-9)
    level = np.ceil(shade * (MAP_LEVELS - 1)).astype(np.uint8)[:, ::-1]
    columns, rows = tiles(k)
    canvas = np.zeros((rows * columns, bins, bins), np.uint8)
    canvas[:k] = level
    pixels = canvas.reshape(rows, columns, bins, bins).swapaxes(1, 2).reshape(rows * bins, columns * bins)
    colors = np.zeros((MAP_LEVELS, 3), np.uint8)
    alpha = [0, *np.linspace(50, 255, MAP_LEVELS - 1).astype(int).tolist()]
    return png(pixels, colors, alpha)


def tiles(k: int) -> tuple[int, int]:
    """Return the numbers of columns and rows of the data maps of k tasks in their common image."""
    return min(k, TILES), -(-k // TILES)


def thumbnail(sample: np.ndarray) -> str:
    """Return the picture of an image (C, H, W) with 1 or 3 channels of bytes, or of numbers that are stretched."""
    channels = np.moveaxis(np.asarray(sample), 0, -1)
    if channels.dtype != np.uint8:
        low, high = float(channels.min()), float(channels.max())
        channels = (255 * (channels - low) / max(high - low, 1e-12)).astype(np.uint8)
    elif channels.max() <= LEVELS:  # such as digits of 16 shades
        channels = (channels.astype(np.float64) * (255 / max(1, int(channels.max())))).astype(np.uint8)
    image = Image.fromarray(channels[..., 0] if channels.shape[-1] == 1 else channels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return uri(image)


def png(pixels: np.ndarray, colors: np.ndarray, alpha: list[int]) -> str:
    """Return an image (H, W) of numbers of colours (n, 3), each with its opacity, as a data URI."""
    image = Image.fromarray(np.ascontiguousarray(pixels), "P")
    image.putpalette(np.ascontiguousarray(colors).tobytes())
    return uri(image, transparency=bytes(alpha))


def uri(image: Image.Image, **options: object) -> str:
    """Return an image as a data URI."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _block_means(values: np.ndarray, block: int) -> np.ndarray:
    """Return the means of blocks of a square matrix, over the values that are there."""
    edges = np.arange(0, len(values), block)
    present = np.isfinite(values)
    total, n = np.where(present, values, 0.0), present.astype(np.float64)
    for axis in (0, 1):
        total, n = np.add.reduceat(total, edges, axis=axis), np.add.reduceat(n, edges, axis=axis)
    means: np.ndarray = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    return means
