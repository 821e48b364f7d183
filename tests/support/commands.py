"""The command line within the process of the tests: what it prints and its exit code, without a start of Python."""

from __future__ import annotations

import os
import subprocess
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from stg_ray.cli import app
from stg_ray.exits import command_line

Done = subprocess.CompletedProcess[str]


def stg_ray(*arguments: str, cwd: Path | None = None) -> Done:
    """Run a command on the tests' own Ray, if it needs one: a test that calls this uses `ray_session`."""
    before, out, err = Path.cwd(), StringIO(), StringIO()
    try:
        os.chdir(cwd or before)
        with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
            code = command_line(app, arguments)
    finally:
        os.chdir(before)
    return Done(["stg-ray", *arguments], code, out.getvalue(), err.getvalue())
