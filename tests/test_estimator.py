"""TaskGrouper keeps scikit-learn's promises, and predicts what its run's networks predict."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score, check_scoring, get_scorer, roc_auc_score

import stg_ray as sr
from stg_ray.data.parts import index_of
from stg_ray.models import build_network
from stg_ray.serving import Predictor


def test_parameters_are_read_set_and_cloned() -> None:
    settings = {"model": {"width": 16}}
    grouper = sr.TaskGrouper(n_groups=3, method="louvain", settings=settings, random_state=7)
    parameters = grouper.get_params()
    assert parameters["n_groups"] == 3
    assert parameters["settings"] is settings
    copy = clone(grouper)
    assert copy is not grouper
    assert copy.get_params() == parameters
    copy.set_params(n_groups="auto", epochs=5)
    assert (copy.n_groups, copy.epochs, grouper.n_groups) == ("auto", 5, 3)
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        grouper.set_params(colour="red")
    assert "TaskGrouper(method='louvain', n_groups=3" in repr(grouper)


def test_parameters_become_settings_of_the_run() -> None:
    grouper = sr.TaskGrouper(
        epochs=3, plans=["ours", "known"], settings={"retrain": {"seeds": 2}, "model": {"depth": 1}}
    )
    sections = grouper._sections(4)
    assert sections["retrain"] == {"plans": ["ours", "known"], "epochs": 3, "seeds": 2}
    assert sections["profile"] == {"epochs": 3}
    assert sections["model"] == {"depth": 1}
    assert sections["seed"] == 4
    assert "epochs" not in sr.TaskGrouper()._sections(0)["retrain"]


def test_seeds_are_scikit_learns() -> None:
    assert sr.TaskGrouper(random_state=np.int64(5))._seed() == 5
    seeds = {sr.TaskGrouper(random_state=np.random.RandomState(1))._seed() for _ in range(2)}
    assert len(seeds) == 1
    assert sr.TaskGrouper(random_state=None)._seed() >= 0


def test_what_is_not_fitted_does_not_predict() -> None:
    with pytest.raises(NotFittedError):
        sr.TaskGrouper().predict(np.zeros((3, 2)))
    with pytest.raises(NotFittedError):
        sr.TaskGrouper().predict_proba(np.zeros((3, 2)))


def test_scorers_of_scikit_learn_take_the_probabilities(make_task_set: Callable[..., sr.TaskSet]) -> None:
    """As they take those of its own classifiers of several outputs; networks that are not trained will do."""
    task_set = make_task_set(n_samples=60)
    index = index_of(task_set)
    groups = sr.Groups.from_labels(list(task_set.names), np.zeros(len(task_set.names), dtype=int), "by hand")
    grouper = sr.TaskGrouper()
    assert not is_classifier(grouper)
    assert not hasattr(grouper, "classes_")
    grouper.predictor_ = Predictor(
        index, groups, [build_network(sr.load_config("digits").model, index, index.tasks, 0)]
    )
    grouper.n_features_in_ = 12
    assert is_classifier(grouper)
    assert [list(classes) for classes in grouper.classes_] == [[0, 1]] * len(task_set.names)
    X, Y = task_set.inputs, task_set.labels
    expected = roc_auc_score(Y, np.stack([p[:, 1] for p in grouper.predict_proba(X)], axis=1))
    assert get_scorer("roc_auc")(grouper, X, Y) == pytest.approx(expected)
    assert get_scorer("f1_macro")(grouper, X, Y) >= 0
    each = [average_precision_score(Y[:, t], p[:, 1]) for t, p in enumerate(grouper.predict_proba(X))]
    assert grouper.score(X, Y) == pytest.approx(np.mean(each)), "the metric of runs"
    frame = pd.DataFrame(Y, columns=list(task_set.names)).astype("Int8")
    assert grouper.score(X, frame[frame.columns[::-1]]) == pytest.approx(np.mean(each)), "by their names"
    frame.loc[30:, frame.columns[0]] = pd.NA
    probabilities = grouper.predict_proba(X)[0][:30, 1]
    few = [average_precision_score(Y[:30, 0], probabilities), *each[1:]]
    assert grouper.score(X, frame) == pytest.approx(np.mean(few)), "of the rows that have a label"
    with pytest.raises(sr.InputError, match="has the label 2, which fit did not see: expected 0, 1"):
        grouper.score(X, np.where(Y == 1, 2, 0))
    with pytest.raises(sr.InputError, match="no task has labels of two classes in these rows"):
        grouper.score(X, np.zeros_like(Y))
    with pytest.raises(sr.InputError, match="there are 60 rows of X and 59 of Y"):
        grouper.score(X, Y[:59])
    with pytest.raises(sr.InputError, match="the labels have 2 columns, none of them"):
        grouper.score(X, Y[:, :2])
    assert check_scoring(grouper)(grouper, X, Y) == grouper.score(X, Y), "for searches that name no scorer"


def test_wrong_labels_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels \(30,\): expected"):
        sr.TaskGrouper(out=str(tmp_path / "run")).fit(np.zeros((30, 2)), np.arange(30) % 2)
    with pytest.raises(sr.InputError, match="unknown key grouping"):
        sr.TaskGrouper(out=str(tmp_path / "run"), settings={"grouping": {"metod": "x"}}).fit(
            np.random.default_rng(0).normal(size=(30, 2)), np.stack([np.arange(30) % 2, np.arange(30) // 2 % 2], axis=1)
        )
    assert not (tmp_path / "run").exists()


def test_names_that_are_one_text_and_no_plans_are_refused_before_anything_runs(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    Y = np.stack([np.arange(30) % 2, np.arange(30) // 2 % 2], axis=1)
    parameters: list[tuple[dict[str, Any], str]] = [
        ({"plans": "ours"}, r"retrain\.plans is 'ours': expected a list \(write \[ours\]\)"),
        ({"affinities": "random"}, r"affinity\.methods is 'random': expected a list \(write \[random\]\)"),
        ({"plans": ()}, "plans are empty"),
    ]
    for wrong, message in parameters:
        with pytest.raises(sr.InputError, match=message):
            sr.TaskGrouper(out=str(tmp_path / "run"), **wrong).fit(X, Y)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fit_and_predict(ray_session: None, make_task_set: Callable[..., sr.TaskSet]) -> None:
    """Two blocks of binary tasks and a multi-class one, from data frames with names and gaps."""
    task_set = make_task_set(n_samples=500, noise=0.1)
    X = pd.DataFrame(task_set.inputs).add_prefix("x")
    Y = pd.DataFrame(task_set.labels, columns=list(task_set.names)).astype("Int8")
    Y["third"] = pd.array(np.digitize(X["x0"], (-0.5, 0.5)), dtype="Int8")
    Y.loc[::7, "third"] = pd.NA
    grouper = sr.TaskGrouper(n_groups=2, epochs=6, settings={"profile": {"workers": 1}})
    assert grouper.fit(X, Y) is grouper
    assert grouper.n_features_in_ == 12
    assert list(grouper.feature_names_in_) == list(X)
    assert grouper.task_names_ == list(Y)
    assert grouper.labels_.shape == (7,)
    assert len(set(grouper.labels_[:3])) == 1
    assert set(grouper.labels_[:3]) != set(grouper.labels_[3:6])
    assert grouper.groups_.groups == grouper.run_.groups.groups
    predicted = grouper.predict(X)
    assert predicted.shape == (500, 7)
    assert predicted.dtype == np.int64
    assert (predicted[:, :6] == task_set.labels).mean() > 0.8
    assert grouper.score(X, Y) > 0.8
    probabilities = grouper.predict_proba(X)
    assert [p.shape for p in probabilities] == [(500, 2)] * 6 + [(500, 3)]
    for t, p in enumerate(probabilities):
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        assert np.array_equal(p.argmax(axis=1), predicted[:, t])
    sparse = scipy.sparse.csr_array(X.to_numpy())
    masked = np.ma.masked_greater(X.to_numpy(), 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        assert np.array_equal(grouper.predict(sparse), predicted), "as fit takes it"
        with pytest.raises(ValueError, match="NaN"):
            grouper.predict(masked)
    with pytest.raises(ValueError, match="feature names"):
        grouper.predict(X.rename(columns={"x0": "other"}))
    folder = grouper.run_.path
    assert folder.exists()
    assert Path(grouper.run_.report).exists()
    del grouper
    assert not folder.exists(), "a temporary run goes with its estimator"
