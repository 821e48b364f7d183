"""The learners against direct loops, and against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stg_ray.errors import InputError
from stg_ray.meta import LEARNERS, Episodes, Initialisation
from stg_ray.meta.learners import after_steps, train

STEPS, RATE = 3, 0.1


def network(n_outputs: int, *, images: bool, norm: bool) -> nn.Module:
    torch.manual_seed(0)
    lower: list[nn.Module] = [nn.Linear(4, 6), nn.Tanh()]
    if images:
        normed = [nn.GroupNorm(1, 3)] if norm else []
        lower = [nn.Conv2d(1, 3, 3, padding=1), *normed, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    made = nn.Sequential()
    made.add_module("trunk", nn.Sequential(*lower))
    made.add_module("heads", nn.Linear(12 if images else 6, n_outputs))
    return made.double()


def episodes(kind: str) -> Episodes:
    generator = torch.Generator().manual_seed(1)
    shape = (1, 4, 4) if "images" in kind else (4,)

    def rows(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.randn((5, n, *shape), generator=generator, dtype=torch.float64)
        classes = torch.randint(0, 3, (5, n), generator=generator)
        return inputs, inputs.flatten(2).sum(dim=2) if kind == "values" else classes

    return Episodes(*rows(6), *rows(7))


def start(kind: str) -> Initialisation:
    outputs = 1 if kind == "values" else 3
    return Initialisation(network(outputs, images="images" in kind, norm=kind == "normed images"), RATE)


def by_loop(name: str, own: Initialisation, data: Episodes, *, first_order: bool) -> list[torch.Tensor]:
    """The gradient of each parameter, then of each log rate, by autograd through a plain loop."""
    total: list[torch.Tensor] = []
    names = list(own.parameters)
    for e in range(len(data)):
        theta = {n: value.clone().requires_grad_() for n, value in own.parameters.items()}
        rates = {n: value.clone().requires_grad_() for n, value in own.log_rates.items()}
        x, y = data.support[e], data.support_labels[e]
        if name == "reptile":
            x, y = torch.cat([x, data.query[e]]), torch.cat([y, data.query_labels[e]])
        moving = {n: value for n, value in theta.items() if name != "anil" or n.startswith("heads.")}
        for _ in range(STEPS):
            loss = data.loss(torch.func.functional_call(own.network, {**theta, **moving}, (x,)), y)
            slopes = torch.autograd.grad(loss, list(moving.values()), create_graph=not first_order)
            moving = {
                n: value - rates[n].exp() * (slope.detach() if first_order else slope)
                for (n, value), slope in zip(moving.items(), slopes, strict=True)
            }
        if name == "reptile":
            found = [(theta[n] - moving[n]).detach() for n in names] + [torch.zeros(()) for _ in names]
        else:
            outputs = torch.func.functional_call(own.network, {**theta, **moving}, (data.query[e],))
            wanted = [*(theta[n] for n in names), *(rates[n] for n in names)]
            loss = data.loss(outputs, data.query_labels[e])
            found = list(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))
        total = (
            [t + f / len(data) for t, f in zip(total, found, strict=True)] or [f / len(data) for f in found]
            if total
            else [f / len(data) for f in found]
        )
    return total


@pytest.mark.parametrize("kind", ["classes", "values", "images", "normed images"])
@pytest.mark.parametrize(
    ("name", "first_order"), [("maml", False), ("maml", True), ("anil", False), ("anil", True), ("reptile", False)]
)
def test_gradients_are_those_of_a_plain_loop(name: str, first_order: bool, kind: str) -> None:
    own, data = start(kind), episodes(kind)
    learner = LEARNERS[name](STEPS, first_order=first_order, learn_rates=name != "reptile")
    slopes, of_rates, _ = learner.gradients(own, data)
    expected = by_loop(name, own, data, first_order=first_order)
    found = [*slopes.values(), *of_rates.values()]
    assert max(float(f.abs().max()) for f in expected) > 1e-3
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other.double(), rtol=0, atol=1e-8)


def test_second_order_is_not_first_order() -> None:
    own, data = start("classes"), episodes("classes")
    exact, first = (LEARNERS["maml"](STEPS, first_order=order).gradients(own, data)[0] for order in (False, True))
    assert any(not torch.allclose(exact[name], first[name], atol=1e-4) for name in exact)


@pytest.mark.parametrize("name", ["maml", "anil"])
def test_gradients_are_slopes_of_the_query_loss(name: str) -> None:
    """Finite differences in random directions of the parameters, and of every rate."""
    own, data, learner = start("classes"), episodes("classes"), LEARNERS[name](STEPS, learn_rates=True)
    slopes, of_rates, _ = learner.gradients(own, data)

    def loss_at(step: float, of: dict[str, torch.Tensor], direction: dict[str, torch.Tensor]) -> float:
        kept = {n: value.clone() for n, value in of.items()}
        for n in of:
            of[n] = kept[n] + step * direction[n]
        value = float(learner.gradients(own, data)[2].mean())
        of.update(kept)
        return value

    for of, gradient in ((own.parameters, slopes), (own.log_rates, of_rates)):
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            direction = {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in of.items()}
            slope = (loss_at(1e-5, of, direction) - loss_at(-1e-5, of, direction)) / 2e-5
            assert slope == pytest.approx(sum(float((gradient[n] * direction[n]).sum()) for n in of), abs=1e-7)


def test_a_step_of_reptile_goes_towards_the_adapted_parameters() -> None:
    own, data = start("classes"), episodes("classes")
    learner = LEARNERS["reptile"](STEPS)
    before = {name: value.clone() for name, value in own.parameters.items()}
    rows = [torch.cat(pair, dim=1) for pair in ((data.support, data.query), (data.support_labels, data.query_labels))]
    after = [learner.adapt(own, x, y, data.loss) for x, y in zip(*rows, strict=True)]
    train(own, learner, [data], lambda tensors: torch.optim.SGD(tensors, lr=0.25))
    for name, value in own.parameters.items():
        mean = torch.stack([adapted[name] for adapted in after]).mean(dim=0)
        torch.testing.assert_close(value, before[name] + 0.25 * (mean - before[name]))


@pytest.mark.parametrize("name", LEARNERS)
def test_an_initialisation_that_is_learned_adapts_better(name: str) -> None:
    """Tasks are slopes of lines through zero: an initialisation knows that they are, and a few rows tell the slope."""

    def lines(seed: int, n: int) -> Episodes:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn((n, 10, 4), generator=generator, dtype=torch.float64)
        y = 3 * torch.randn((n, 1), generator=generator, dtype=torch.float64) * x[..., 0]
        return Episodes(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])

    own, learner = start("values"), LEARNERS[name](STEPS, learn_rates=name != "reptile")
    test = lines(99, 100)

    def error() -> float:
        outputs = after_steps(own, learner, test, [STEPS])[STEPS]
        return float((outputs[..., 0] - test.query_labels).square().mean())

    before, rates = error(), {key: float(value) for key, value in own.log_rates.items()}
    train(own, learner, (lines(seed, 16) for seed in range(120)), lambda tensors: torch.optim.Adam(tensors, lr=0.01))
    assert error() < 0.7 * before
    assert (rates != {key: float(value) for key, value in own.log_rates.items()}) == (name != "reptile")


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(InputError, match="reptile has no gradient of the inner rate"):
        LEARNERS["reptile"](1, learn_rates=True)
    with pytest.raises(InputError, match="keeps statistics of batches"):
        Initialisation(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), 0.1)
