"""Which tasks help one main task: estimated, measured by trainings, and trained with it.

Every other task, or those that help most by the run's affinities, is trained with the main task alone, several times,
and compared with the main task by itself, on validation rows. Those whose gain is clear are kept. They are trained with
it together, with weights that are as large as their gains and follow the gradients (`training.adaptive`). Test rows
then say what that brings, beside the main task alone, beside all tasks, and beside the single best one.

EAT (Wang et al. 2024, J. Intell. Manuf., doi 10.1007/s10845-024-02475-3) selects the auxiliary tasks of one main task
by an effectiveness, and trains them with it adaptively. Its text is not public: the rules here are ours. The epoch, and
the length, of every network are chosen by the main task's score: a number of epochs would be few steps for the main
task's rows, and many for those of all tasks, so that whatever has many rows would seem to help.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.cluster.calls import wait_for
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.data.rows import TaskRows
from stg_ray.errors import InputError, StgRayError, unknown
from stg_ray.imports import work_in
from stg_ray.models import OutputLayout
from stg_ray.progress import StageProgress
from stg_ray.retraining.auxiliary.effects import Effect, ScoreTable, clear_gains
from stg_ray.retraining.auxiliary.estimates import estimated_help
from stg_ray.retraining.held_out import HeldOut
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trained import Trained
from stg_ray.retraining.trials import as_ray_task, device_here
from stg_ray.serving import load_network
from stg_ray.training.compute import Compute, training_process
from stg_ray.training.evaluation import evaluate
from stg_ray.training.metrics import is_scorable, primary_metric

ALONE, ALL, BEST, KEPT, ADAPTIVE = "alone", "all", "best_single", "kept", "adaptive"
"""Ways to train the main task: by itself; with all tasks; with the one that helps most on validation rows; with those
that are kept, all weights equal; with these, and weights that adapt."""


@dataclass
class Auxiliaries:
    """The search for the auxiliary tasks of one main task.

    Args:
        run: with parts/ and the affinities.
        config: of the run.
        main: name of the main task.
        trainings: number of trainings of every network.
        progress: where it is reported.
    """

    run: RunDir
    config: Config
    main: str
    trainings: int
    progress: StageProgress

    def __post_init__(self) -> None:
        self.index: PartIndex = read_index(self.run.sub("parts"))
        self.number = self.index.names.index(self.main)
        self.task = self.index.tasks[self.number]
        self.others = [name for name in self.index.names if name != self.main]
        self.trained = Trained()

    def find(self, most: int) -> dict[str, Any]:
        """Measure at most that many tasks, train with those that help, and return the content of the file for it.

        Raises:
            StgRayError: the main task by itself could not be trained.
        """
        estimates = self._estimates()
        candidates = sorted(self.others, key=lambda name: -estimates[name])[:most]
        pairs = {name: self._specs((self.main, name)) for name in candidates}
        ways = {ALONE: self._specs((self.main,)), ALL: self._specs((self.main, *self.others))}
        self._train([*ways.values(), *pairs.values()], f"of {len(candidates)} tasks that may help {self.main}")
        if not self._is_whole(ways[ALONE]):
            raise StgRayError(
                f"{self.main} by itself could not be trained ({self._reason(ways[ALONE])}): give the same command "
                "again, or name another main task"
            )
        whole = {name: specs for name, specs in pairs.items() if self._is_whole(specs)}
        table = self._table("val", {ALONE: ways[ALONE]} | whole)
        effects = {name: table.effect(name, ALONE) for name in whole}
        kept = clear_gains(effects)
        if whole:
            ways[BEST] = whole[max(effects, key=lambda name: effects[name].mean)]
        if kept:
            shares = [effects[name].mean / effects[kept[0]].mean for name in kept]
            ways[KEPT] = self._specs((self.main, *kept))
            ways[ADAPTIVE] = self._specs((self.main, *kept), (1.0, *shares))
            self._train([ways[KEPT], ways[ADAPTIVE]], f"of {self.main} and what helps it")
        return {
            "metric": primary_metric(self.task, self.config.metric),
            "kept": kept,
            "tasks": {name: _told(estimates[name], effects.get(name), name in kept) for name in self.others},
            "ways": self._ways({way: specs for way, specs in ways.items() if self._is_whole(specs)}),
            "failed": {" + ".join(s[0].tasks): self._reason(s) for s in pairs.values() if not self._is_whole(s)},
        }

    def _estimates(self) -> dict[str, float]:
        names = self.config.affinity.methods
        matrices = {name: TaskMatrix.from_table(self.run.read_parquet(f"affinity/{name}.parquet")) for name in names}
        values = estimated_help(matrices, self.number)
        return {name: float(values[self.index.names.index(name)]) for name in self.others}

    def _specs(self, tasks: tuple[str, ...], largest: tuple[float, ...] | None = None) -> list[NetworkSpec]:
        """The trainings of a network that is for the main task; with the largest weights of weights that adapt."""
        # In the order of the task set, so that equal networks are one.
        order = sorted(range(len(tasks)), key=lambda t: self.index.names.index(tasks[t]))
        weights = None if largest is None else tuple(largest[t] for t in order)
        names = tuple(tasks[t] for t in order)
        seeds = range(self.config.seed, self.config.seed + self.trainings)
        return [
            NetworkSpec(
                *("auxiliary", self.number, names, seed, seed, "auto", weights),
                main=self.main,
                adaptive=largest is not None,
            )
            for seed in seeds
        ]

    def _train(self, networks: Sequence[Sequence[NetworkSpec]], what: str) -> None:
        specs = [spec for trainings in networks for spec in trainings]
        self.trained.train(self.run, self.config, specs, self.progress, what)

    def _is_whole(self, specs: Sequence[NetworkSpec]) -> bool:
        return not any(network_folder(spec, self.config) in self.trained.reasons for spec in specs)

    def _reason(self, specs: Sequence[NetworkSpec]) -> str:
        folders = [network_folder(spec, self.config) for spec in specs]
        return next(self.trained.reasons[folder] for folder in folders if folder in self.trained.reasons)

    def _table(self, split: str, ways: dict[str, list[NetworkSpec]]) -> ScoreTable:
        """The main task's scores on a split by several ways to train it."""
        rows = TaskRows(self.run.sub("parts"), self.index, split, [self.number])
        specs = list(dict.fromkeys(spec for trainings in ways.values() for spec in trainings))
        if split == "val":
            predictions = {spec: held_out_prediction(self.run, self.config, spec, self.index, rows) for spec in specs}
        else:
            predictions = dict(zip(specs, self._tested(specs), strict=True))
        by_way = {way: [predictions[spec] for spec in trainings] for way, trainings in ways.items()}
        return ScoreTable(self.task, rows.labels[:, 0], by_way, self.config.seed, self.config.metric)

    def _tested(self, specs: Sequence[NetworkSpec]) -> list[np.ndarray]:
        """Predictions for test rows, by Ray tasks."""
        import ray

        predict = as_ray_task(predicted_test_rows, self.config)
        values = self.config.model_dump()
        references = [
            predict.options(name=f"predictions of {spec.title}").remote(
                self.run.uri, values, spec.to_dict(), os.getcwd()
            )
            for spec in specs
        ]
        predictions: list[np.ndarray] = wait_for(lambda: ray.get(references))
        return predictions

    def _ways(self, ways: dict[str, list[NetworkSpec]]) -> dict[str, Any]:
        """Scores of every way on validation and test rows, and what it gains over the main task alone."""
        tables = {split: self._table(split, ways) for split in ("val", "test")}
        return {
            way: {
                "tasks": [name for name in specs[0].tasks if name != self.main],
                **({"weights": list(specs[0].weights)} if specs[0].weights else {}),
                "networks": [network_folder(spec, self.config) for spec in specs],
                **{split: float(table.scores[way].mean()) for split, table in tables.items()},
                **({} if way == ALONE else {"gain": _effect(tables["test"].effect(way, ALONE))}),
                **(
                    {}
                    if way == ADAPTIVE or ADAPTIVE not in ways
                    else {"behind_adaptive": _effect(tables["test"].effect(ADAPTIVE, way))}
                ),
            }
            for way, specs in ways.items()
        }


