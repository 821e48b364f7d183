"""The clusterers by name."""

from __future__ import annotations

from stg_ray.grouping.agglomerative import Agglomerative
from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.fuzzy import FuzzyCMeans
from stg_ray.grouping.kmeans import KMeansGrouping
from stg_ray.grouping.louvain import Louvain
from stg_ray.grouping.mixture import Mixture
from stg_ray.grouping.spectral import Spectral

CLUSTERERS: dict[str, type[Clusterer]] = {
    "spectral": Spectral,
    "louvain": Louvain,
    "agglomerative": Agglomerative,
    "kmeans": KMeansGrouping,
    "fuzzy_c_means": FuzzyCMeans,
    "mixture": Mixture,
}
