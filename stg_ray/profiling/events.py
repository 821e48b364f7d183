"""The losses and confidences of the profile for TensorBoard, beside metrics.parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from stg_ray.artifacts.storage import Storage

FOLDER = "profile/tensorboard"


def write_events(run: Storage, names: Sequence[str], history: Sequence[dict[str, Any]]) -> None:
    """Add the last epoch of `history` to profile/tensorboard.

    Event files are appended to, which object stores cannot do: there only metrics.parquet is written.

    Args:
        names: of the K tasks.
        history: a record for each epoch: its number, and lists of K losses and confidences.
    """
    if not run.is_local:
        return
    last = history[-1]
    # A file for every epoch: files are named by the second, and an epoch may be shorter. An epoch that is trained
    # again, after a restart, replaces what was written of it.
    suffix = f".epoch-{last['epoch']:04d}"
    with SummaryWriter(run.path(FOLDER), purge_step=last["epoch"], filename_suffix=suffix) as writer:
        for key in ("loss", "confidence"):
            values = np.array(last[key])
            if np.isfinite(values).any():
                writer.add_scalar(f"mean/{key}", float(np.nanmean(values)), last["epoch"])
            for name, value in zip(names, values.tolist(), strict=True):
                if np.isfinite(value):
                    writer.add_scalar(f"{key}/{name}", value, last["epoch"])
