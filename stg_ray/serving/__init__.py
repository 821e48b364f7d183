"""Predictions by the trained networks of a plan, which serve all tasks together."""

from stg_ray.serving.loading import load as load
from stg_ray.serving.loading import load_network as load_network
from stg_ray.serving.loading import load_predictor as load_predictor
from stg_ray.serving.predictor import Predictions as Predictions
from stg_ray.serving.predictor import Predictor as Predictor
