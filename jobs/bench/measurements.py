"""The guide of measurements, from measurements.jsonl: one value a line, with its command, date and machine.

    python -m jobs.bench.measurements            writes stg_ray/guides/measurements.md

To replace a value, run its benchmark, whose last line is one JSON object, and edit its line. Values that were measured
before that line was kept come from the tables of the guides; their date is that on which they were written there.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

LINES = Path(__file__).with_name("measurements.jsonl")
GUIDE = Path(__file__).parents[2] / "stg_ray" / "guides" / "measurements.md"

HEAD = """\
# Measurements

One value a row, with the command that measures it, the date on which it was written down, and the machine. This page
is made from `jobs/bench/measurements.jsonl` by `python -m jobs.bench.measurements`. Times are of different machines of
the same size. A value is of the version of its date; those before 2026-11-27 are from before mlp trunks got a recipe of
their own ([regularisation](regularisation.md)): those of yeast, tox21 and other tables had 128 units, no dropout,
`lr` 0.005 and `weight_decay` 0.0001. Until 2026-11-28 they had two layers of 256, whatever their inputs.

Measured elsewhere, with tables of their own: [whether grouping helps](does_it_help.md), [which affinity says who helps
whom](measured_gains.md), [how often a verdict is wrong](verdict.md), [regularisation](regularisation.md),
[tuning](tuning.md), [the search](search.md), [clusterers on Taskonomy](choosing.md), [GPUs](gpus.md),
[faults](fault_tolerance.md), [damage and kills](damage.md).
"""


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES.read_text().splitlines()]


def page(rows: list[dict[str, Any]]) -> str:
    """The guide, in Markdown: a section each, and in it a table for each run of a benchmark."""
    lines = [HEAD]
    for section, of_section in itertools.groupby(rows, lambda row: row["section"]):
        lines.append(f"## {section}\n")
        runs = itertools.groupby(of_section, lambda row: (row["command"], row["date"], row["machine"]))
        for (command, date, machine), values in runs:
            lines += [f"`{command}`, {date}, {machine}:\n", "| | |", "| --- | --- |"]
            lines += [f"| {row['what']} | {row['value']} |" for row in values]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    GUIDE.write_text(page(read()))
