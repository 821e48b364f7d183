"""What binds a run directory to a configuration: stages that are done, half-made ones, and the files that it names.

What a message names as the way out, a setting, data or code that is mended, is to be taken in the same directory.
"""

from __future__ import annotations

import warnings
from contextlib import suppress

from stg_ray.artifacts.digests import code_files, file_digests
from stg_ray.artifacts.run_dir import IMAGES, SOURCES, RunDir
from stg_ray.config import Config
from stg_ray.stages import onwards

FIRST = "tune"
"""The first stage after the task set is laid out."""


def is_bound(run: RunDir) -> bool:
    """Return whether a stage after parts is done, or has left something to go on from, which would be discarded."""
    stages = onwards(FIRST)
    if any(run.exists(f".stages/{stage.name}.json") for stage in stages):
        return True
    folders = [folder for stage in stages for folder in stage.scratch]
    return any(not name.startswith(".") for folder in folders for name in run.list(folder))


def forget_sources(run: RunDir, *, with_data: bool) -> None:
    """Forget the contents of the files that the configuration named, those of the data only if these are to be too."""
    if with_data:
        run.delete(SOURCES)
        run.delete(IMAGES)
        return
    others = {section for stage in onwards(FIRST) for section in stage.adds}
    with suppress(FileNotFoundError, ValueError):  # there is none, or it is damaged
        before = run.read_json(SOURCES)
        run.write_json(SOURCES, {key: value for key, value in before.items() if key.partition(".")[0] not in others})


def warn_of_other_trunk(run: RunDir, config: Config) -> None:
    """Warn where the file of a trunk of the user's is another than the run was trained with.

    Its networks would predict by the code of now with the weights of then. Other changes of the file do no harm.
    """
    now = file_digests(code_files("model.trunk", config.model.trunk))
    with suppress(FileNotFoundError, ValueError):  # nothing is known
        then = run.read_json(SOURCES)
        changed = [key for key, digest in now.items() if then.get(key, digest) != digest]
        if changed:
            _, _, imported = changed[0].partition(": import ")
            what = f"{imported}, which {config.model.trunk} imports," if imported else config.model.trunk
            warnings.warn(
                f"the file of {what} has changed since {run.uri} was trained with it: its networks predict "
                "by the trunk as it is written now; if that computes something else, give the file as it was",
                stacklevel=3,  # the line of sr.load
            )
