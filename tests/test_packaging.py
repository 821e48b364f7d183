"""Contents of the package: one version, the guides, and the marker that the package is typed."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import stg_ray


def test_there_is_one_version(repository: Path) -> None:
    assert stg_ray.__version__ == tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]


def test_the_changelog_begins_with_this_version(repository: Path) -> None:
    changelog = (repository / "stg_ray" / "guides" / "changelog.md").read_text()
    newest = next(line for line in changelog.splitlines() if line.startswith("## "))
    assert newest.split()[1] == stg_ray.__version__.partition(".dev")[0]


def test_guides_and_types_come_with_the_package() -> None:
    package = resources.files(stg_ray)
    assert (package / "py.typed").is_file()
    guides = {guide.name for guide in (package / "guides").iterdir()}
    assert guides >= {"changelog.md", "contributing.md", "reading_the_report.md", "trust.md", "your_data.md"}
