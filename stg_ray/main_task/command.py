"""The command `stg-ray auxiliary`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stg_ray.config.paths import check_outlives_job
from stg_ray.exits import with_interrupts
from stg_ray.options import Address, Directory, Quiet, TrustCode, Verbose


def auxiliary_command(  # noqa: PLR0913  an option each
    directory: Directory,
    main: Annotated[list[str], typer.Option("--main", metavar="TASK", help="A main task; may be given again.")],
    candidates: Annotated[int, typer.Option(help="Tasks that are tried: those that help most by the affinities.")] = 10,
    trainings: Annotated[int, typer.Option(help="Trainings of every network.")] = 5,
    address: Address = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
) -> None:
    """Find which of the other tasks help a main task, and train it with them (see: stg-ray guide main-task)."""
    from rich.console import Console

    from stg_ray.artifacts.run_dir import RunDir
    from stg_ray.errors import PartlyFailed
    from stg_ray.main_task.auxiliary import auxiliary
    from stg_ray.progress import Reporter
    from stg_ray.report.auxiliary import print_auxiliaries
    from stg_ray.stages import AUXILIARY

    def work() -> Any:
        return auxiliary(
            directory,
            main,
            candidates=candidates,
            trainings=trainings,
            address=address,
            reporter=Reporter(Console(quiet=True)) if quiet else None,
            verbose=verbose,
            trust_code=trust_code,
        )

    console = Console(highlight=False, quiet=quiet)
    check_outlives_job(directory)
    try:
        with_interrupts(work, directory)
    except PartlyFailed:
        print_auxiliaries(console, RunDir(directory).read_json(AUXILIARY)["mains"])
        raise
    print_auxiliaries(console, RunDir(directory).read_json(AUXILIARY)["mains"])
