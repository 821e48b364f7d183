"""Names of affinities, clusterers, trunks and functions of data: those of stg_ray, those of installed packages, and
`module:name`.

A package offers a class or function by an entry point, `[project.entry-points."stg_ray.affinities"]` in its
pyproject.toml, and its name is then as good as one of stg_ray's. Names of affinities and clusterers stay, as files and
tables are called by them; whether one is known is asked where a user gives a configuration, not where one is read:
networks are served, and reports are made, also where the package is not installed. Names of trunks and of functions of
data, without which neither can be done, become their `module:name`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from stg_ray.errors import InputError, unknown
from stg_ray.imports import check_importable, python_name, resolve

Affinity = Literal[
    "confidence_adjusted",
    "logit_adjusted",
    "data_map",
    "confidence_correlation",
    "landscape",
    "logit_correlation",
    "label_correlation",
    "gradient_cosine",
    "head_cosine",
    "tag",
    "transfer_gain",
    "etap",
    "grad_tag",
    "random",
]

GroupingMethod = Literal[
    "spectral",
    "louvain",
    "agglomerative",
    "kmeans",
    "fuzzy_c_means",
    "mixture",
    "gat",
    "sdp",
    "points",
    "budget",
    "auxiliary",
]

T = TypeVar("T")

NAME = re.compile(r"\w[\w-]*")
"""What a package may call what it offers: files of a run are named by it."""


@dataclass(frozen=True)
class Methods:
    """The names that a setting takes.

    Attributes:
        setting: the key, for messages.
        what: what a name is of, for messages.
        own: names of stg_ray.
        group: of the entry points by which packages offer others.
    """

    setting: str
    what: str
    own: tuple[str, ...]
    group: str

    def name_of(self, value: Any) -> Any:
        """Return the name of what is given in Python as a class; any other value as it is.

        Raises:
            ValueError: workers could not import it.
        """
        name = python_name(value, self.setting)
        if isinstance(name, str) and ":" in name:
            check_importable(name)
        return name

    def place_of(self, value: Any) -> Any:
        """Return the `module:name` of a name that an installed package offers; stg_ray's and others as they are.

        Raises:
            ValueError: neither stg_ray nor an installed package has the name, or two packages have.
        """
        if not isinstance(value, str) or ":" in value or value in self.own:
            return value
        return self._place(value)

    def installed(self) -> dict[str, set[str]]:
        """Return the names that installed packages offer, each with its classes `module:Class`: one, or a conflict."""
        from importlib.metadata import entry_points  # which takes a while

        found: dict[str, set[str]] = {}
        for point in entry_points(group=self.group):
            found.setdefault(point.name, set()).add(point.value.partition("[")[0].strip())  # without extras
        return found

    def code_of(self, name: str) -> str | None:
        """Return the `module:name` of a name whose code is not stg_ray's; None where there is none, or no single one.

        Unlike `place_of` it refuses nothing, for runs whose packages are not installed here.
        """
        if ":" in name:
            return name
        places = set() if name in self.own else self.installed().get(name, set())
        return next(iter(places)) if len(places) == 1 else None

    def check(self, names: Iterable[str]) -> None:
        """Refuse names of nothing; the modules of those that are there are not imported.

        Raises:
            InputError: neither stg_ray nor an installed package has the name, or two packages have.
        """
        for name in names:
            self._place_by_key(name)

    def load(self, name: str, base: type[T]) -> type[T]:
        """Import the class of a name that is not stg_ray's.

        Raises:
            InputError: there is no such class, it cannot be imported, it is no `base`, or a method of it is missing.
        """
        return self.checked(self.found(name), name, base)

    def found(self, name: str) -> Any:
        """Import what a name that is not stg_ray's stands for.

        Raises:
            InputError: there is nothing of the name, or it cannot be imported.
        """
        place = self._place_by_key(name)
        return resolve(place, self.setting if name == place else f"{self.setting}: {name} of an installed package")

    def checked(self, found: Any, name: str, base: type[T]) -> type[T]:
        """Return what was found by a name, or given itself, if it is a whole class of the kind.

        Raises:
            InputError: it is no `base`, or a method of it is missing.
        """
        if not (isinstance(found, type) and issubclass(found, base)):
            is_class = f"the class {found.__qualname__}" if isinstance(found, type) else type(found).__name__
            raise InputError(
                f"{self.setting}: {name} is {is_class}: expected a class derived from "
                f"{base.__module__}.{base.__qualname__}"
            )
        if inspect.isabstract(found):
            missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
            raise InputError(f"{self.setting}: {name} has no {missing}: {base.__qualname__} says what they return")
        return found

    def _place_by_key(self, name: str) -> str:
        """`place_of`, where no other will name the key."""
        try:
            return str(self.place_of(name))
        except ValueError as error:
            raise InputError(f"{self.setting}: {error}") from error

    def _place(self, name: str) -> str:
        installed = self.installed()
        if name not in installed:
            known = [*self.own, *sorted(installed)]
            if not known:
                raise ValueError("expected module:function")
            message = unknown(name, known, self.what)
            raise ValueError(f"{message} (or module:name of yours, or a name of a package that is to be installed)")
        places = sorted(installed[name])
        if len(places) > 1:
            raise ValueError(f"two installed packages offer {name!r}: give one of them, {' or '.join(places)}")
        if not NAME.fullmatch(name) or ":" not in places[0]:
            raise ValueError(
                f"an installed package offers {name!r} as {places[0]!r}: expected a name of letters, digits, _ and -, "
                f"and module:name, among its entry points {self.group}"
            )
        return places[0]


AFFINITY_METHODS = Methods("affinity.methods", "affinity", get_args(Affinity), "stg_ray.affinities")
GROUPING_METHODS = Methods("grouping.method", "grouping method", get_args(GroupingMethod), "stg_ray.clusterers")
TRUNK_NAMES = Methods(
    "model.trunk", "trunk", ("auto", "linear", "mlp", "cnn", "resnet18", "resnet34", "resnet50"), "stg_ray.trunks"
)
DATA_FUNCTIONS = Methods("data.function", "function", (), "stg_ray.data")
