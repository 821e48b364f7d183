"""Imports at run time: functions that a configuration names as `module:function`, and torchvision with any torch."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from stg_ray.errors import InputError, one_line

_BEGAN = time.time_ns()

_READ: dict[str, tuple[int, int]] = {}
"""Time and size of the files of modules when they were imported."""


def resolve(name: str) -> Callable[..., Any]:
    """Import the function that `module:function` names; the module may be in the current directory.

    Raises:
        InputError: the name is not of this form, there is no such module or function, or the module cannot be imported.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not attribute or not all(module_name.split(".")):
        raise InputError(f"{name!r}: expected module:function")
    search_here()
    try:
        if module_name.partition(".")[0] == "torchvision":
            torchvision()  # a plain import fails with another build of torch
        module = _as_written(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name!r}: no module named {error.name!r} (looked in the current directory and the installed packages)"
        ) from error
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the user's module does while it is imported, sys.exit too
        raise InputError(f"{name!r} cannot be imported: {raised(error)}") from error
    try:
        found: Any = module
        for step in attribute.split("."):
            found = getattr(found, step)
        function: Callable[..., Any] = found
    except AttributeError as error:
        here = ", which is the program that runs now: name the file, such as my_file:load"
        where = here if module_name == "__main__" else ""
        raise InputError(f"{name!r}: module {module_name!r} has no {attribute!r}{where}") from error
    return function


def _as_written(name: str) -> ModuleType:
    """Import a module as its file is now. A notebook has it as it was, and its workers, which are new, as it is."""
    was_there = name in sys.modules
    module = importlib.import_module(name)
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file() or name.partition(".")[0] in ("__main__", "stg_ray"):
        return module
    written = (file.stat().st_mtime_ns, file.stat().st_size)
    is_read = _READ[name] == written if name in _READ else written[0] <= _BEGAN
    if was_there and not is_read:
        importlib.invalidate_caches()
        module = importlib.reload(module)
    _READ[name] = written
    return module


def check_arguments(name: str, function: object, arguments: Mapping[str, object]) -> None:
    """Refuse to call what cannot be called, or not with these keyword arguments.

    Args:
        name: of the function, for messages.

    Raises:
        InputError: it is no function, needs an argument that is not given, or does not take one that is.
    """
    if not callable(function):
        raise InputError(f"{name} is {type(function).__name__}: expected a function that returns a stg_ray.TaskSet")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in functions have none
    try:
        signature.bind(**arguments)
    except TypeError as error:
        given = ", ".join(arguments) or "none"
        raise InputError(
            f"{name}{signature} cannot be called: {error} (data.arguments gives its arguments by name: {given})"
        ) from error


def raised(error: BaseException) -> str:
    """Describe an exception of the user's code in one line: what it is, and where the user's own code was.

    The traceback is kept in the exception that this is the message of, which `--verbose` shows. Call it where the
    exception is caught.
    """
    said = one_line(error)
    name = type(error).__name__
    text = f"it raised {name}" if said in (name, "") else f"it raised {name}: {said}"
    if isinstance(error, SyntaxError) and error.filename is not None:
        return text  # its own words name the file and the line
    steps = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    where = users_place([(code.co_filename, line, code.co_name) for code, line in steps])
    return f"{text} ({where})" if where else text


def users_place(steps: Iterable[tuple[str, int | str, str]]) -> str | None:
    """Return the last place in code of the user's, on the way to where an exception was raised.

    Args:
        steps: file, line and function, the outermost first. Where no file is the user's, the last that is not of this
            package counts; None is returned if all are.
    """
    foreign = [step for step in steps if not _is_own(step[0])]
    users = [step for step in foreign if not is_installed(step[0])] or foreign
    if not users:
        return None
    file, line, function = users[-1]
    return f"{file}, line {line}, in {function}"


