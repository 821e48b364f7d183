"""Entry point of `python -m stg_ray`."""

from stg_ray.cli import main

main()
