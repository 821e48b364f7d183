"""Which tasks help a main task? On planted sets, whose answer is known, and on tox21.

    python -m jobs.bench.auxiliary [--seeds 10] [--trainings 5] [--tox21 DATA_ROOT] [--main ASSAY]...

Planted: a main task with some 55 training labels, two tasks that share its function, and five that do not. Exactly the
two should be kept in 9 of 10 seeds, and the main task should gain clearly. tox21: what each of three assays gains from
the other eleven. Minutes for each planted set on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

import stg_ray as sr
from jobs.bench.auxiliary_sets import TWINS, planted, tox21
from jobs.bench.measure import show
from stg_ray.cluster.session import session
from stg_ray.progress import Reporter
from stg_ray.report.auxiliary import TITLES, print_auxiliaries

ASSAYS = ("NR-AR-LBD", "SR-ATAD5", "SR-p53")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="planted sets")
    parser.add_argument("--trainings", type=int, default=3, help="of every network")
    parser.add_argument("--tox21", metavar="DATA_ROOT", help="folder of molecules/tox21.parquet")
    parser.add_argument("--main", action="append", help=f"assays; {', '.join(ASSAYS)} by default")
    arguments = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {"benchmark": "auxiliary", "planted": [], "tox21": {}}
    with session(None), tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            about = found(planted(seed), ["main"], f"{folder}/planted-{seed}", arguments.trainings, width=32)["main"]
            result["planted"].append(about)
            rows.append((f"planted {seed}", *told(about)))
        if arguments.seeds:
            right = sum(set(about["kept"]) == set(TWINS) for about in result["planted"])
            rows.append(("exactly the helpful ones", f"{right} of {arguments.seeds}", "9 of 10"))
        if arguments.tox21:
            mains = arguments.main or list(ASSAYS)
            result["tox21"] = found(tox21(arguments.tox21), mains, f"{folder}/tox21", arguments.trainings, width=128)
            print_auxiliaries(Console(), result["tox21"])
            rows += [(assay, *told(about)) for assay, about in result["tox21"].items()]
    show("Which tasks help a main task?", rows, result)


def found(tasks: sr.TaskSet, mains: list[str], out: str, trainings: int, width: int) -> dict[str, Any]:
    """What helps each of the main tasks of a set, by networks of a width."""
    settings = {
        "model": {"width": width},
        "profile": {"epochs": 5, "precision": "float32", "workers": 1},
        "retrain": {"precision": "float32", "plans": [], "min_steps": 150},
    }
    quiet = Reporter(Console(quiet=True))
    sr.run(tasks, out, settings=settings, until="affinity", reporter=quiet)
    about = sr.auxiliary(out, mains, trainings=trainings, candidates=len(tasks.tasks), reporter=quiet)
    for name, each in about.items():
        print(f"{Path(out).name} {name}: kept {each['kept']}", flush=True)
    return about


def told(about: dict[str, Any]) -> tuple[str, str]:
    """What was kept, and scores on test rows."""
    scores = "; ".join(f"{TITLES[way]} {row['test']:.3f}" for way, row in about["ways"].items())
    gain = about["ways"].get("adaptive", {}).get("gain")
    clear = "" if gain is None else f"gain {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    return f"keeps {', '.join(about['kept']) or 'none'}: {scores}", clear


if __name__ == "__main__":
    main()
