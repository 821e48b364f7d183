"""The numbers that a trunk takes: fractions, or whole numbers that it looks up, such as ids of tokens."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal, TypeAlias

import torch
from torch import nn

from stg_ray.errors import InputError, one_line
from stg_ray.imports import raised

Takes: TypeAlias = Literal["fractions", "whole", "either"]
"""`either`: it takes fractions, but cuts them off, as `.long()` does."""

BELOW_ROUNDING = 0.49
"""Fractions up to here are cut off and rounded to the same whole number."""


def look(name: str, trunk: nn.Module, input_shape: tuple[int, ...]) -> tuple[object, Takes]:
    """Run a trunk on two blank inputs, floating-point ones and, if it does not take these, whole numbers.

    Args:
        name: of the trunk, for messages.
        trunk: in evaluation mode.
        input_shape: shape of one input.

    Returns:
        Its features, and the numbers that it takes.

    Raises:
        InputError: it takes neither.
    """
    blank = torch.zeros(2, *input_shape)
    with torch.no_grad():
        try:
            features: object = trunk(blank)
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            try:
                return trunk(blank.long()), "whole"
            except (Exception, SystemExit):
                raise InputError(_not_taken(name, input_shape, error)) from error
        if ":" not in name:
            return features, "fractions"  # one of ours
        with torch.random.fork_rng(devices=[]):  # the heads' first weights are drawn after this
            _check_finite(name, trunk, blank, features)
            return features, "either" if _cuts_off(trunk, blank, features) else "fractions"


def _check_finite(name: str, trunk: nn.Module, blank: torch.Tensor, features: object) -> None:
    """Refuse a trunk that gives NaN or infinite features for blank inputs and for others: one may divide by a norm.

    Raises:
        InputError: it does.
    """
    if not isinstance(features, torch.Tensor) or features.isfinite().all():
        return
    with suppress(Exception):
        features = trunk(torch.rand(blank.shape))
    if isinstance(features, torch.Tensor) and not features.isfinite().any():
        raise InputError(f"model.trunk={name} gives NaN or infinite features for any inputs: expected numbers")


def check_range(name: str, trunk: nn.Module, input_shape: tuple[int, ...], whole: tuple[int, int] | None) -> None:
    """Run a trunk on the least and the largest number that it will have to look up.

    Raises:
        InputError: it has no entry for one of them.
    """
    if whole is None:
        return
    training = trunk.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for number in whole:
                trunk.eval()(torch.full((2, *input_shape), number, dtype=torch.long))
    except Exception as error:  # an embedding raises an IndexError, one_hot a RuntimeError
        raise InputError(
            f"model.trunk={name} does not take {number} ({one_line(error)}): inputs are whole numbers from {whole[0]} "
            f"to {whole[1]}. If they are ids, make its table larger or renumber them; else set data.normalize=standard"
        ) from error
    finally:
        trunk.train(training)


def _cuts_off(trunk: nn.Module, blank: torch.Tensor, features: object) -> bool:
    """Return whether fractions make no difference to a trunk that takes whole numbers as well."""
    fractions = torch.linspace(0, BELOW_ROUNDING, blank.numel()).reshape(blank.shape)
    try:
        of_fractions, of_whole = trunk(fractions), trunk(blank.long())
    except Exception:
        return False
    if not (isinstance(features, torch.Tensor) and isinstance(of_fractions, torch.Tensor)):
        return False
    return torch.equal(of_fractions, features) and torch.equal(of_whole, features)


def _not_taken(name: str, input_shape: tuple[int, ...], error: BaseException) -> str:
    """Describe an error of a trunk: of ours by torch's words, of the user's by where it was raised."""
    shown = one_line(error) if ":" not in name and isinstance(error, RuntimeError) else raised(error)
    return f"model.trunk={name} does not take inputs of shape {input_shape}: {shown}"
