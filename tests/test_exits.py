"""The one line of an error, and the exit code that it calls for."""

from __future__ import annotations

import errno
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import typer

from stg_ray import cli
from stg_ray.errors import InputError, StgRayError
from stg_ray.exits import KEPT, command_line, exit_code, plain_warnings


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("seed is 'x'"), 2, "seed is 'x'"),
        (StgRayError("profile failed"), 1, "profile failed"),
        (
            StgRayError("the profiling run failed: [Errno 28] No space left on device"),
            1,
            f"the profiling run failed: [Errno 28] No space left on device; the disk is full: {KEPT}",
        ),
        (StgRayError("the worker failed: [Errno 2] No such file"), 1, "the worker failed: [Errno 2] No such file"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            f"the disk is full ([Errno 28] No space left on device): {KEPT}",
        ),
        (KeyError("x"), 1, "KeyError: 'x' (--verbose shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (type("Abort", (RuntimeError,), {})(), 130, "interrupted"),  # Typer's
    ],
)
def test_an_error_is_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(error, verbose=False) == code
    assert capsys.readouterr().err == f"stg-ray: {line}\n"


def test_an_interrupt_that_typer_meets_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the command line replaces
    app = typer.Typer()

    @app.command()
    def parse() -> None:
        raise KeyboardInterrupt

    assert command_line(app, []) == 130
    assert capsys.readouterr().err == "stg-ray: interrupted\n"


def test_warnings_of_this_package_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back at the end
    plain_warnings()
    assert warnings.formatwarning("two\nlines", UserWarning, cli.__file__, 3) == "stg-ray: warning: two lines\n"
    of_others = warnings.formatwarning("theirs", UserWarning, "mine.py", 3)
    assert of_others.split() == ["mine.py:3:", "UserWarning:", "theirs"], "as it was, by whoever formats them"


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("presets >&-", 0, "", ""),
        ("presets >&- 2>&- <&-", 0, "", ""),
        ("presets 2>&- | head -1", 0, "preset", ""),
        ("run nowhere >&-", 2, "", "unknown preset 'nowhere'"),
        ("run nowhere 2>&-", 2, "", ""),
        ("run nowhere 2>/dev/full", 2, "", ""),
        ("presets >/dev/full", 1, "", "the output cannot be written ([Errno 28] No space left on device)"),
    ],
)
def test_streams_that_are_closed_or_full(command: str, code: int, out: str, err: str) -> None:
    program = f"set -o pipefail; {sys.executable} -m stg_ray {command}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[: len(out or " ")]) == (code, out)
    assert len(done.stderr.splitlines()) == bool(err)
    assert err in done.stderr


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = "from stg_ray.exits import begin; begin(); import os; open('kept', 'w'); os.write(1, b'lost')"
    subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" >&-'], cwd=tmp_path, check=True)
    assert (tmp_path / "kept").read_text() == ""