def _is_own(file: str) -> bool:
    """Return whether a frame is of this package, or of Python's machinery of imports."""
    return file.startswith((str(Path(__file__).parent) + os.sep, "<frozen", importlib.__file__))


def is_installed(file: str) -> bool:
    """Return whether a frame is of Python's library or of an installed package, which the user's code called."""
    paths = sysconfig.get_paths()
    return file.startswith(tuple(paths[key] + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")))


def is_only_here(value: object) -> bool:
    """Whether a value is a function or class that workers cannot import: of `__main__`, or within a function."""
    name = getattr(value, "__qualname__", None)
    return callable(value) and name is not None and (getattr(value, "__module__", "") == "__main__" or "<" in name)


def python_name(value: object, key: str) -> object:
    """Return the name `module:function` of a function or class that is given itself; any other value as it is.

    Args:
        value: what was given for a setting that takes a name.
        key: the setting, for messages.

    Raises:
        ValueError: it cannot be imported by a name.
    """
    if not callable(value):
        return value
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None or name is None:
        raise ValueError(
            f"{key} is an object of the class {type(value).__name__}, which no file can name: give a class, a function "
            "that returns it, or module:name where a module holds it"
        )
    if "<" in name:
        check_importable(f"{module}:{name}")
    return f"{module}:{name}"


def check_importable(name: str) -> None:
    """Refuse a name that only this program, or only the function that it is defined in, knows.

    Args:
        name: of a function or class, `module:function`.

    Raises:
        ValueError: it is in `__main__`, or within a function.
    """
    module, _, attribute = name.partition(":")
    if module == "__main__" or "<" in attribute:
        where = "in a notebook or in the program itself" if module == "__main__" else "within a function, or a lambda"
        short = attribute.rpartition(".")[2].strip("<>")
        raise ValueError(
            f"it is defined {where}, from where workers cannot import it: write it into a file beside, such "
            f"as my_code.py, and give my_code:{short}"
        )


def module_file(name: str | None) -> Path | None:
    """Return the file of the module in `module:function` without importing it; None where there is no such file."""
    if name is None or ":" not in name:
        return None
    search_here()
    first, *steps = name.partition(":")[0].split(".")
    if first == "__main__":  # the program itself, which has no specification
        main = getattr(sys.modules.get("__main__"), "__file__", None)
        return Path(main) if main and not steps else None
    try:
        spec = importlib.util.find_spec(first)
        for number, step in enumerate(steps):  # find_spec would import the packages above
            places = spec.submodule_search_locations if spec is not None else None
            full = ".".join([first, *steps[:number], step])
            spec = None if places is None else PathFinder.find_spec(full, places)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def search_here() -> None:
    """Add the current directory to Python's search path, as the directory of a script is."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def work_in(directory: str) -> None:
    """Change to the directory that the program was started in, where this machine has it.

    Ray gives its workers directories of their own. Relative paths of a configuration, and those that a user's code
    opens, mean the same files in all processes this way.
    """
    with suppress(OSError):
        os.chdir(directory)


@cache
def torchvision() -> ModuleType:
    """Import torchvision, whatever build of torch is installed.

    torchvision's wheels contain operators (non-maximum suppression and the like) that are built against one build of
    torch. With another build, such as a torch for CPUs only, they cannot be loaded, and the import fails because it
    registers shapes for two of them. torchvision's models, transforms and data sets use neither of the two, so
    declaring them is enough.

    Raises:
        InputError: torchvision is not installed.
    """
    import torch

    ops: Any = torch.ops  # untyped in torch
    new_library: Any = torch.library.Library
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise InputError("torchvision is not installed: pip install torchvision, in the version that fits torch")
    operators = next(Path(spec.origin).parent.glob("_C*"), None)
    try:
        ops.load_library(str(operators))
    except OSError:
        library = new_library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
    return importlib.import_module("torchvision")


_DECLARED: list[Any] = []
"""The libraries of declared operators: a declaration lasts as long as its library object."""
