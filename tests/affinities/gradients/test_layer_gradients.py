"""The forms of a layer's gradients against the brute-force loop over samples and tasks, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.oracle import TRUNKS, engine_of, example, looped

WITHOUT_RULES = ("by hand", "sequences", "deconvolution", "lstm", "gru", "rnn")


@pytest.mark.parametrize("trunk", [name for name in TRUNKS if name not in WITHOUT_RULES])
@settings(max_examples=4)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 100))
def test_every_way_to_a_layers_gradients_gives_those_of_the_loop(trunk: str, seed: int, cut: int) -> None:
    """By blocks of rows, by coordinates, and as sums of signs: by rules, not by torch.func."""
    network, inputs, labels = example(trunk, 3, seed, 0.3)
    own = engine_of(network, "all", inputs)
    weights = torch.rand(labels.shape, dtype=torch.float64)
    assert all(layer.rule is not None for layer in own.layers)
    for layer, gradients in own.at(inputs, labels).layers():
        parameters = dict(network.trunk.named_parameters())
        whole = [looped(network, inputs, labels, [name]) for name in layer.parameters]
        rows = [g.reshape(*labels.shape, gradients.n_rows, -1) for g in whole]
        expected = torch.cat(rows, dim=3)
        assert layer.n_coordinates == sum(parameters[name].numel() for name in layer.parameters)
        start = cut % gradients.n_rows
        found = torch.cat(
            [gradients.of_rows(slice(0, 3), *bounds) for bounds in ((0, start), (start, gradients.n_rows))], dim=2
        )
        torch.testing.assert_close(found, expected.flatten(2), rtol=1e-10, atol=1e-12)
        index = torch.randperm(layer.n_coordinates)[: 1 + cut % layer.n_coordinates].sort().values
        torch.testing.assert_close(
            gradients.of_coordinates(slice(1, 3), index), expected.flatten(2)[1:, :, index], rtol=1e-10, atol=1e-12
        )
        signs = torch.einsum("nk,nkm->km", weights, found.sign())[:, start * gradients.row_size :]
        clear = ((found == 0) | (found.abs() > 1e-12)).all(dim=0)[
            :, start * gradients.row_size :
        ]  # or rounding decides
        torch.testing.assert_close(gradients.signed_sum(weights, start, gradients.n_rows)[clear], signs[clear])
