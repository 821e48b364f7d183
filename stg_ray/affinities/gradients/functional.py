"""Per-sample gradients of parameters without a rule, by torch.func."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call, vjp, vmap

from stg_ray.affinities.gradients.capture import differentiable_in_evaluation, is_out_of_memory
from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.training.compute import exact_float32


class Functional(LayerGradients):
    """Gradients of any parameters of the trunk, by torch.func: one row for each coordinate.

    Layers that torch.func cannot batch (LSTM, GRU) are differentiated for one sample and task after the other. The
    gradients of one block of samples are kept until another is asked for.

    Args:
        trunk: in evaluation mode.
        names: of the parameters.
        inputs: (n, ...) normalised.
        v: (n, K, d) gradients of the losses at the trunk's outputs.
    """

    row_size = 1

    def __init__(self, trunk: nn.Module, names: Sequence[str], inputs: torch.Tensor, v: torch.Tensor) -> None:
        parameters = dict(trunk.named_parameters())
        self.trunk, self.inputs, self.v = trunk, inputs, v
        self.chosen = {name: parameters[name].detach() for name in names}
        self.fixed = {name: value.detach() for name, value in (parameters | dict(trunk.named_buffers())).items()}
        self.n_rows = sum(value.numel() for value in self.chosen.values())
        self._of: tuple[slice, torch.Tensor] | None = None
        self._one_by_one = False

    @property
    def is_cuda(self) -> bool:
        """Whether they are computed on a GPU."""
        return self.v.is_cuda

    @property
    def shape(self) -> tuple[int, int]:
        """The number of samples and of tasks, (n, K)."""
        return self.v.shape[0], self.v.shape[1]

    def of_rows(self, samples: slice, start: int, stop: int) -> torch.Tensor:
        """Return these columns of the whole gradient of the samples."""
        return self._whole(samples)[:, :, start:stop]

    def of_coordinates(self, samples: slice, index: torch.Tensor) -> torch.Tensor:
        """Return these columns of the whole gradient of the samples."""
        return self._whole(samples)[:, :, index]

    def _whole(self, samples: slice) -> torch.Tensor:
        if self._of is None or self._of[0] != samples:
            self._of = None
            self._of = samples, self._batched(self.inputs[samples], self.v[samples]).detach()
        return self._of[1]

    @exact_float32()
    def _batched(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Return the gradients (n, K, coordinates) of samples, in one batch where torch.func can make one."""
        if not self._one_by_one:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "There is a performance drop")
                    return vmap(self._of_sample)(x, v)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self._one_by_one = True
        return torch.stack([self._differentiated(*of_sample) for of_sample in zip(x, v, strict=True)])

    def _differentiated(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Return the gradients (K, coordinates) of a sample by one backward pass for each task."""
        chosen = {name: value.clone().requires_grad_() for name, value in self.chosen.items()}
        with torch.enable_grad(), differentiable_in_evaluation(self.trunk):
            features: torch.Tensor = functional_call(self.trunk, {**self.fixed, **chosen}, (x[None],))
            of_tasks = [
                torch.autograd.grad(
                    features[0] @ of_task, list(chosen.values()), retain_graph=True, materialize_grads=True
                )
                for of_task in v
            ]
        return torch.stack([torch.cat([gradient.flatten() for gradient in of_task]) for of_task in of_tasks])

    def _of_sample(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        def features(values: dict[str, torch.Tensor]) -> torch.Tensor:
            of_batch: torch.Tensor = functional_call(self.trunk, {**self.fixed, **values}, (x[None],))
            return of_batch[0]

        (gradients,) = vmap(vjp(features, self.chosen)[1])(v)
        return torch.cat([gradients[name].flatten(1) for name in self.chosen], dim=1)
