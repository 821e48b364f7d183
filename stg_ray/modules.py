"""Python modules by name, and the user's that they import: found without importing any."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

INSTALLED = ("stg_ray", "torch", "torchvision", "numpy")
"""Packages that are not looked into wherever they are."""


def is_installed(file: str) -> bool:
    """Return whether a file is of Python's library or of an installed package."""
    paths = sysconfig.get_paths()
    is_here = file.startswith(tuple(paths[key] + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")))
    return is_here or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def search_here() -> None:
    """Add the current directory to Python's search path, as the directory of a script is."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


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


def modules_of(name: str | None) -> dict[str, Path]:
    """Return the files of the module in `module:function` and of the user's modules that it needs, by module.

    Each follows those that it imports, within functions too, so that the module itself is the last. Modules of Python
    and of installed packages are left out, as are those that are imported by names put together at run time.
    """
    module = name.partition(":")[0] if name is not None else ""
    file = module_file(name)
    if file is None:
        return {}
    found: dict[str, Path] = {}
    _collect(module, found, {module})
    return found | {module: file}


def imports_of(module: str, file: Path) -> tuple[str, ...]:
    """Return the modules that a file may import, in order: of `from a import b` both a and a.b, and those above them.

    Args:
        module: the name of the file's module.
        file: its source, in Python; of another none is known.
    """
    if file.suffix != ".py":
        return ()
    try:
        status = file.stat()
    except OSError:
        return ()
    return _read(module, file, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4096)
def _read(module: str, file: Path, _written: tuple[int, int]) -> tuple[str, ...]:
    """Read the imports of a file as it was written at that time, in that size."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # whoever imports it says so
        return ()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    named = [full for node in ast.walk(tree) for full in _named(node, package)]
    above = [
        ".".join(steps[:n]) for steps in (full.split(".") for full in [module, *named]) for n in range(1, len(steps))
    ]
    return tuple(dict.fromkeys(full for full in above + named if full and full != module))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the modules that a statement within a package names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        steps = package.split(".")[: -node.level + 1 or None] if node.level else []
        base = ".".join([*steps, *([node.module] if node.module else [])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names if base and alias.name != "*")


def _collect(module: str, found: dict[str, Path], seen: set[str]) -> None:
    """Add what a module needs to the modules that are found, and it itself, if it is the user's."""
    top = module.partition(".")[0]
    file = None if top in INSTALLED or top in sys.stdlib_module_names else module_file(f"{module}:")
    if file is None or not file.is_file() or is_installed(str(file)):
        return
    for imported in imports_of(module, file):
        if imported not in seen:
            seen.add(imported)
            _collect(imported, found, seen)
    found[module] = file
