"""PyTorch data sets: pairs of inputs and labels in whatever form items have."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

N = 40
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
Y = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2], axis=1)
PIXELS = np.random.default_rng(0).integers(0, 255, (N, 4, 5, 3), dtype=np.uint8)


class Items(Dataset):
    def __init__(self, item: Callable[[int], Any], n: int = N) -> None:
        self.item, self.n = item, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, number: int) -> Any:
        return self.item(number)


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        (TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), ("task_0", "task_1")),
        (Items(lambda i: (X[i], Y[i].tolist())), ("task_0", "task_1")),
        (Items(lambda i: [torch.tensor(X[i]), [torch.tensor(y) for y in Y[i]]]), ("task_0", "task_1")),
        (Items(lambda i: (X[i], {"a": Y[i, 0], "b": torch.tensor(Y[i, 1])})), ("a", "b")),
        (Items(lambda i: (X[i], {"a": bool(Y[i, 0]), "b": float(Y[i, 1])})), ("a", "b")),
    ],
    ids=["tensors", "arrays", "lists of tensors", "names", "mixed"],
)
def test_items_of_every_form(dataset: Any, names: tuple[str, ...]) -> None:
    task_set = TaskSet.from_dataset(dataset)
    assert task_set.names == names
    assert np.array_equal(task_set.inputs, X)
    assert np.array_equal(task_set.labels, Y)


def test_images_and_missing_labels() -> None:
    task_set = TaskSet.from_dataset(
        Items(lambda i: (Image.fromarray(PIXELS[i]), {"a": None if i == 3 else Y[i, 0], "b": Y[i, 1]}))
    )
    assert np.array_equal(task_set.inputs, PIXELS.transpose(0, 3, 1, 2))
    assert np.flatnonzero(task_set.labels[:, 0] == -1).tolist() == [3]


def test_images_with_a_palette_are_their_colours() -> None:
    palette = [Image.fromarray(pixels).quantize(200) for pixels in PIXELS]
    in_colour = np.stack([np.asarray(image.convert("RGB")) for image in palette])
    for images in (palette, [image.convert("RGB") if i % 2 else image for i, image in enumerate(palette)]):
        task_set = TaskSet.from_dataset(Items(lambda i, images=images: (images[i], Y[i])))
        assert np.array_equal(task_set.inputs, in_colour.transpose(0, 3, 1, 2))


def test_ids_and_a_mask_are_one_input_of_two_rows() -> None:
    ids, mask = np.arange(N * 4).reshape(N, 4) % 7, np.ones((N, 4), np.int64)
    task_set = TaskSet.from_dataset(Items(lambda i: ((torch.tensor(ids[i]), torch.tensor(mask[i])), Y[i])))
    assert np.array_equal(task_set.inputs, np.stack([ids, mask], axis=1))
    with pytest.raises(InputError, match=r"a mapping of ids, mask: expected one array, or a pair"):
        TaskSet.from_dataset(Items(lambda i: ({"ids": ids[i], "mask": mask[i]}, Y[i])))
    with pytest.raises(InputError, match=r"are these 2 inputs of each row\? Give them as one, np.stack"):
        TaskSet.from_arrays((ids, mask), Y)


def test_one_for_each_split() -> None:
    whole = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    splits = {"train": Subset(whole, range(28)), "test": Subset(whole, range(28, 40))}
    task_set = TaskSet.from_dataset(splits, names=["a", "b"])
    assert task_set.rows("test").tolist() == list(range(28, 40))
    assert task_set.names == ("a", "b")


LABELS: dict[str, tuple[Callable[[int], Any], list[Any]]] = {
    "a class": (lambda i: i % 3, [[0], [1], [2], [0]]),
    "a class in a tensor": (lambda i: torch.tensor(i % 3), [[0], [1], [2], [0]]),
    "a tensor of one number": (lambda i: torch.tensor([i % 3]), [[0], [1], [2], [0]]),
    "a vector of bytes": (lambda i: Y[i].astype(np.uint8), [[0, 0], [1, 0], [0, 1], [1, 1]]),
    "a vector of booleans": (lambda i: torch.tensor(Y[i] > 0), [[0, 0], [1, 0], [0, 1], [1, 1]]),
    "a tuple of tensors": (
        lambda i: (torch.tensor(Y[i, 0]), torch.tensor([Y[i, 1]])[0]),
        [[0, 0], [1, 0], [0, 1], [1, 1]],
    ),
    "a tuple of tensors of one number": (lambda i: (torch.tensor(Y[i, :1]), torch.tensor(Y[i, 1:])), [[0, 0], [1, 0]]),
    "halves": (lambda i: torch.tensor(Y[i], dtype=torch.bfloat16), [[0, 0], [1, 0]]),
    "a tuple with a gap": (lambda i: (Y[i, 0], None if i % 4 == 1 else Y[i, 1]), [[0, 0], [1, -1], [0, 1], [1, 1]]),
    "numbers that grow": (lambda i: [i % 2, (i % 2) * 100_000], [[0, 0], [1, 1], [0, 0], [1, 1]]),
    "a fraction later on": (lambda i: [i % 2, i / 2 if i > 3 else 0], [[0, 0], [1, 0], [0, 0], [1, 0]]),
    "a text": (lambda i: ["cat", "dog"][i % 2], [[0], [1], [0], [1]]),
    "texts and numbers by name": (
        lambda i: {"a": ["no", "yes"][i % 2], "b": i // 2 % 2},
        [[0, 0], [1, 0], [0, 1], [1, 1]],
    ),
    "a text after a gap": (
        lambda i: {"a": ["dog", "cat", None][-1 if i < 2 else i % 2], "b": i % 2},
        [[-1, 0], [-1, 1], [1, 0]],
    ),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_of_every_form(form: str) -> None:
    label, expected = LABELS[form]
    labels = TaskSet.from_dataset(Items(lambda i: (X[i], label(i)))).labels
    assert labels[: len(expected)].tolist() == expected


@given(
    columns=st.lists(
        st.sampled_from(["bits", "classes", "large", "floats", "gaps", "booleans", "texts", "numbers as text"]),
        min_size=1,
        max_size=4,
    ),
    by_name=st.booleans(),
)
def test_items_have_the_labels_of_their_columns(columns: list[str], by_name: bool) -> None:
    rows = np.arange(N)
    values: dict[str, list[Any]] = {
        "bits": (rows % 2).tolist(),
        "classes": (rows % 5).tolist(),
        "large": (rows % 3 * 70_000).tolist(),
        "floats": (rows / 7).tolist(),
        "gaps": [None if i % 5 == 0 else i % 2 for i in rows.tolist()],
        "booleans": (rows % 2 == 0).tolist(),
        "texts": [["red", "green", None][i % 3] for i in rows.tolist()],
        "numbers as text": [str(i % 4) for i in rows.tolist()],
    }
    named = {f"{number} {column}": values[column] for number, column in enumerate(columns)}
    cells = [{name: own[i] for name, own in named.items()} for i in range(N)]
    items = Items(lambda i: (X[i], cells[i] if by_name else tuple(cells[i].values())))
    found = TaskSet.from_dataset(items, names=list(named))
    expected = TaskSet.from_arrays(X, named)
    assert found.tasks == expected.tasks
    assert np.array_equal(found.labels, expected.labels, equal_nan=found.labels.dtype.kind == "f")


def test_items_are_forgotten_once_they_are_in_the_arrays() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def item(i: int) -> Any:
        nonlocal most
        most = max(most, len(alive))
        x = torch.from_numpy(X[i]).clone()
        alive.add(x)
        return x, {"a": int(Y[i, 0]), "b": torch.tensor(Y[i, 1])}

    task_set = TaskSet.from_dataset(Items(item))
    assert most <= 2
    assert task_set.labels.dtype == np.int8


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), r"Stream can only be iterated: give a list of its items, list\(dataset\), or arrays"),
        ({"train": Items(lambda i: (X[i], Y[i])), "test": Stream()}, "Stream for test can only be iterated"),
        (DataLoader(Items(lambda i: (X[i], Y[i]))), "DataLoader yields batches: give its data set, loader.dataset"),
        (iter([]), "list_iterator has no length or no items: expected a torch.utils.data.Dataset"),
        (Items(lambda i: (X[i], Y[i], 1)), r"is a tuple of 3: expected a pair .*together: \(input, \(label, label\)\)"),
        (Items(lambda i: (X[i], Y[i][None])), r"item 0 of Items has labels of the shape \(1, 2\): expected one value"),
        (
            Items(lambda i: (X[i], Y[i][: 2 - i // 20])),
            r"item 20 of Items has .* labels of \(1,\), the first \(3,\) and",
        ),
        (Items(lambda i: (X[i], np.array(["2020-01-01"] * 2, "M8[D]"))), "item 0 of Items holds no numbers nor texts"),
        (Items(lambda i: X[i], 30), "item 0 of Items is a ndarray of 3: expected a pair"),
        (Items(lambda i: (X[i][: 2 + i // 20], Y[i])), r"item 20 of Items has an input of the shape \(3,\) .*\(2,\)"),
        (Items(lambda i: (X[i], {"a": 0, "b" if i else "c": 1})), r"item 1 of Items .*\['a', 'b'\], the first"),
        (Items(lambda i: (X[i], [object(), 1])), "item 0 of Items holds no numbers"),
        (Items(lambda i: dict[int, int]()[i]), "item 0 of Items raised KeyError: 0"),
        (Items(lambda i: None, 0), "the data set has no item"),
    ],
)
def test_what_is_refused(dataset: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TaskSet.from_dataset(dataset)
