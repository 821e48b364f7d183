"""Entry point of `stg-ray` and of `python -m stg_ray`. It imports little: signals are met from the first moment."""

from __future__ import annotations

from typing import NoReturn

from stg_ray.exits import begin, exit_code, leave


def main() -> NoReturn:
    """Run the command line."""
    begin()
    try:
        from stg_ray.cli import main as commands

        commands()
    except KeyboardInterrupt as error:  # before it is in any command's hands
        leave(exit_code(error, verbose=False))


if __name__ == "__main__":
    main()
