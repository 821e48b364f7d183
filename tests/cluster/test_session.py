"""What is said of an exception that Ray hands on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stg_ray import imports
from stg_ray.cluster.session import root_cause


class OfRay(Exception):
    """An exception of Ray's: the traceback of the worker is text."""


def text_of(*files: str) -> str:
    steps = "".join(f'  File "{file}", line {number}, in f{number}\n' for number, file in enumerate(files))
    return f"Training failed:\nTraceback (most recent call last):\n{steps}ValueError: late"


def test_the_place_in_the_users_code_is_named() -> None:
    error = OfRay(text_of(imports.__file__, "/home/me/mine.py", np.__file__))
    error.__cause__ = ValueError("late")
    assert root_cause(error) == "late (/home/me/mine.py, line 1, in f1)"


def test_where_none_of_the_code_is_the_users_there_is_no_place() -> None:
    of_ours = str(Path(imports.__file__).with_name("training") / "trainer.py")
    assert root_cause(OfRay(text_of(of_ours, np.__file__))) == "ValueError: late"
    assert root_cause(OfRay("")) == "OfRay"
