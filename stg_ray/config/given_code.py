"""A digest of modules, classes and functions that are given in Python: equal where they compute the same.

Source is no measure of that: a notebook keeps none of its classes, and helpers and constants stand elsewhere. What is
hashed is compiled code, with all that it refers to as far as that is the user's; of what is installed only the name
counts. Another minor version of Python compiles to other code.
"""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from stg_ray.modules import INSTALLED, is_installed

Seen = dict[int, tuple[int, Any]]
"""Number, and the value itself, of every value that was met, by its identity."""

PLAIN = (int, float, complex, str, bytes, type(None), type(...))

LEFT_BY_PYTHON = {
    "__module__",
    "__dict__",
    "__weakref__",
    "__doc__",
    "__annotations__",
    "__slotnames__",
    "_abc_impl",
    "__firstlineno__",
    "__static_attributes__",
    "__annotations_cache__",
    "__annotate_func__",
}
"""Attributes of classes that decide nothing, or differ from one definition of a class to the next."""


def code_digest(value: Any) -> str:
    """Hash a module of PyTorch's, a class or a function, with all that it refers to: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for piece in _pieces(value, {}):
        digest.update(piece)
    return digest.hexdigest()[:32]


def is_of_torch(value: object, name: str) -> bool:
    """Whether a value is an instance of a class of PyTorch's, which is not imported for it."""
    return any(f"{kind.__module__}.{kind.__qualname__}" == name for kind in type(value).__mro__)


def _pieces(value: Any, seen: Seen) -> Iterator[bytes]:
    """Yield what a value is made of; its number where it was met before, as values may refer to each other."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}\n".encode(errors="surrogatepass")
        return
    if id(value) in seen:
        yield f"number {seen[id(value)][0]}\n".encode()
        return
    if not isinstance(value, tuple | frozenset):  # equal ones may be one object, or several
        seen[id(value)] = (len(seen), value)
    yield f"{type(value).__qualname__}\n".encode()
    if isinstance(value, list | tuple):
        for part in value:
            yield from _pieces(part, seen)
    elif isinstance(value, set | frozenset):  # in another order in the next process
        yield from sorted(hashlib.sha256(b"".join(_pieces(part, dict(seen)))).digest() for part in value)
    elif isinstance(value, Mapping):
        for item in value.items():
            yield from _pieces(item, seen)
    elif isinstance(value, type):
        yield from _of_class(value, seen)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, seen)
    elif isinstance(value, ModuleType):
        yield from _of_file(value)
    else:
        yield from _of_object(value, seen)


def _of_class(kind: type, seen: Seen) -> Iterator[bytes]:
    yield f"{kind.__qualname__} of {_place(kind)}\n".encode()
    if not _place(kind):
        yield from _pieces(kind.__bases__, seen)
        yield from _pieces({k: v for k, v in sorted(vars(kind).items()) if k not in LEFT_BY_PYTHON}, seen)


def _of_function(function: FunctionType, seen: Seen) -> Iterator[bytes]:
    yield f"{function.__qualname__} of {_place(function)}\n".encode()
    if not _place(function):
        code = function.__code__
        yield from _of_code(code, seen)
        named = dict(zip(code.co_freevars, map(_contents, function.__closure__ or ()), strict=True))
        named |= {name: function.__globals__[name] for name in _names(code) if name in function.__globals__}
        yield from _pieces([function.__defaults__, function.__kwdefaults__, dict(sorted(named.items()))], seen)


def _of_code(code: CodeType, seen: Seen) -> Iterator[bytes]:
    yield code.co_code
    yield f"{code.co_names} {code.co_varnames} {code.co_freevars}\n".encode()
    for constant in code.co_consts:
        yield from _of_code(constant, seen) if isinstance(constant, CodeType) else _pieces(constant, seen)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names that code refers to, and the functions inside it."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _of_file(module: ModuleType) -> Iterator[bytes]:
    yield module.__name__.encode()
    file = getattr(module, "__file__", None)
    if file and not _is_installed(module.__name__) and Path(file).is_file():
        yield hashlib.sha256(Path(file).read_bytes()).digest()


def _of_object(value: Any, seen: Seen) -> Iterator[bytes]:
    """Yield what an instance holds; of an installed class only where it is known what that is."""
    if isinstance(value, MethodType):
        yield from _pieces((value.__func__, value.__self__), seen)
    elif isinstance(value, staticmethod | classmethod):
        yield from _pieces(value.__func__, seen)
    elif isinstance(value, property):
        yield from _pieces((value.fget, value.fset), seen)
    elif is_of_torch(value, "torch.nn.modules.module.Module"):
        yield from _of_network(value, seen)
    elif is_of_torch(value, "torch.Tensor"):
        flat = value.detach().cpu().contiguous().reshape(-1)
        yield f"{value.dtype} {tuple(value.shape)}\n".encode()
        yield flat.view(sys.modules["torch"].uint8).numpy().tobytes()
    elif hasattr(value, "__qualname__"):  # a function of Python's or PyTorch's, which has no code to see
        yield f"{value.__qualname__} of {getattr(value, '__module__', '')}\n".encode()
    elif hasattr(value, "tobytes") and hasattr(value, "dtype"):
        yield f"{value.dtype} {value.shape}\n".encode()
        yield from _pieces(value.tolist(), seen) if value.dtype.hasobject else [value.tobytes()]
    elif all(hasattr(value, name) for name in ("func", "args", "keywords")):  # functools.partial
        yield from _pieces((value.func, value.args, value.keywords), seen)
    else:
        yield from _of_class(type(value), seen)
        if not _place(type(value)):
            yield from _pieces(dict(getattr(value, "__dict__", {})), seen)


def _of_network(network: Any, seen: Seen) -> Iterator[bytes]:
    """Yield the layers of a module of PyTorch's: their classes, attributes and weights."""
    known = vars(sys.modules["torch"].nn.Module())  # parts, weights, hooks and whether it trains
    for name, part in network.named_modules():
        yield f"{name} {part.extra_repr()}\n".encode()
        yield from _pieces(type(part), seen)
        yield from _pieces({k: v for k, v in sorted(vars(part).items()) if k not in known}, seen)
    yield from _pieces(dict(network.state_dict()), seen)


def _place(value: Any) -> str:
    """Return the Python module of an installed class or function; empty for the user's."""
    module = value.__module__ or ""
    return module if _is_installed(module) else ""


def _is_installed(module: str) -> bool:
    """Whether a Python module is of an installed package, or of Python."""
    top = module.partition(".")[0]
    if top == "__main__":  # whatever program runs there
        return False
    if top in INSTALLED or top in sys.stdlib_module_names:
        return True
    return is_installed(getattr(sys.modules.get(module), "__file__", None) or "")
