"""Reports of a run: tables in the terminal, and a self-contained page."""

from stg_ray.report import plots
from stg_ray.report.stage import run
from stg_ray.report.summary import Summary, summarize
from stg_ray.report.terminal import print_groups, print_stage, print_summary

__all__ = ["Summary", "plots", "print_groups", "print_stage", "print_summary", "run", "summarize"]
