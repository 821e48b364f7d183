"""The whole path as a scikit-learn estimator: fit on arrays or data frames, predict with the networks of the groups."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from rich.console import Console
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from stg_ray.artifacts.groups import Groups
from stg_ray.config.loading import checked_settings
from stg_ray.config.metric import MetricConfig
from stg_ray.errors import InputError
from stg_ray.pipeline import run
from stg_ray.progress import Reporter
from stg_ray.runs import Run
from stg_ray.serving import Predictor
from stg_ray.tasks import TaskKind, TaskSet
from stg_ray.tasks.containers import nan_where_masked
from stg_ray.tasks.known import known_labels
from stg_ray.training.metrics import primary_score


class TaskGrouper(BaseEstimator):  # type: ignore[misc]  # scikit-learn's classes have no types
    """Group the tasks of `Y`, and train a network for each group.

    `fit` profiles all tasks in one training, groups them and trains the groups' networks, on a local Ray or the
    cluster at $RAY_ADDRESS. It is clonable, and its parameters are read and set as scikit-learn's are.

    Args:
        n_groups: number of groups, or auto to choose it.
        method: grouping method, such as spectral, louvain or agglomerative (`grouping.method`).
        affinities: what tells tasks alike (`affinity.methods`).
        kinds: K kinds of tasks, None where they are to be told from `Y`, or kinds by name: see `TaskSet.from_arrays`.
        missing: values that mark missing labels, for all tasks or by name: see `TaskSet.from_arrays`.
        epochs: of the profile, and of each network; the configuration's defaults if None.
        plans: groupings that are trained (`retrain.plans`); `("ours", "all_in_one", "random")` says in
            `run_.summary` whether grouping helped.
        settings: any other keys of the configuration by section, such as `{"model": {"width": 64}}`.
        out: the run directory, where a fit with the same data and parameters goes on; by default a temporary one,
            which lasts as long as `run_`.
        random_state: seed of the split, the trainings and the grouping: an integer, a RandomState or None.
        verbose: whether progress is printed.

    Attributes:
        groups_: the groups.
        labels_: (K,) index of the group whose network serves each task.
        task_names_: names of the tasks: the columns of `Y` if that is a data frame, else task_0, task_1, ...; without
            constant ones that `{"data": {"constant_tasks": "drop"}}` dropped.
        n_features_in_: number of features (of channels for images).
        feature_names_in_: names of the features, where `X` is a data frame.
        classes_: the labels of each task, where no task is a regression.
        predictor_: the networks, as `sr.load` returns them.
        run_: the run, with its results and report.

    Example:
        >>> import stg_ray as sr
        >>> grouper = sr.TaskGrouper(n_groups=2, epochs=5)
        >>> grouper.get_params()["method"]
        'spectral'
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> Y = X[:, [0, 0, 1, 1]] > 0
        >>> grouper.fit(X, Y).labels_.shape
        (4,)
        >>> grouper.predict(X).shape
        (200, 4)
    """

    _metric = MetricConfig()  # until a run says another

    def __init__(  # noqa: PLR0913  scikit-learn's parameters are arguments of the constructor
        self,
        n_groups: int | Literal["auto"] = "auto",
        *,
        method: str = "spectral",
        affinities: Sequence[str] = ("auto",),
        kinds: Sequence[TaskKind | None] | Mapping[str, TaskKind] | None = None,
        missing: Sequence[Any] | Mapping[str, Any] | None = None,
        epochs: int | None = None,
        plans: Sequence[str] = ("ours",),
        settings: Mapping[str, Any] | None = None,
        out: str | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.n_groups = n_groups
        self.method = method
        self.affinities = affinities
        self.kinds = kinds
        self.missing = missing
        self.epochs = epochs
        self.plans = plans
        self.settings = settings
        self.out = out
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, Y: Any) -> TaskGrouper:
        """Group the tasks and train the networks.

        Args:
            X: (N, F) features, or (N, C, H, W) uint8 images; an array or a data frame.
            Y: (N, K) labels, numbers or texts, NaN or -1 where one is missing; an array or a data frame.

        Raises:
            InputError: labels or parameters are wrong.
            StgRayError: the run failed.
        """
        validate_data(self, X, skip_check_array=True)  # sets n_features_in_ and feature_names_in_
        seed = self._seed()
        task_set = TaskSet.from_arrays(X, Y, kinds=self.kinds, missing=self.missing, seed=seed)
        reporter = Reporter(None if self.verbose else Console(quiet=True))
        temporary = tempfile.mkdtemp(prefix="stg_ray-") if self.out is None else None
        try:
            self.run_: Run = run(task_set, self.out or temporary, settings=self._sections(seed), reporter=reporter)
            self.predictor_: Predictor = self.run_.predictor()
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        if temporary is not None:
            weakref.finalize(self.run_, shutil.rmtree, temporary, ignore_errors=True)
        self._metric = self.run_.config.metric  # kept where the run's directory is gone
        self.groups_: Groups = self.run_.groups
        self.labels_: np.ndarray = self.groups_.labels
        self.task_names_: list[str] = self.groups_.tasks
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict all tasks, each by the network of its group.

        Args:
            X: (N, ...) as in `fit`.

        Returns:
            (N, K) labels as `Y` has them: the most probable class, or the value of a regression; integers where there
            is no regression and no text. Without the columns of constant tasks that were dropped: see `task_names_`.
        """
        by_task = self._predicted(X)
        columns = []
        for task in self.predictor_.index.tasks:
            values = by_task[task.name]
            if task.kind != "regression":
                values = (values > 0.5).astype(np.int64) if task.kind == "binary" else values.argmax(axis=1)
                values = task.original(values)
            columns.append(values)
        has_texts = any(column.dtype.kind == "U" for column in columns)
        return np.stack([column.astype(object) for column in columns] if has_texts else columns, axis=1)

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """Predict the probabilities of all classes, as scikit-learn's multi-output classifiers do.

        Args:
            X: (N, ...) as in `fit`.

        Returns:
            An array (N, C) of class probabilities for each of `task_names_`, in the ascending order of the labels;
            `[p[:, 1] for p in ...]` are those of the second label of binary tasks.

        Raises:
            InputError: a task is a regression.
        """
        regressions = [task.name for task in self._tasks() if task.kind == "regression"]
        if regressions:
            raise InputError(f"task {regressions[0]!r} is a regression, which has no probabilities: use predict")
        values = self._predicted(X).values()
        return [p if p.ndim == 2 else np.stack([1 - p, p], axis=1) for p in values]

    def score(self, X: Any, Y: Any) -> float:
        """Return the mean score of the tasks on rows that have labels: larger is better.

        Each task is scored as in the run (`metric` of its configuration): by average precision, or R2 of a regression,
        of at least -1. Tasks of which the rows have a single class do not count.

        Args:
            X: (N, ...) as in `fit`.
            Y: (N, K) labels as in `fit`.

        Raises:
            InputError: there are labels that `fit` did not see, or no task can be scored.
        """
        predicted = self._predicted(X)
        columns = known_labels(self._tasks(), Y, self.missing)
        scores = []
        for task, labels in zip(self._tasks(), columns, strict=True):
            prediction, there = predicted[task.name], ~np.isnan(labels)
            if len(labels) != len(prediction):
                raise InputError(f"there are {len(prediction)} rows of X and {len(labels)} of Y: expected as many")
            scores.append(primary_score(task, prediction[there], labels[there], self._metric))
        if np.isnan(scores).all():
            raise InputError("no task has labels of two classes in these rows: give more rows to score")
        return float(np.nanmean(scores))

    @property
    def classes_(self) -> list[np.ndarray]:
        """Labels (C,) of each of `task_names_`, ascending. There are none where a task is a regression."""
        if not self._is_classifier():
            raise AttributeError("a TaskGrouper has classes_ once it is fitted, and no task is a regression")
        return [task.original(np.arange(task.n_classes)) for task in self._tasks()]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self._is_classifier():  # so that scorers take probabilities, such as roc_auc
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags

    def _is_classifier(self) -> bool:
        return "predictor_" in vars(self) and all(task.kind != "regression" for task in self.predictor_.index.tasks)

    def _tasks(self) -> Sequence[Any]:
        check_is_fitted(self)
        return self.predictor_.index.tasks

    def _predicted(self, X: Any) -> dict[str, np.ndarray]:
        check_is_fitted(self)
        inputs = validate_data(self, nan_where_masked(X), reset=False, allow_nd=True, accept_sparse=True)
        return self.predictor_.predict(inputs).by_task

    def _seed(self) -> int:
        """Return the seed of the run; drawn where `random_state` is no integer."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _sections(self, seed: int) -> dict[str, Any]:
        """Return the parameters as sections of the configuration, those of `settings` on top."""
        epochs = {} if self.epochs is None else {"epochs": self.epochs}
        sections: dict[str, Any] = {
            "seed": seed,
            "profile": epochs,
            "affinity": {"methods": _listed(self.affinities)},
            "grouping": {"method": self.method, "groups": self.n_groups},
            "retrain": {"plans": _listed(self.plans), **epochs},
        }
        for name, values in checked_settings(self.settings).items():
            under = sections.get(name)
            sections[name] = {**under, **values} if isinstance(under, Mapping) else values
        if sections["retrain"]["plans"] == []:
            raise InputError("plans are empty, so that no network would predict: expected some, such as ('ours',)")
        return sections


def _listed(names: Sequence[str]) -> Any:
    """Return names as a list; a text as it is, which the configuration refuses (its letters would be names)."""
    return names if isinstance(names, str) else list(names)
