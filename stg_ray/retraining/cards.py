"""Beside published networks: a model card of each plan, and the chosen networks' weights as safetensors."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from stg_ray.artifacts.run_dir import RunDir, network_place
from stg_ray.artifacts.served import way_of_serving
from stg_ray.card import CARD, Origin, plan_card
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex
from stg_ray.models import as_safetensors, load_weights
from stg_ray.retraining.plans import Plan


def write_cards(
    run: RunDir,
    config: Config,
    index: PartIndex,
    plans: Mapping[str, Plan],
    networks: Sequence[Mapping[str, Any]],
    chosen: Mapping[str, Any] | None,
) -> None:
    """Write models/PLAN/README.md of each plan, and network.safetensors beside the weights of the chosen networks.

    Args:
        index: of the task set.
        plans: by name.
        networks: content of each published network.json; results.parquet has their scores.
        chosen: content of chosen.json, which is written by then; None where nothing was chosen.
    """
    for name, plan in plans.items():
        seeds = sorted({network["seed"] for network in networks if network["plan"] == name})
        if seeds:
            origin = Origin(run, config, name, tuple(seeds))
            card = plan_card(index, plan.groups, way_of_serving(run, name), origin)
            run.write_bytes(f"models/{name}/{CARD}", card.encode())
    if chosen is None or importlib.util.find_spec("safetensors") is None:
        return
    for network in networks:
        if (network["plan"], network["seed"]) == (chosen["plan"], chosen["seed"]):
            folder = network_place(network["plan"], network["group"], network["seed"])
            weights = load_weights(run, f"{folder}/network.pt")
            run.write_bytes(f"{folder}/network.safetensors", as_safetensors(weights, network["tasks"]))
