"""The sections of a configuration about networks: the trunk, its training, and the all-task run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stg_ray.config.data import Auto, Count, Section
from stg_ray.config.fingerprints import since
from stg_ray.config.given import is_module, keep
from stg_ray.config.methods import TRUNK_NAMES
from stg_ray.imports import is_only_here

Positive = Annotated[float, Field(gt=0)]


class ModelConfig(Section):
    """The trunk that tasks share."""

    trunk: str = "auto"
    """Architecture of the trunk: linear, mlp, cnn, resnet18, resnet34, resnet50, or `module:function`, a function or
    class that is called with the shape of one input, or without arguments, and returns a module, or a module itself
    (in Python also the function, class or module), or a name of an installed package; auto: cnn for images, else
    mlp."""
    trunk_file: Annotated[str | None, since("0.2")] = None
    """Place of the module, in the run directory, where `trunk` was given as one; `sr.run` sets it."""
    width: Count | Auto = "auto"
    """Number of units in each hidden layer of mlp, and of output features of linear, mlp and cnn; auto: 256 of mlp, or
    512 of one layer, 256 of cnn, 128 of linear. This and all other `auto` are resolved before the first training and
    kept in config.yaml."""
    depth: Count | Auto = "auto"
    """Number of layers of mlp; auto: 2, but 1 of at least 128 units where there are 64 inputs or more."""
    dropout: Annotated[Annotated[float, Field(ge=0, lt=1)] | Auto, since("0.2", as_before=0.0)] = "auto"
    """Share of the trunk's features, and of each hidden layer of mlp, that every training step drops at random; auto:
    0.25 with an mlp and 0.5 with a cnn of at least 128 units, none with other trunks. The confidences of the data maps
    are those of the training steps; gradients and scores are taken without dropout."""
    weights: str | None = None
    """Weights that the trunk starts from: the path or URI of a checkpoint of the trunk or of a network of a run, which
    every node must reach; or pretrained, torchvision's weights of a ResNet. By default they are random."""

    @field_validator("trunk", mode="before")
    @classmethod
    def _by_name(cls, trunk: Any) -> Any:
        is_given = is_module(trunk) or is_only_here(trunk)
        return keep(trunk, "model.trunk") if is_given else TRUNK_NAMES.place_of(TRUNK_NAMES.name_of(trunk))


OF_AUTO = {"patience", "min_steps", "max_epochs"}
"""Settings of trainings whose length is `auto`."""


class TrainingConfig(Section):
    """One training run on the sum of the tasks' losses."""

    epochs: Count | Auto = "auto"
    """Number of passes over the training rows; auto: until the score on the validation rows no longer improves, by the
    rule of `patience`, `min_steps` and `max_epochs`. The network of the best epoch is kept."""
    patience: Annotated[Count, since("0.2")] = 5
    """Number of epochs without a better score, with `epochs: auto`, after which the learning rate is lowered to a fifth
    and training goes on from the best epoch's network; after the second time it ends. Where epochs are short, so many
    as a fifth of `min_steps` takes."""
    min_steps: Annotated[Count, since("0.2")] = 300
    """Smallest number of training steps with `epochs: auto`; the learning rate rises over the share `warmup` of them.
    Without a score on validation rows the training takes four times as many, by `schedule`."""
    max_epochs: Annotated[Count, since("0.2")] = 200
    """Largest number of epochs with `epochs: auto`, unless `min_steps` takes more."""
    batch_size: Count = 64
    """Number of rows in a training step, over all workers of the network."""
    optimizer: Literal["adamw", "adam", "nadam", "sgd"] = "adamw"
    """Optimizer; sgd has a (Nesterov) momentum of 0.9."""
    lr: Positive | Auto = "auto"
    """Largest learning rate; auto: 0.001 for an mlp or a cnn of at least 128 units, 0.005 for
    other trunks."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up, for a number of epochs: down to zero at the last step, or constant."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps over which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] | Auto = "auto"
    """Weight decay of the optimizer; auto: 0.01 for an mlp or a cnn of at least 128 units, 0.0001
    for other trunks."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1), since("0.2")] = 0.0
    """Share of a classification's target that is spread evenly over the classes of the task."""
    clip: Positive | None = None
    """Largest norm of a step's gradient; longer ones are scaled down to it. By default gradients are not clipped."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Precision of the forward and backward pass; auto: the faster one on the available devices (on CPUs, for a trunk
    of this size), resolved before the first training and kept in config.yaml."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Memory format of images; auto: channels_last for trunks with convolutions, else contiguous."""
    gpus: Annotated[Annotated[float, Field(ge=0, le=1)] | Auto, since("0.2", as_before=1.0)] = "auto"
    """Largest share of a GPU for each worker, where there are GPUs: 0.25 trains four networks at a time on each, 0 on
    CPUs only; auto: 1, but 0 for networks that are small enough for `retrain.stacked`, whose steps are over on a CPU
    before a GPU's kernels are launched."""
    compile: bool = False
    """Whether the network is compiled by torch.compile, which needs a C++ compiler on CPUs."""
    flip: bool = False
    """Whether every image is flipped left to right with probability 1/2, drawn anew in every epoch."""
    crop: Annotated[int, Field(ge=0)] = 0
    """Largest shift of an image in each direction, in pixels, drawn anew in every epoch; the margin is filled with
    zeros."""

    @property
    def gpu_share(self) -> float:
        """The largest share of a GPU for each worker: a whole one as long as that is not settled."""
        return 1.0 if self.gpus == "auto" else self.gpus


class ProfileConfig(TrainingConfig):
    """The all-task run that records the data maps."""

    workers: Count | Auto | tuple[Count, Count] = "auto"
    """Number of Ray Train workers; auto: one per GPU; on CPUs a single one, or one per CPU where steps are long enough
    to be shared by several nodes or very many CPUs; [LEAST, MOST]: as many within these bounds as there is room for,
    more or fewer as nodes come and go. Each has as many threads, up to its CPUs, as its steps are long enough for."""
    snapshots: Count = 1
    """Number of snapshots of the data maps, at evenly spaced epochs that end with the last. They are cumulative; the
    last alone told the tasks of CIFAR-100 apart better than four together."""
    looks: Annotated[dict[Literal["etap", "tag", "transfer_gain"], Count], since("0.2")] = {}
    """Number of steps from one look at the tasks' effects on each other to the next, for each affinity that is then
    computed from them: `{etap: 100}`. By default the profile takes none, and they have trainings of their own."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Number of restarts, from the last finished epoch, after workers died."""

    @model_validator(mode="after")
    def _snapshots_of_a_number(self) -> ProfileConfig:
        if self.epochs == "auto" and self.snapshots > 1:
            raise ValueError(
                f"snapshots={self.snapshots} are taken at evenly spaced epochs, whose number must be known: set "
                "profile.epochs to a number, or snapshots to 1"
            )
        return self

    @field_validator("workers")
    @classmethod
    def _fewest_first(cls, workers: int | str | tuple[int, int]) -> int | str | tuple[int, int]:
        if isinstance(workers, tuple) and workers[0] > workers[1]:
            raise ValueError(f"the fewest workers come first: expected {[workers[1], workers[0]]}")
        return workers
