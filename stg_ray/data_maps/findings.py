"""Findings of a data map by itself: how each task's samples are learned, and labels that are worth a second look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stg_ray.data_maps.state import DataMapState, in_regions

N_SUSPECTS = 20
"""Number of suspects of each task."""

Suspects = dict[str, np.ndarray]
"""Samples whose labels may be wrong, as columns of equal length, with the names and types of `SUSPECT_TYPES`."""
SUSPECT_TYPES = {
    "task": np.int32,
    "sample": np.int64,
    "label": np.int32,
    "confidence": np.float32,
    "variability": np.float32,
}


def region_sums(state: DataMapState) -> np.ndarray:
    """Compute sums for each task that add over shards.

    Returns:
        (K, 6) float64: numbers of samples that are labelled, easy, ambiguous and hard to learn; sums of their mean
        confidences and variabilities.
    """
    present = ~np.isnan(state.mean)
    sums = [present.sum(axis=0), *(region.sum(axis=0) for region in in_regions(state))]
    values = [np.nansum(v, axis=0, dtype=np.float64) for v in (state.mean, state.variability)]
    return np.stack([*sums, *values], axis=1).astype(np.float64)


def regions_table(names: Sequence[str], sums: np.ndarray) -> pa.Table:
    """Return a table with a row per task: labelled samples, shares of the regions, mean confidence and variability.

    A task without a data map, such as a regression, has no samples in it, and NaN for all else.

    Args:
        sums: (K, 6) `region_sums` of all samples.
    """
    n = np.where(sums[:, :1] > 0, sums[:, :1], np.nan)
    columns = dict(
        zip(("easy", "ambiguous", "hard_to_learn", "confidence", "variability"), (sums[:, 1:] / n).T, strict=True)
    )
    return pa.table({"task": list(names), "samples": sums[:, 0].astype(np.int64), **columns})


def suspects(state: DataMapState, samples: np.ndarray, labels: np.ndarray, n: int = N_SUSPECTS) -> Suspects:
    """Find the `n` hard-to-learn samples of the lowest mean confidence for each task, where wrong labels are likely
    (Swayamdipta et al. 2020, section 5).

    Args:
        state: data map of the N samples and K tasks.
        samples: (N,) sample numbers.
        labels: (N, K) labels.
        n: number of suspects of each task, at most.

    Returns:
        Columns task (its index), sample, label, confidence and variability.
    """
    _, _, hard = in_regions(state)
    confidence = np.where(hard, state.mean, np.inf)
    n = min(n, len(confidence))
    rows = np.argpartition(confidence, n - 1, axis=0)[:n] if n else np.zeros((0, confidence.shape[1]), np.intp)
    tasks = np.broadcast_to(np.arange(confidence.shape[1]), rows.shape)
    kept = np.isfinite(confidence[rows, tasks])
    rows, tasks = rows[kept], tasks[kept]
    values = (tasks, samples[rows], labels[rows, tasks], state.mean[rows, tasks], state.variability[rows, tasks])
    return {key: v.astype(t) for (key, t), v in zip(SUSPECT_TYPES.items(), values, strict=True)}


def suspects_table(names: Sequence[str], shards: Sequence[Suspects], n: int = N_SUSPECTS) -> pa.Table:
    """Return a table of the suspects of all shards, by task, at most `n` of each, the lowest confidence first."""
    pooled = {key: np.concatenate([shard[key] for shard in shards]) for key in SUSPECT_TYPES}
    order = np.lexsort((pooled["sample"], pooled["confidence"], pooled["task"]))
    pooled = {key: values[order] for key, values in pooled.items()}
    first = np.searchsorted(pooled["task"], pooled["task"])  # where the rows of each one's task begin
    kept = np.arange(len(first)) - first < n
    columns = {key: values[kept] for key, values in pooled.items()}
    return pa.table(columns | {"task": np.array(names, dtype=object)[columns["task"]].tolist()})
