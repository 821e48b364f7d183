"""The report stage: one page from the artifacts of all other stages."""

from __future__ import annotations

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.progress import StageProgress
from stg_ray.report.page import write_page


def run(run_dir: RunDir, config: Config, progress: StageProgress) -> None:
    """Write report.html from the run's artifacts."""
    write_page(run_dir, config)
    progress.summary = run_dir.sub_uri("report.html")
