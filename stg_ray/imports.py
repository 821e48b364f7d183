"""Imports at run time: functions that a configuration names as `module:function`, and torchvision with any torch."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from stg_ray.errors import InputError, NotHere, one_line
from stg_ray.modules import imports_of, is_installed, modules_of, search_here

_BEGAN = time.time_ns()

_READ: dict[str, tuple[int, int]] = {}
"""Time and size of the files of modules when they were imported."""


def resolve(name: str, key: str = "") -> Callable[..., Any]:
    """Import the function that `module:function` names; the module may be in the current directory.

    Args:
        name: of the function.
        key: the setting that names it, for messages.

    Raises:
        InputError: the name is not of this form, there is no such module or function, or the module cannot be imported.
    """
    module_name, colon, attribute = name.partition(":")
    title = f"{key}: {name!r}" if key else repr(name)
    if not colon or not attribute or not all(module_name.split(".")):
        raise InputError(f"{title}: expected module:function")
    search_here()
    try:
        if module_name.partition(".")[0] == "torchvision":
            torchvision()  # a plain import fails with another build of torch
        module = _as_written(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):  # the module is there
            raise InputError(f"{title} cannot be imported: {raised(error)}") from error
        raise NotHere(
            f"{title}: no module named {error.name!r} (looked in the current directory and the installed packages)",
            f"{error.name.replace('.', '/')}.py",
        ) from error
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the user's module does while it is imported, sys.exit too
        raise InputError(f"{title} cannot be imported: {raised(error)}") from error
    try:
        found: Any = module
        for step in attribute.split("."):
            found = getattr(found, step)
        function: Callable[..., Any] = found
    except AttributeError as error:
        here = ", which is the program that runs now: name the file, such as my_file:load"
        where = here if module_name == "__main__" else ""
        raise InputError(f"{title}: module {module_name!r} has no {attribute!r}{where}") from error
    return function


def _as_written(name: str) -> ModuleType:
    """Import a module, and those of the user's that it imports, as their files are now.

    A notebook has them as they were, and its workers, which are new, as they are.
    """
    before = set(sys.modules)
    importlib.import_module(name)
    renewed: set[str] = set()
    is_fixed = name.partition(".")[0] in ("__main__", "stg_ray")
    for module, file in () if is_fixed else modules_of(f"{name}:").items():
        if module not in sys.modules or not file.is_file():
            continue  # it is imported within a function that was not called yet
        written = (file.stat().st_mtime_ns, file.stat().st_size)
        is_read = _READ[module] == written if module in _READ else written[0] <= _BEGAN
        if module in before and not (is_read and renewed.isdisjoint(imports_of(module, file))):
            importlib.invalidate_caches()
            importlib.reload(sys.modules[module])
            renewed.add(module)
        _READ[module] = written
    return sys.modules[name]


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
