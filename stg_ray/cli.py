"""The command line. Exit codes: 0 done, 1 a run failed, 2 wrong input, 130 interrupted."""

from __future__ import annotations

import shlex
import sys
import webbrowser
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from stg_ray.config.loading import default_out, load_config, looking_beside
from stg_ray.config.paths import check_outlives_job, place
from stg_ray.errors import InputError, PartlyFailed, StgRayError, unknown
from stg_ray.exits import begin, command_line, leave, with_interrupts
from stg_ray.main_task.command import auxiliary_command
from stg_ray.options import (
    STAGE_NAMES,
    Address,
    Commands,
    Directory,
    LookAt,
    Out,
    Planned,
    Quiet,
    Set,
    Source,
    Topic,
    TrustCode,
    Until,
    Verbose,
)
from stg_ray.progress import Reporter
from stg_ray.shown import shown
from stg_ray.stages import STAGES
from stg_ray.tables import print_findings, print_plan, print_presets

app = typer.Typer(
    cls=Commands,
    help="Which tasks should share a network? Profile all tasks once, group them, retrain the groups, compare.",
    epilog="Begin with: stg-ray run digits. The guides: stg-ray guide.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _before_any_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from stg_ray import __version__

        _say(f"stg-ray {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@app.command("run", short_help="Do everything that is not done yet.")
def run_command(
    source: Source,
    out: Out = None,
    until: Until = "report",
    set_: Set = None,
    address: Address = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Do everything; on an existing directory of the same configuration, what is missing."""
    if until not in STAGE_NAMES:
        raise InputError(unknown(until, STAGE_NAMES, "stage"))
    config = load_config(source, set_ or ())
    directory = default_out(source, config) if out is None else out
    if not quiet:
        _say(f"run directory: {directory}")  # at once: the next import takes seconds

    from stg_ray.artifacts.run_dir import RunDir
    from stg_ray.cluster.session import starting_ahead

    def work() -> Any:
        is_new = not RunDir(directory).has_config()
        with starting_ahead(address, verbose=verbose) if is_new else nullcontext():
            run = _pipeline(quiet).run
            return run(config, directory, until=until, address=address, reporter=_reporter(quiet), verbose=verbose)

    with looking_beside(source):
        _work_and_show(work, directory, until, address, quiet=quiet)


@app.command("plan", short_help="Say what would run, and how long it takes; run nothing.")
def plan_command(
    source: Planned,
    set_: Set = None,
    address: LookAt = None,
    verbose: Verbose = False,
) -> None:
    """Say what would run, or is left of a run, what it would cost, and on which nodes of a cluster. Runs nothing."""
    from stg_ray.artifacts.run_dir import RunDir
    from stg_ray.cluster.nodes import named_nodes
    from stg_ray.cluster.session import is_elsewhere, session
    from stg_ray.planning.estimate import estimate
    from stg_ray.planning.of_run import estimate_of_run

    is_run = ("://" in source or Path(source).is_dir()) and RunDir(source).has_config()
    config = None if is_run else load_config(source, set_ or ())
    nodes = None
    if is_elsewhere(address):
        with session(address, verbose=verbose):
            nodes = named_nodes()
    with looking_beside(source):
        lines = estimate_of_run(source, set_ or (), nodes) if config is None else estimate(config, nodes)
    print_plan(Console(highlight=False), lines, f"what is left of {source}" if is_run else f"stg-ray run {source}")


@app.command("presets", short_help="List the named task sets.")
def presets_command() -> None:
    """List the named task sets."""
    print_presets(Console(highlight=False))


@app.command("doctor", short_help="Say what is or would go wrong here, and what to do.")
def doctor_command(
    out: Annotated[str, typer.Option(callback=place, help="A run directory: each file is checked.")] = "runs",
    data_root: Annotated[str | None, typer.Option("--data-root", help="The folder of the data.")] = None,
    address: LookAt = None,
    verbose: Verbose = False,
) -> None:
    """Look at this machine, its storage, a run, a cluster's nodes: what is or would go wrong, and what to do."""
    del verbose  # only `main` needs it, and looks for it in sys.argv
    from stg_ray.doctor import examine

    if not print_findings(Console(highlight=False, soft_wrap=True), examine(out, data_root, address)):
        raise StgRayError("there are problems: see above what to do")


@app.command("guide", short_help="Show a guide; without TOPIC, list them.")
def guide_command(topic: Topic = None) -> None:
    """Show a guide in the terminal; without TOPIC, list them."""
    from stg_ray.guide import print_guide, print_topics, topics

    console = Console(highlight=False)
    if topic is None:
        print_topics(console, topics())
    else:
        print_guide(console, topic)


def _stage_command(stage: str, does: str, more: str = "") -> None:
    """Add the command of a stage, with its help text."""

    def command(
        directory: Directory,
        set_: Set = None,
        address: Address = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
        trust_code: TrustCode = False,
    ) -> None:
        _run_stage(stage, directory, set_, address, verbose, quiet=quiet, trust_code=trust_code)

    app.command(stage, help=f"{does}{more}", short_help=does)(command)


_stage_command("tune", "Search for settings of the network, once more.", " tune.trials says how many to try.")
_stage_command("profile", "Train on all tasks, record the data maps, once more.")
_stage_command("affinity", "Compute how alike the tasks are, once more.")
_stage_command("retrain", "Train the networks of the plans; finished ones are kept.")

app.command("auxiliary", short_help="Find the tasks that help a main task, and train it with them.")(auxiliary_command)


@app.command("group", short_help="Group the tasks, once more.")
def group_command(
    directory: Directory,
    set_: Set = None,
    add: Annotated[
        str | None,
        typer.Option(
            "--add", metavar="FILE", help="K x K Parquet or CSV with new tasks, which join the groups there are."
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Group the tasks, once more; for example --set grouping.groups=5."""
    if add is None:
        _run_stage("group", directory, set_, None, verbose, quiet=quiet)
        return
    if set_:
        raise InputError("--add joins new tasks to the groups there are, which --set would change: use one of them")
    from stg_ray.grouping.stage import add_tasks
    from stg_ray.report import print_groups

    check_outlives_job(directory)
    print_groups(Console(highlight=False, quiet=quiet), add_tasks(directory, add))
    if not quiet:
        _say(f"groups with the new tasks: {directory}/groups.added.json")


@app.command("report")
def report_command(
    directory: Directory,
    set_: Set = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the page once more."""
    _run_stage("report", directory, set_, None, verbose, quiet=quiet)
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
    quiet: bool,
    trust_code: bool = False,
) -> None:
    """Run one stage again, and show its results."""

    def work() -> Any:
        run_stage = partial(_pipeline(quiet).run_stage, address=address, verbose=verbose, trust_code=trust_code)
        return run_stage(stage, directory, overrides=overrides or (), reporter=_reporter(quiet))

    _work_and_show(work, directory, stage, address, quiet=quiet)


def _pipeline(quiet: bool) -> ModuleType:
    """Import the pipeline, which takes seconds; a terminal shows that something is done."""
    with nullcontext() if quiet else Console().status("starting"):
        from stg_ray import pipeline
    return pipeline


def _reporter(quiet: bool) -> Reporter | None:
    return Reporter(Console(quiet=True)) if quiet else None


def _work_and_show(work: Callable[[], Any], directory: str, stage: str, address: str | None, *, quiet: bool) -> None:
    """Do the work, then show its results up to a stage, also those of a run that partly failed."""
    check_outlives_job(directory)
    try:
        with_interrupts(work, directory)
    except PartlyFailed:
        _show(directory, stage, address, quiet=quiet)
        raise
    _show(directory, stage, address, quiet=quiet)


def _show(directory: str, stage: str, address: str | None, *, quiet: bool) -> None:
    """Print the results after a stage, and the page or the command that makes what is stale now."""
    if quiet:
        return
    from stg_ray.artifacts.run_dir import RunDir
    from stg_ray.report import print_stage

    run = RunDir(directory)
    config = run.read_config()
    print_stage(Console(highlight=False), run, config, stage)
    if stage == "report":
        _say(f"report: {run.sub_uri('report.html')}")
    elif following := next((name for name in config.stages if not run.is_done(name, config)), None):
        there = f" --address {shlex.quote(address)}" if address and STAGES[following].needs_ray else ""
        _say(f"next: stg-ray {following} {shlex.quote(directory)}{there}")


def _say(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(shown(text), markup=False)


def main() -> NoReturn:
    """Run the command line: what `stg_ray.__main__` does once it is imported."""
    begin()
    leave(command_line(app, sys.argv[1:]))
