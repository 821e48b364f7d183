"""The exceptions of stg_ray: one base class, so that a caller can catch everything of ours."""


class StgRayError(Exception):
    """Something went wrong in a run. The message says what was found, what was expected and what to do."""


class InputError(StgRayError):
    """The input (configuration, data, run directory) is wrong: nothing was run, nothing was lost."""


class InterruptedRun(StgRayError):
    """The run was stopped from outside (Ctrl-C, SIGTERM); what had been finished is kept."""


class PartlyFailed(StgRayError):
    """Some of a stage failed. What it leaves is of use to later stages, but the run fails in the end."""


def one_line(error: BaseException) -> str:
    """The message of an exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__
