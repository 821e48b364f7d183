"""What a run found, as a table in the terminal and as a self-contained page."""

from stg_ray.report.page import write_report
from stg_ray.report.summary import Summary, summarize
from stg_ray.report.terminal import print_findings, print_groups, print_plan, print_summary

__all__ = ["Summary", "print_findings", "print_groups", "print_plan", "print_summary", "summarize", "write_report"]
