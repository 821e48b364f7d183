"""The command line. Exit codes: 0 done, 1 a run failed, 2 wrong input, 130 interrupted."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from stg_ray.config.loading import load_config
from stg_ray.config.presets import PRESETS
from stg_ray.config.secrets import no_credentials
from stg_ray.errors import InputError, InterruptedRun, PartlyFailed, StgRayError, one_line
from stg_ray.exits import exit_code, plain_warnings, with_interrupts
from stg_ray.stages import STAGES

if TYPE_CHECKING:
    from stg_ray.findings import Finding

STAGE_NAMES = tuple(name for name in STAGES if name != "parts")
"""The stages that `--until` and the stage commands name; the parts are laid out with the first of them."""

STYLE_OF_STATE = {"ok": "", "warning": "yellow", "problem": "bold red"}


class Commands(TyperGroup):
    """The commands; Typer takes an interrupt for success, and a file that is cut off for one."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            StgRayError: it was interrupted, or a file is cut off.
        """
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise StgRayError(f"a file is cut off ({one_line(error)}): give the same command again") from error
        except KeyboardInterrupt:
            raise InterruptedRun("interrupted") from None


app = typer.Typer(
    cls=Commands,
    help="Which tasks should share a network? Profile all tasks once, group them, retrain the groups, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Source = Annotated[str, typer.Argument(metavar="PRESET|CONFIG.yaml", help="A preset (see: stg-ray presets) or a file.")]
Directory = Annotated[str, typer.Argument(metavar="DIR", callback=no_credentials, help="The run: a path or a URI.")]
Place = typer.Option("--out", callback=no_credentials, help="Run directory; runs/NAME-HASH if not given.")
Out = Annotated[str | None, Place]
Until = Annotated[str, typer.Option("--until", metavar="STAGE", help=f"One of {', '.join(STAGE_NAMES)}.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting.")]
Address = Annotated[str | None, typer.Option("--address", help="Ray cluster to join; else $RAY_ADDRESS, else its own.")]
LookAt = Annotated[str | None, typer.Option("--address", help="Ray cluster to look at; else $RAY_ADDRESS.")]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Import a trunk that DIR names, though it is somebody else's.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Ray's own output, and tracebacks of errors.")]


@app.command("run")
def run_command(
    source: Source,
    out: Out = None,
    until: Until = "report",
    set_: Set = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Do everything; on an existing directory of the same configuration, what is missing."""
    from stg_ray.errors import unknown

    if until not in STAGE_NAMES:
        raise InputError(unknown(until, STAGE_NAMES, "stage"))
    config = load_config(source, set_ or ())

    from stg_ray.pipeline import default_out, run

    directory = out or default_out(source, config)
    _say(f"run directory: {directory}")

    def work() -> Any:
        return run(config, directory, until=until, address=address, verbose=verbose)

    _work_and_show(work, directory, until)


@app.command("plan")
def plan_command(
    source: Source,
    set_: Set = None,
    address: LookAt = None,
    verbose: Verbose = False,
) -> None:
    """Say what would run and what it would cost, and on which nodes of a cluster. Runs nothing."""
    from stg_ray.cluster.nodes import named_nodes
    from stg_ray.cluster.session import is_elsewhere, session
    from stg_ray.planning.estimate import estimate

    config = load_config(source, set_ or ())
    nodes = None
    if is_elsewhere(address):
        with session(address, verbose=verbose):
            nodes = named_nodes()
    _print_plan(estimate(config, nodes), f"stg-ray run {source}")


