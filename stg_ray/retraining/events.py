"""The scores of trained networks, epoch by epoch, for TensorBoard: beside each published network."""

from __future__ import annotations

from typing import Any

from stg_ray.artifacts.storage import Storage


def write_events(run: Storage, folder: str, about: dict[str, Any]) -> None:
    """Write the score on validation rows of every epoch, and of the best one the number.

    Event files are appended to, which object stores cannot do: there network.json alone has the scores.

    Args:
        folder: of a published network; TensorBoard names its curves by it.
        about: the content of network.json; those of older versions have no `course`.
    """
    scores = about.get("course", [])
    if not run.is_local or not scores:
        return
    from tensorboardX import SummaryWriter  # it imports boto3 where that is installed: a quarter of a second

    with SummaryWriter(run.path(folder)) as writer:
        for epoch, score in enumerate(scores, start=1):
            if score is not None:
                writer.add_scalar("validation/score", score, epoch)
        writer.add_scalar("best_epoch", about["best_epoch"], len(scores))
