"""A run as Python sees it: its groups, results, affinities and networks, read on demand."""

from __future__ import annotations

import html
import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.outlook import FORECAST
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.data_maps.files import DataMap
from stg_ray.errors import InputError, StgRayError, one_line
from stg_ray.report import Summary, summarize
from stg_ray.serving import Predictor, load
from stg_ray.stages import STAGES, TUNING

if TYPE_CHECKING:
    import pandas as pd
    import torch

Value = TypeVar("Value")


def _left_by(stage: str) -> Callable[[Callable[[Run], Value]], Callable[[Run], Value]]:
    """Keep what a method reads for as long as a stage is done as it was then; also where the directory is gone."""

    def decorate(read: Callable[[Run], Value]) -> Callable[[Run], Value]:
        @wraps(read)
        def value(run: Run) -> Value:
            name, marker = read.__name__, run.run_dir.marker(stage)
            if name not in run._read or (run._read[name][0] != marker and run.run_dir.has_config()):
                run._read[name] = (marker, read(run))
            kept: Value = run._read[name][1]
            return kept

        return value

    return decorate


class Run:
    """A run: its groups, results, affinities and networks. `sr.run` returns one, `Run(path)` opens one.

    Each is read from the run's directory at the first use, and kept until a stage leaves another one. Where a stage has
    not left it yet, an InputError names the stage.

    Args:
        run_dir: the run's directory, or its path or URI.

    Raises:
        InputError: there is no run at the path.

    Attributes:
        run_dir: the run's directory, for all else that it holds (guides/how_it_works.md lists its files).

    Example:
        >>> import stg_ray as sr
        >>> run = sr.Run.from_path("runs/tiny")
        >>> run.groups.groups
        [['a1', 'b2'], ['a2', 'b1']]
        >>> sorted(run.affinities)
        ['data_map', 'label_correlation', 'landscape']
        >>> run.results.columns.tolist()
        ['plan', 'group', 'task', 'split', 'serving', 'metric', 'value', 'seed']
        >>> run.predictor().predict(np.zeros((2, 5)))["a1"].shape
        (2,)
    """

    def __init__(self, run_dir: RunDir | str | os.PathLike[str]) -> None:
        if not isinstance(run_dir, RunDir):
            run_dir = RunDir(run_dir)
            run_dir.read_config()
        self.run_dir = run_dir
        self._read: dict[str, tuple[dict[str, Any], Any]] = {}

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Run:
        """Open the run in a directory, given as a path or a URI.

        Raises:
            InputError: there is no run.

        Example:
            >>> import stg_ray as sr
            >>> sr.Run.from_path("nowhere")
            Traceback (most recent call last):
            ...
            stg_ray.errors.InputError: .../nowhere is no run directory (no config.yaml in it): ...
        """
        return cls(path)

    @property
    def uri(self) -> str:
        """The run's directory: its URI, or its path where it is on this machine."""
        return self.run_dir.uri

    @property
    def path(self) -> Path:
        """The run's directory on this machine.

        Raises:
            InputError: it is on an object store.
        """
        if not self.run_dir.is_local:
            raise InputError(f"{self.uri} is not on this machine: use run.uri")
        return Path(self.run_dir.root)

    @property
    def done(self) -> tuple[str, ...]:
        """Names of the stages that are done, in their order."""
        return tuple(stage for stage in STAGES if self.run_dir.is_done(stage, self.config))

    @property
    def config(self) -> Config:
        """The configuration, as resolved."""
        self._check_there()
        return self.run_dir.read_config()

    @property
    @_left_by("group")
    def groups(self) -> Groups:
        """Groups of tasks that share a network (groups.json)."""
        return Groups.from_dict(self._json("groups.json", "group"))

    @property
    @_left_by("retrain")
    def results(self) -> pd.DataFrame:
        """Metrics of every task in every plan and training: one row each (results.parquet)."""
        return self._table("results.parquet")

    @property
    @_left_by("retrain")
    def costs(self) -> pd.DataFrame:
        """Cost (samples x epochs x parameters) and seconds of the networks of every plan: one row each (costs.parquet).

        A network that several plans have has a row in each, of one `network`.
        """
        return self._table("costs.parquet")

    @property
    @_left_by("affinity")
    def affinities(self) -> dict[str, TaskMatrix]:
        """The K x K matrix of each method of `affinity.methods`, with its standard errors where they are known."""
        return {name: self._affinity(name) for name in self.config.affinity.methods}

    @property
    @_left_by("profile")
    def data_map(self) -> DataMap:
        """The data maps of the training samples at the last snapshot."""
        self._require("profile/data_map", "profile")
        return DataMap(self.uri)

    @property
    @_left_by("retrain")
    def summary(self) -> Summary:
        """The comparison of the plans: a row each, the differences and a verdict in words."""
        self._require("groups.json", "group")
        self.run_dir.check_file("parts", "parts/index.json")
        for file in ("results.parquet", "costs.parquet", "failures.json"):
            self._require(file, "retrain")
        return summarize(self.run_dir, self.config)

    @property
    @_left_by("retrain")
    def chosen(self) -> dict[str, Any] | None:
        """Networks to deploy, with the reasons (chosen.json); None where the run did not choose."""
        return self._json_if_any("chosen.json")

    @property
    @_left_by("retrain")
    def forecast(self) -> dict[str, Any] | None:
        """What was expected of grouping before all plans were trained (forecast.json); None where it was not told."""
        return self._json_if_any(FORECAST)

    @property
    @_left_by("retrain")
    def search(self) -> dict[str, Any] | None:
        """What a search measured, and the groups that it found (search.json); None where there was none."""
        return self._json_if_any("search.json")

    @property
    @_left_by("tune")
    def tuning(self) -> dict[str, Any] | None:
        """What tuning compared, and the settings that it found (tune.json); None where nothing was tuned."""
        if not self.config.tune.trials:
            return None
        tuning: dict[str, Any] = self._json(TUNING, "tune")
        return tuning

    @property
    def report(self) -> str:
        """Path or URI of the report, a page that opens without a network."""
        self._require("report.html", "report")
        return self.run_dir.sub_uri("report.html")

    def predictor(
        self,
        plan: str | None = None,
        *,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        trust_code: bool = False,
    ) -> Predictor:
        """Load the trained networks of a plan, which predict together.

        Args:
            plan: its name; by default as in `sr.load`.
            seed: of the training; by default the first one.
            device: where the networks predict.
            trust_code: as in `sr.load`.

        Raises:
            InputError: the networks are not trained yet, or there is no such plan or seed.
        """
        self._check_there()
        return load(self.uri, plan, seed=seed, device=device, trust_code=trust_code)

    def __repr__(self) -> str:
        return f"Run({self.uri!r}, {self._state})"

    def _repr_html_(self) -> str:
        """Return the stages that are done, the groups and the verdict, for notebooks."""
        parts = [f"<p><b>{html.escape(self.uri)}</b><br>{html.escape(self._state)}</p>"]
        if self.run_dir.exists("groups.json"):
            parts.append(self.groups._repr_html_())
        if self.run_dir.exists("groups.json") and self.run_dir.exists("results.parquet"):
            parts.append(f"<p>{html.escape(self.summary.verdict)}</p>")
        return "".join(parts)

    @property
    def _state(self) -> str:
        """What is done, in words; of a directory that cannot be read, why."""
        try:
            self._check_there()
            return f"done: {', '.join(self.done) or 'nothing'}"
        except (StgRayError, OSError) as error:
            return one_line(error)

    def _check_there(self) -> None:
        """Refuse a directory that was deleted or moved after the run was opened."""
        if not self.run_dir.has_config():
            raise InputError(
                f"the directory of this run, {self.uri}, is gone: give sr.Run.from_path the place that it was moved "
                "to (that of a TaskGrouper ends with its process, unless out= keeps it)"
            )

    def _exists(self, file: str) -> bool:
        there = self.run_dir.exists(file)
        if not there:
            self._check_there()
        return there

    def _affinity(self, name: str) -> TaskMatrix:
        file, errors = f"affinity/{name}.parquet", f"affinity/{name}.stderr.parquet"
        self._require(file, "affinity")
        matrix = TaskMatrix.from_table(self.run_dir.read_parquet(file))
        self.run_dir.check_file("affinity", errors)
        if not self.run_dir.exists(errors):
            return matrix
        return replace(matrix, errors=TaskMatrix.from_table(self.run_dir.read_parquet(errors)).values)

    def _json(self, file: str, stage: str) -> Any:
        self._require(file, stage)
        return self.run_dir.read_json(file)

    def _json_if_any(self, file: str) -> dict[str, Any] | None:
        """Return what not every retrain leaves, None where it left none."""
        if not self._exists(file):
            self._require("results.parquet", "retrain")
            return None
        found: dict[str, Any] = self._json(file, "retrain")
        return found

    def _table(self, file: str) -> pd.DataFrame:
        self._require(file, "retrain")
        frame: pd.DataFrame = self.run_dir.read_parquet(file).to_pandas()
        return frame

    def _require(self, file: str, stage: str) -> None:
        """Refuse a file that a stage has not left yet, or that is not as it left it."""
        self.run_dir.check_file(stage, file)
        if not self._exists(file):
            raise InputError(
                f"{stage} is not done yet in {self.uri}: finish it with stg-ray run, or sr.run with the same directory"
            )