@app.command("presets")
def presets_command() -> None:
    """List the named task sets."""
    table = Table(box=None, pad_edge=False)
    for column, justify in (("preset", "left"), ("tasks K", "right"), ("samples N", "right"), ("data", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, preset in PRESETS.items():
        table.add_row(name, str(preset.tasks), f"{preset.samples:,}", preset.origin)
    Console(highlight=False, soft_wrap=True).print(table)


@app.command("doctor")
def doctor_command(
    out: Annotated[str, typer.Option(callback=no_credentials, help="A run directory: each file is checked.")] = "runs",
    data_root: Annotated[str | None, typer.Option("--data-root", help="The folder of the data.")] = None,
    address: LookAt = None,
    verbose: Verbose = False,
) -> None:
    """Look at this machine, its storage, a run, a cluster's nodes: what is or would go wrong, and what to do."""
    del verbose  # only `main` needs it, and looks for it in sys.argv
    from stg_ray.doctor import examine

    if not _print_findings(examine(out, data_root, address)):
        raise StgRayError("there are problems: see above what to do")


def _stage_command(stage: str, does: str) -> None:
    """Add the command of a stage, with its help text."""

    def command(
        directory: Directory,
        set_: Set = None,
        address: Address = None,
        verbose: Verbose = False,
        trust_code: TrustCode = False,
    ) -> None:
        _run_stage(stage, directory, set_, address, verbose, trust_code=trust_code)

    app.command(stage, help=does)(command)


for _stage, _does in {
    "tune": "Search for settings of the network of all tasks, once more; tune.trials says how many to try.",
    "profile": "Train on all tasks and record the data maps, once more.",
    "affinity": "Compute how alike the tasks are, once more.",
    "retrain": "Train the networks of the plans; finished ones are kept.",
}.items():
    _stage_command(_stage, _does)


@app.command("group")
def group_command(
    directory: Directory,
    set_: Set = None,
    add: Annotated[
        str | None,
        typer.Option(
            "--add", metavar="FILE", help="K x K Parquet or CSV with new tasks, which join the groups there are."
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Group the tasks, once more; for example --set grouping.groups=5."""
    if add is None:
        _run_stage("group", directory, set_, None, verbose)
        return
    if set_:
        raise InputError("--add joins new tasks to the groups there are, which --set would change: use one of them")
    from stg_ray.pipeline import add_tasks
    from stg_ray.report import print_groups

    print_groups(Console(highlight=False), add_tasks(directory, add))
    _say(f"groups with the new tasks: {directory}/groups.added.json")


@app.command("report")
def report_command(
    directory: Directory,
    set_: Set = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    verbose: Verbose = False,
) -> None:
    """Write the page once more."""
    _run_stage("report", directory, set_, None, verbose)
    if open_:
        from stg_ray.artifacts.storage import Storage

        storage = Storage(directory)
        if not storage.is_local:
            raise InputError(f"--open: {directory} is not on this machine; copy report.html from there")
        webbrowser.open(Path(storage.path("report.html")).as_uri())


def _run_stage(
    stage: str,
    directory: str,
    overrides: list[str] | None,
    address: str | None,
    verbose: bool,
    *,
    trust_code: bool = False,
) -> None:
    """Run one stage again, and show its results."""

    def work() -> Any:
        from stg_ray.pipeline import run_stage

        return run_stage(
            stage, directory, overrides=overrides or (), address=address, verbose=verbose, trust_code=trust_code
        )

    _work_and_show(work, directory, stage)


def _work_and_show(work: Callable[[], Any], directory: str, stage: str) -> None:
    """Do the work, then show its results up to a stage, also those of a run that partly failed."""
    try:
        with_interrupts(work, directory)
    except PartlyFailed:
        _show(directory, stage)
        raise
    _show(directory, stage)


def _show(directory: str, stage: str) -> None:
    """Print the results after a stage."""
    from stg_ray.artifacts.run_dir import RunDir
    from stg_ray.report import print_stage

    run = RunDir(directory)
    print_stage(Console(highlight=False), run, run.read_config(), stage)
    if stage == "report":
        _say(f"report: {run.sub_uri('report.html')}")


def _print_plan(rows: list[tuple[str, str]], title: str) -> None:
    """Print the stages of a plan, a line each."""
    table: Any = Table(box=None, pad_edge=False, show_header=False, title=Text(title), title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    Console(highlight=False).print(table)


def _print_findings(findings: Iterable[Finding]) -> bool:
    """Print findings of doctor as they come in, and return whether none of them is a problem."""
    console = Console(highlight=False, soft_wrap=True)
    n_problems = 0
    for finding in findings:
        console.print(Text(f"{finding.state:<8} {finding.text}", style=STYLE_OF_STATE[finding.state]))
        if finding.advice:
            console.print(Text(f"{'':<8} {finding.advice}"))
        n_problems += finding.state == "problem"
    return n_problems == 0


def _say(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def main() -> NoReturn:
    """Run the command line: the entry point of `stg-ray` and `python -m stg_ray`."""
    verbose, code = bool({"--verbose", "-v"} & set(sys.argv[1:])), 0
    plain_warnings()
    try:
        app(standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        code = exit_code(error, verbose=verbose)
    with suppress(OSError):  # whoever read the output is gone
        sys.stdout.flush()
        sys.stderr.flush()
    # Interrupted calls of Ray may still run in threads; do not wait for them.
    os._exit(code)
