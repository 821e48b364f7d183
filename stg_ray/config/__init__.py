"""The configuration of a run: its sections, the named presets, and their loading from YAML.

This package imports neither torch nor Ray, so that `stg-ray --help` and `import stg_ray` are quick.
"""

from stg_ray.config.data import DataConfig, ImageFolderConfig
from stg_ray.config.grouping import BudgetConfig, GroupingConfig
from stg_ray.config.meta import MetaConfig
from stg_ray.config.methods import AFFINITY_METHODS, GROUPING_METHODS, Affinity, GroupingMethod
from stg_ray.config.metric import MetricConfig
from stg_ray.config.retraining import PlanName, RetrainConfig
from stg_ray.config.search import SearchConfig
from stg_ray.config.sections import WHERE_IT_RUNS, AffinityConfig, Config
from stg_ray.config.tables import ParquetConfig
from stg_ray.config.training import ModelConfig, ProfileConfig, TrainingConfig
from stg_ray.config.tuning import TuneConfig

__all__ = [
    "AFFINITY_METHODS",
    "GROUPING_METHODS",
    "WHERE_IT_RUNS",
    "Affinity",
    "AffinityConfig",
    "BudgetConfig",
    "Config",
    "DataConfig",
    "GroupingConfig",
    "GroupingMethod",
    "ImageFolderConfig",
    "MetaConfig",
    "MetricConfig",
    "ModelConfig",
    "ParquetConfig",
    "PlanName",
    "ProfileConfig",
    "RetrainConfig",
    "SearchConfig",
    "TrainingConfig",
    "TuneConfig",
]
