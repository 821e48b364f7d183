"""Strange configurations and strange inputs: each is refused by one line, or laid out as it was given.

A case is a table or a set of arrays with columns of strange types and values, and one setting with a strange value.
What `stg-ray plan` checks is done with it, and the parts are laid out, read back and compared with what was given. The
kind of a case is the structure of its input (source, types of the columns, what is odd about them) with the setting.

    python -m jobs.bench.fuzz [--minutes 5] [--seed 0] [--quick]
"""

from __future__ import annotations

import argparse
import math
import os
import random
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import stg_ray
from jobs.bench.fuzz_cases import Case, Given, any_case, configuration, give, settings_of
from jobs.bench.measure import show
from stg_ray.artifacts.storage import Storage
from stg_ray.checks import check
from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of, read_split, write_parts
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import SPLITS, TaskSet, observed

SLOW_SECONDS = 20.0
"""An answer that takes longer is a fault."""


@contextmanager
def within(folder: str | Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def outcome(case: Case) -> tuple[str, str]:
    """Do what `stg-ray plan` checks, lay out the parts, and compare them with what was given.

    Returns:
        "refused", "right", or "no such file" (its library cannot write it); or "fault" with what is wrong.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, within(folder), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy's, of arrays that nobody should make
                try:
                    given = give(case)
                except InputError:
                    raise
                except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                    if _is_ours(error):
                        raise
                    return "no such file", ""
            config = load_config(configuration(case, given.data))
            again = Config.model_validate(config.model_dump())
            if again.fingerprint(again.model_fields_set) != config.fingerprint(again.model_fields_set):
                return "fault", "another fingerprint when it is read again"
            task_set = given.task_set or load_task_set(config.data, config.seed)
            index = index_of(task_set, part_rows=config.data.rows_of_a_part, normalize=config.data.normalize)
            check(config, index)
            wrong = differences(case, given, task_set, config)
        except InputError as error:
            wrong = "more than one line" if "\n" in str(error) else ""
            if not wrong and time.monotonic() - began < SLOW_SECONDS:
                return "refused", ""
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            wrong = f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
    if time.monotonic() - began > SLOW_SECONDS:
        wrong = f"{time.monotonic() - began:.0f} s"
    return ("fault", wrong) if wrong else ("right", "")


def _is_ours(error: BaseException) -> bool:
    package = Path(stg_ray.__file__).parent
    return any(package in Path(frame.filename).parents for frame in traceback.extract_tb(error.__traceback__))


def differences(case: Case, given: Given, task_set: TaskSet, config: Config) -> str:
    """Lay the parts out, read them back, and tell what is not as it was given; nothing if all is."""
    storage = Storage("parts")
    index = write_parts(task_set, storage, part_rows=config.data.rows_of_a_part, seed=config.seed)
    seen: list[int] = []
    for split in SPLITS:
        if index.n_parts(split) == 0:
            continue
        part = read_split(storage, index, split)
        seen += part.samples.tolist()
        if not np.array_equal(part.inputs[:], task_set.inputs[part.samples]):
            return "inputs of the parts differ"
        if not np.array_equal(part.labels, task_set.labels[part.samples], equal_nan=part.labels.dtype.kind == "f"):
            return "labels of the parts differ"
    if len(seen) != len(set(seen)) or set(seen) != set(np.flatnonzero(task_set.split >= 0).tolist()):
        return "rows are lost, or in two parts"
    plain = case.source in ("arrays", "npz", "npy")
    if "lists" in " ".join(case.features) or "lists of names" in case.labels:
        return ""  # several columns of one, which tests/data compares
    if case.source != "csv" and any(isinstance(value, str) for values in given.features for value in values):
        return "texts became inputs"
    inputs = np.array([[float(v) for v in values] for values in given.features], np.float64).T.astype(np.float32)
    read = task_set.inputs[:].reshape(len(inputs), -1)  # dense, where they are stored sparse
    if not np.array_equal(read.astype(np.float32), inputs):
        return "inputs are not those that were given"
    return "" if plain and task_set.labels.dtype.kind == "f" else wrong_labels(case, given, task_set)


def wrong_labels(case: Case, given: Given, task_set: TaskSet) -> str:
    """Tell which task's labels do not say the same as the values that were given; nothing if all do."""
    names = {task.name: t for t, task in enumerate(task_set.tasks)}
    for number, values in enumerate(given.labels):
        t = next((names[name] for name in (f"y{number}", f"task_{number}", str(number)) if name in names), None)
        if t is None:
            continue  # dropped: constant
        codes, there = task_set.labels[:, t], observed(task_set.labels[:, t])
        if task_set.tasks[t].kind == "regression":
            targets = np.array([math.nan if v is None else float(v) for v in values], np.float64)
            if not np.allclose(codes[there], targets[there], rtol=1e-6):
                return f"values of y{number} ({case.labels[number]}) differ"
            continue
        meanings = {
            (repr(value), int(code)) for value, code in zip(np.array(values, object)[there], codes[there], strict=True)
        }
        if not len(meanings) == len({v for v, _ in meanings}) == len({c for _, c in meanings}):
            return f"classes of y{number} ({case.labels[number]}) are mixed up: {sorted(meanings)[:5]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="half a minute")
    options = parser.parse_args()
    seconds = 30.0 if options.quick else 60 * options.minutes
    kinds: set[tuple[Any, ...]] = set()
    ended: Counter[str] = Counter()
    faults: dict[str, Case] = {}
    began, rng = time.monotonic(), random.Random(options.seed)
    names = settings_of()
    while time.monotonic() - began < seconds:
        case = any_case(rng, names)
        how, what = outcome(case)
        ended[how] += 1
        if how != "no such file":
            kinds.add(case.kind)
        if how == "fault" and what not in faults:
            faults[what] = case
            print(f"FAULT {what}\n      {case!r} value={case.value!r}"[:700], flush=True)
    result = {"minutes": round(seconds / 60, 1), "cases": ended.total(), "kinds": len(kinds), "ended": dict(ended),
              "faults": len(faults)}  # fmt: skip
    show(
        "strange configurations and inputs",
        [
            ("cases, of distinct kinds", f"{ended.total():,}, {len(kinds):,}", "300 kinds"),
            ("refused by one line", f"{ended['refused']:,}", ""),
            ("laid out as they were given", f"{ended['right']:,}", ""),
            ("that no file can hold", f"{ended['no such file']:,}", ""),
            ("faults, distinct", f"{ended['fault']:,}, {len(faults)}", "0"),
        ],
        result,
    )
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
