"""What the commands of the command line have in common: their group, arguments and options, and what completes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stg_ray.config.paths import EMPTY, place
from stg_ray.config.presets import PRESETS
from stg_ray.errors import InputError, InterruptedRun, StgRayError, one_line
from stg_ray.stages import STAGES

STAGE_NAMES = tuple(name for name in STAGES if name != "parts")
"""The stages that `--until` and the stage commands name; the parts are laid out with the first of them."""

ORDER = ("run", "plan", *STAGE_NAMES, "auxiliary", "presets", "guide", "doctor")
"""The commands, as the help lists them."""


class Commands(TyperGroup):
    """The commands in their order; Typer takes an interrupt for success, and a file that is cut off for one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names as the help lists them."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

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


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def complete_source(incomplete: str) -> list[str]:
    """Return the presets and the YAML files here that begin so."""
    from pathlib import Path

    files = [path.name for pattern in ("*.yaml", "*.yml") for path in sorted(Path().glob(pattern))]
    return _beginning([*PRESETS, *files], incomplete)


def complete_stage(incomplete: str) -> list[str]:
    """Return the stages that begin so."""
    return _beginning(STAGE_NAMES, incomplete)


def complete_topic(incomplete: str) -> list[str]:
    """Return the topics of guides that begin so."""
    from stg_ray.guide import topics

    return _beginning(topics(), incomplete)


def complete_setting(incomplete: str) -> list[str]:
    """Return the settings that begin so, up to the value."""
    from stg_ray.config import Config

    keys = [
        f"{section}.{name}="
        for section, field in Config.model_fields.items()
        for name in getattr(field.annotation, "model_fields", {})
    ]
    return _beginning(keys, incomplete)


def _address(address: str | None) -> str | None:
    """Return the address of a cluster as it is; an empty one would start a Ray on this machine in silence."""
    if address is not None and not address.strip():
        raise InputError(f"--address {EMPTY.format('HOST:PORT')}")
    return address


Source = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|CONFIG.yaml",
        help="A preset (see: stg-ray presets) or a file.",
        autocompletion=complete_source,
    ),
]
Planned = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|CONFIG.yaml|DIR",
        callback=place,
        help="A preset (see: stg-ray presets), a file, or a run.",
        autocompletion=complete_source,
    ),
]
Directory = Annotated[str, typer.Argument(metavar="DIR", callback=place, help="The run: a path or a URI.")]
Topic = Annotated[str | None, typer.Argument(metavar="TOPIC", help="Which guide.", autocompletion=complete_topic)]
Out = Annotated[
    str | None,
    typer.Option("--out", metavar="DIR", callback=place, help="Run directory; runs/NAME-HASH if not given."),
]
Until = Annotated[
    str,
    typer.Option("--until", metavar="STAGE", help=f"One of {', '.join(STAGE_NAMES)}.", autocompletion=complete_stage),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one setting; may be given again. A list is [a,b].",
        autocompletion=complete_setting,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        callback=_address,
        help="Ray cluster to join; else $RAY_ADDRESS, else its own.",
    ),
]
LookAt = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="HOST:PORT", callback=_address, help="Ray cluster to look at; else $RAY_ADDRESS."
    ),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Import a trunk that DIR names, though it is somebody else's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Ray's own output, and tracebacks of errors.")]
