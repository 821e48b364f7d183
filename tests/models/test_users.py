"""Trunks of the user's: functions, classes, modules, torchvision's constructors, and their faults."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from stg_ray.config import ModelConfig
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.imports import resolve
from stg_ray.models.trunks import build_trunk

CODE = """
import torch
from torch import nn
def good(shape):
    return nn.Linear(shape[0], 3)
def without_arguments():
    return nn.Linear(6, 3)
def raises(shape):
    table = {}
    return table["no such key"]
def two(shape, width):
    return nn.Linear(6, width)
class Shaped(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.linear = nn.Linear(shape[0], 3)
    def forward(self, x):
        return self.linear(x)
class Plain(Shaped):
    def __init__(self):
        super().__init__((6,))
class Fails(nn.Module):
    def forward(self, x):
        return x.no_such_method()
class Undefined(Shaped):
    def forward(self, x):
        return self.linear(x) * float("nan")
class Normed(Shaped):
    def forward(self, x):
        return self.linear(x / x.norm(dim=1, keepdim=True))
class Empty(nn.Module):
    def forward(self, x):
        return x[:, :0]
module = nn.Linear(6, 3)
class Holder:
    trunk = good
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_networks.py").write_text(CODE)
    (tmp_path / "my_broken.py").write_text("def f(:\n")
    (tmp_path / "my_failing.py").write_text("import math\nmath.log(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_networks"
    sys.modules.pop("my_networks", None)


@pytest.mark.parametrize("name", ["good", "without_arguments", "Shaped", "Plain", "Normed", "module", "Holder.trunk"])
def test_everything_that_gives_a_module(own: str, name: str) -> None:
    trunk, n_features, takes = build_trunk(ModelConfig(trunk=f"{own}:{name}"), (6,))
    assert (n_features, takes) == (3, "fractions")
    assert trunk(torch.zeros(2, 6)).shape == (2, 3)
    assert trunk is not getattr(sys.modules[own], "module")  # noqa: B009  training must not change the user's


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "my_networks:raises",
            ["shape of one input, (6,)", "raised KeyError: 'no such key'", "my_networks.py, line ", "in raises"],
        ),
        ("my_networks:two", ["raised TypeError", "missing 1 required positional argument: 'width'"]),
        ("my_networks:Fails", ["does not take inputs of shape (6,)", "AttributeError", "py, line ", "in forward"]),
        ("my_networks:missing", ["has no 'missing'"]),
        ("my_networks:Undefined", ["gives NaN or infinite features for any inputs"]),
        ("my_networks:Empty", ["gives no features"]),
        ("my_broken:f", ["cannot be imported", "SyntaxError", "(my_broken.py, line "]),
        ("my_failing:f", ["cannot be imported", "ValueError: math", "my_failing.py, line ", "in <module>"]),
        ("no_such_module:f", ["no module named 'no_such_module'"]),
    ],
)
@pytest.mark.usefixtures("own")
def test_the_users_code_is_shown_and_none_of_ours(name: str, told: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        build_trunk(ModelConfig(trunk=name), (6,))
    for text in told:
        assert text in str(raised.value)
    assert "stg_ray/models" not in str(raised.value)
    assert "importlib" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "n_features"), [("resnet18", 512), ("squeezenet1_1", 1000), ("mobilenet_v3_small", 1024)]
)
def test_constructors_of_torchvision_come_without_their_classifier(name: str, n_features: int) -> None:
    trunk, found, takes = build_trunk(ModelConfig(trunk=f"torchvision.models:{name}"), (3, 64, 64))
    assert (found, takes) == (n_features, "fractions")
    assert trunk(torch.zeros(2, 3, 64, 64)).shape == (2, n_features)


class Importable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_classes_and_functions_are_given_in_python() -> None:
    config = load_config({"data": {"npz": "x"}, "model": {"trunk": Importable}})
    assert config.model.trunk == f"{__name__}:Importable"
    assert build_trunk(config.model, (6,))[1] == 6


def given(trunk: object) -> ModelConfig:
    return load_config({"data": {"npz": "x"}, "model": {"trunk": trunk}}).model


def test_a_name_that_workers_cannot_import_is_refused() -> None:
    with pytest.raises(InputError, match=r"it is defined in a notebook or in the program itself.*give my_code:net"):
        given("__main__:net")


def of_width(width: int) -> Callable[[tuple[int, ...]], nn.Module]:
    return lambda shape: nn.Linear(shape[0], width)


def test_what_workers_cannot_import_goes_with_the_run() -> None:
    """Classes of a notebook, lambdas: by value, and known by their code and what it refers to."""

    class Local(nn.Sequential):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__(nn.Linear(shape[0], 4), nn.ReLU())

    assert build_trunk(given(Local), (6,))[1] == 4
    assert build_trunk(given(of_width(5)), (6,))[1] == 5
    of_notebook = type("Net", (nn.Identity,), {"__module__": "__main__"})
    assert build_trunk(given(of_notebook), (6,))[1] == 6
    assert given(of_width(5)).trunk == given(of_width(5)).trunk
    assert given(of_width(5)).trunk != given(of_width(6)).trunk
    assert given(Local).trunk != given(of_notebook).trunk


def test_what_is_given_and_raises_is_named() -> None:
    def broken(_shape: tuple[int, ...]) -> nn.Module:
        raise KeyError("no such layer")

    with pytest.raises(
        InputError, match=r"(?s)broken was called with the shape of one input, \(6,\), and.*no such layer"
    ):
        build_trunk(given(broken), (6,))
    with pytest.raises(InputError, match=r"gave int: expected a torch.nn.Module"):
        build_trunk(given(lambda shape: shape[0]), (6,))


def test_a_file_that_was_changed_is_read_anew_where_it_was_imported_already(own: str, tmp_path: Path) -> None:
    """A notebook that keeps the code of before would predict with it what its workers trained with the new one."""
    config = ModelConfig(trunk=f"{own}:good")
    assert build_trunk(config, (6,))[1] == 3
    first = sys.modules[own]
    assert build_trunk(config, (6,))[1] == 3
    kind = first.Shaped
    assert resolve(f"{own}:Shaped") is kind, "nothing is read twice"
    (tmp_path / f"{own}.py").write_text(CODE.replace("(shape[0], 3)", "(shape[0], 13)"))
    assert build_trunk(config, (6,))[1] == 13
    assert resolve(f"{own}:Shaped") is not kind
    (tmp_path / f"{own}.py").write_text("def good(:\n")
    with pytest.raises(InputError, match="cannot be imported"):
        build_trunk(config, (6,))
