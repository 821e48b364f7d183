"""The section of a configuration about the metric by which tasks are compared."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationInfo, field_validator

from stg_ray.config.section import Section
from stg_ray.imports import check_importable, python_name

ALIASES = {"mae": "neg_mean_absolute_error"}
"""Names of metrics of which less is better, and their negated ones: of a metric that decides, more is better."""


class MetricConfig(Section):
    """The metric of each kind of task, of which more is better: it decides epochs and length of the trainings, and is
    what the plans are compared by. A name of stg_ray (average_precision, roc_auc, accuracy, balanced_accuracy, f1, r2,
    mae), a scorer of scikit-learn such as neg_log_loss, or `module:function`, a function of yours that is called with
    the true labels (n,) and the predictions and returns a number (in Python also the function)."""

    binary: str = "average_precision"
    """Metric of binary tasks; a function of yours gets p(positive) (n,)."""
    multiclass: str = "average_precision"
    """Metric of multi-class tasks; a function of yours gets class probabilities (n, C)."""
    regression: str = "r2"
    """Metric of regression tasks; a function of yours gets values (n,). While epochs are compared, r2 below -1 counts
    as -1, so that one bad regression does not decide a mean over tasks."""

    @field_validator("*", mode="before")
    @classmethod
    def _by_name(cls, metric: Any, info: ValidationInfo) -> Any:
        return python_name(metric, f"metric.{info.field_name}")

    @field_validator("*")
    @classmethod
    def _importable(cls, metric: str) -> str:
        if ":" in metric:
            check_importable(metric)
        return ALIASES.get(metric, metric)

    def of(self, kind: str) -> str:
        """Return the metric of a kind of task."""
        metric: str = getattr(self, kind)
        return metric
