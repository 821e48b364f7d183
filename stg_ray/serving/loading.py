"""The trained networks of a run, loaded to predict."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from stg_ray.artifacts.binding import warn_of_other_trunk
from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import RunDir, network_place
from stg_ray.artifacts.served import way_of_serving
from stg_ray.artifacts.storage import Storage
from stg_ray.artifacts.trust import check_code
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.card import Origin
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, read_index, read_part
from stg_ray.errors import InputError
from stg_ray.meta.adapting import load_adapter
from stg_ray.models import BranchedNetwork, TaskNetwork, build_network, load_weights
from stg_ray.serving.predictor import Predictor
from stg_ray.training.compute import Compute, usable_device


def load(
    directory: str | os.PathLike[str],
    plan: str | None = None,
    *,
    seed: int | None = None,
    device: torch.device | str = "cpu",
    trust_code: bool = False,
) -> Predictor:
    """Load the trained networks of a run, which predict in the way in which they were scored.

    The chosen plan serves as it was chosen, also where it is named or another seed is; a plan that has scores as an
    ensemble only (`all_in_one_ensemble`, `ours_and_all`, `greedy`) serves as one; every other plan takes each task from
    the network that serves it. `predict(..., serving=...)` asks for another way.

    Args:
        directory: the run directory, a path or a URI.
        plan: as in `plans/`; by default the one that was chosen on validation rows (chosen.json).
        seed: of the training; by default the chosen one, the first one where a plan is named.
        device: where the networks predict.
        trust_code: import a trunk that the directory names as `module:function`, though it is somebody else's.

    Returns:
        The networks of one plan and seed, which predict all tasks.

    Raises:
        InputError: this is no run, its networks are not trained yet, it has no such plan or seed, it names code that
            is not trusted, or there is no such device here.

    Example:
        >>> import stg_ray as sr
        >>> predictor = sr.load("runs/tiny")
        >>> predictor.tasks
        ['a1', 'a2', 'b1', 'b2']
        >>> predictor.predict(np.zeros((3, 5))).array.shape
        (3, 4)
        >>> sr.load("runs/tiny", "all_in_one").serving
        {'a1': 0, 'a2': 0, 'b1': 0, 'b2': 0}
    """
    run, device = RunDir(directory), usable_device(device)
    config = run.read_config()
    for stage in ("retrain", "parts"):
        run.require(stage, config)
    check_code(run, config, trust_code=trust_code)
    warn_of_other_trunk(run, config)
    plans = [name.removesuffix(".json") for name in run.list("plans")]
    if plan is None and run.exists("chosen.json"):
        chosen = run.read_json("chosen.json")
        plan, seed = chosen["plan"], chosen["seed"] if seed is None else seed
    elif plan is None and config.grouping.budget is not None and "ours" not in plans:
        raise InputError(
            f"{run.uri}: none of its plans keeps grouping.budget, so none was chosen: name one of {', '.join(plans)}, "
            "or train ours (retrain.plans)"
        )
    elif plan is None:  # a run of version 0.1
        plan = "ours" if "ours" in plans or "all_in_one" not in plans else "all_in_one"
    if plan not in plans:
        raise InputError(f"{run.uri} has no plan {plan!r}: it has {', '.join(plans) or 'none'}")
    seeds = [int(name.removeprefix("seed-")) for name in run.list(f"models/{plan}/group-0")]
    seed = config.seed if seed is None else seed
    if seed not in seeds:
        raise InputError(f"{plan} was not trained with seed {seed!r}: it was with {', '.join(map(str, sorted(seeds)))}")
    return load_predictor(run, as_tuned(run, config), plan, seed, device, way_of_serving(run, plan))


def load_predictor(
    run: Storage,
    config: Config,
    plan: str,
    seed: int,
    device: torch.device | str,
    serves_by: Serving = "argmax",
) -> Predictor:
    """Load the published networks of a plan, computed as they were when they were scored.

    Args:
        plan: as in `plans/`.
        seed: of the training.
        device: where the networks predict.
        serves_by: the predictor's way of serving where none is asked for.
    """
    index = read_index(run.sub("parts"))
    groups = Groups.from_dict(run.read_json(f"plans/{plan}.json"))
    folders = [network_place(plan, group, seed) for group in range(len(groups.groups))]
    adapter = None
    if config.retrain.learner == "joint":
        networks = [
            load_network(run, config, index, members, folder)
            for folder, members in zip(folders, groups.groups, strict=True)
        ]
    else:
        adapter = load_adapter(run, config, index, folders)
        networks = [each.network for each in adapter.networks]
    dtype = torch.from_numpy(read_part(run.sub("parts"), "train", 0).inputs[:1].copy()).dtype
    compute = Compute.of(config.retrain, device)
    origin = Origin(run, config, plan, (seed,))
    predictor = Predictor(
        index, groups, networks, compute=compute, input_dtype=dtype, serves_by=serves_by, origin=origin
    )
    predictor.adapter, predictor.image_size = adapter, config.data.side_of_images
    return predictor


def load_network(run: Storage, config: Config, index: PartIndex, tasks: Sequence[str], folder: str) -> TaskNetwork:
    """Load a trained network from its folder in a run.

    Args:
        tasks: names of its tasks, in their order in the network.
        folder: of network.json and of its weights.
    """
    model = config.model.model_copy(update={"weights": None})  # where the trunk started does not matter any more
    by_name = {task.name: task for task in index.tasks}
    network = build_network(model, index, [by_name[name] for name in tasks], config.seed)
    if branches := run.read_json(f"{folder}/network.json").get("branches"):
        network = BranchedNetwork(network, branches, config.retrain.shared_layers, frozen=False)
    network.load_state_dict(load_weights(run, f"{folder}/network.pt"))
    return network
