"""PyTorch data sets: pairs of inputs and labels in whatever form items have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

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


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "Stream has no length or no items: expected a torch.utils.data.Dataset"),
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
