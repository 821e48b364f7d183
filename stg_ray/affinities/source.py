"""The inputs of an estimator: the parts, the network at which tasks are compared, and the settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import AffinityConfig, Config, TrainingConfig
from stg_ray.data.parts import Part, PartIndex, concatenated, part_name, read_index, read_part
from stg_ray.data_maps.state import DataMapState
from stg_ray.models import TaskNetwork, build_network
from stg_ray.training.looks import looks_file

CPU = torch.device("cpu")


class Source(ABC):
    """The training parts of a task set, their data maps, a network, and the configuration.

    Attributes:
        config: of the run.
        index: of the parts.
        device: on which networks are.
    """

    config: Config
    index: PartIndex
    device: torch.device

    @property
    def settings(self) -> AffinityConfig:
        """The `affinity` section."""
        return self.config.affinity

    @property
    def training(self) -> TrainingConfig:
        """The settings of an affinity that trains: those of the profile."""
        return self.config.profile

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.config.seed

    @abstractmethod
    def part(self, number: int, split: str = "train") -> Part:
        """Return a part of a split."""

    def examples(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first raw inputs (n, ...) and their labels (n, K), n at most `most`."""
        parts: list[Part] = []
        while len(parts) < self.index.n_parts() and sum(map(len, parts)) < most:
            parts.append(self.part(len(parts)))
        whole = concatenated(parts)
        return whole.inputs[:most], whole.labels[:most]

    @abstractmethod
    def states(self, number: int) -> list[DataMapState]:
        """Return the data map of a part at each snapshot."""

    def looks(self, method: str) -> dict[str, np.ndarray] | None:
        """Return the sums of the looks that the profile took for an affinity; None where it took none."""
        del method
        return None

    @abstractmethod
    def network(self) -> TaskNetwork:
        """Return the network at which tasks are compared, in evaluation mode, on the device."""

    @abstractmethod
    def untrained(self) -> TaskNetwork:
        """Return a network to train, on the device."""


@dataclass
class RunSource(Source):
    """A run directory's parts, data maps and network.

    Args:
        run: the run directory.
        config: of the run.
        weights: of the network at which tasks are compared; None where no affinity looks at it.
        device: on which networks are.
    """

    run: Storage
    config: Config
    weights: Mapping[str, torch.Tensor] | None = None
    device: torch.device = CPU

    def __post_init__(self) -> None:
        self.index = read_index(self.run.sub("parts"))

    def part(self, number: int, split: str = "train") -> Part:
        """Read a part of a split."""
        return read_part(self.run.sub("parts"), split, number)

    def states(self, number: int) -> list[DataMapState]:
        """Read the data map of a part at each snapshot."""
        file = f"{part_name('train', number)}.arrow"
        return [
            DataMapState.from_batch(self.run.read_arrow(f"profile/data_map/{snapshot}/{file}"))
            for snapshot in self.run.list("profile/data_map")
        ]

    def looks(self, method: str) -> dict[str, np.ndarray] | None:
        """Read the sums of the looks that the profile took for an affinity, where `profile.looks` says so."""
        return self.run.read_arrays(looks_file(method)) if method in self.config.profile.looks else None

    def network(self) -> TaskNetwork:
        """Return a network with the weights, in evaluation mode."""
        network = self.untrained()
        if self.weights is not None:
            network.load_state_dict(self.weights)
        return network.eval()

    def untrained(self) -> TaskNetwork:
        """Return a network as the profile initialises it."""
        return build_network(self.config.model, self.index, self.index.tasks, self.seed).to(self.device)