def held_out_prediction(
    run: Storage, config: Config, spec: NetworkSpec, index: PartIndex, rows: TaskRows
) -> np.ndarray:
    """Read a network's prediction of its main task for validation rows (see `held_out`)."""
    by_name = {task.name: task for task in index.tasks}
    outputs = HeldOut.read(run, network_folder(spec, config)).of_all_rows(index.n_samples("val"))[rows.rows]
    layout = OutputLayout([by_name[name] for name in spec.tasks])
    prediction: np.ndarray = layout.predictions(torch.from_numpy(outputs))[spec.tasks.index(spec.main)].numpy()
    return prediction


def predicted_test_rows(
    run_uri: str, values: dict[str, Any], spec_values: dict[str, Any], directory: str
) -> np.ndarray:
    """Predict a network's main task for its test rows, in a Ray task."""
    work_in(directory)
    run, config, spec = Storage(run_uri), Config.model_validate(values), NetworkSpec.from_dict(spec_values)
    index = read_index(run.sub("parts"))
    with training_process(1):
        compute = Compute.of(config.retrain, device_here())
        network = load_network(run, config, index, spec.tasks, network_folder(spec, config))
        compute.place(network)
        rows = TaskRows(run.sub("parts"), index, "test", [index.names.index(spec.main)])
        outputs = evaluate(network, rows.inputs, compute=compute)
        prediction: np.ndarray = network.layout.predictions(outputs)[spec.tasks.index(spec.main)].numpy()
        return prediction


def check_main(run: Storage, mains: Sequence[str]) -> None:
    """Refuse main tasks that there are not, or that cannot be scored.

    Raises:
        InputError: the run has no such task, or its rows of a split have too few labels for a score.
    """
    index = read_index(run.sub("parts"))
    for main in mains:
        if main not in index.names:
            raise InputError(f"--main: {unknown(main, index.names, 'task')}")
        number = index.names.index(main)
        for split in ("val", "test"):
            labels = TaskRows(run.sub("parts"), index, split, [number]).labels[:, 0]
            if not is_scorable(index.tasks[number], labels):
                raise InputError(
                    f"--main {main}: its {len(labels)} labelled {split} rows give no score (one value, or none): "
                    "give more of them, or another split (data.split)"
                )


def _told(estimate: float, effect: Effect | None, kept: bool) -> dict[str, Any]:
    """What is known of an auxiliary: its estimate, and its effect on validation rows where it was measured."""
    known = {"estimate": estimate if np.isfinite(estimate) else None, "kept": kept}
    return known | ({} if effect is None else {"effect": _effect(effect)})


def _effect(effect: Effect) -> dict[str, float]:
    low, high = effect.interval
    return {"mean": effect.mean, "low": low, "high": high}
