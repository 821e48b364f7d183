"""ARFF files of Mulan and MEKA, dense and sparse."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

N = 40
X = np.round(np.random.default_rng(0).normal(size=(N, 2)), 3).astype(np.float32)
Y = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2], axis=1)
HEADER = """% from Mulan
@relation 'scenes{relation}'

@attribute 'first att' numeric
@ATTRIBUTE second REAL
@attribute Beach {first}
@attribute "Fall foliage" {second}

@data
"""
XML = """<?xml version="1.0" encoding="utf-8"?>
<labels xmlns="http://mulan.sourceforge.net/labels">
<label name="Beach"><label name="Fall foliage"></label></label>
</labels>"""


def header(relation: str = "", categories: str = "{0,1}") -> str:
    text = HEADER.replace("{relation}", relation)
    return text.replace("{first}", categories).replace("{second}", categories)


def dense(words: tuple[str, str] = ("0", "1")) -> str:
    rows = (f"{x[0]}, {x[1]},{words[y[0]]}, {words[y[1]]}" for x, y in zip(X, Y, strict=True))
    return "\n".join(rows) + "\n% the end\n"


def sparse(words: tuple[str, str] = ("0", "1")) -> str:
    rows = []
    for x, y in zip(X, Y, strict=True):
        cells = [f"0 {x[0]}", f"1 {x[1]}"] + [f"{2 + t} {words[1]}" for t in range(2) if y[t]]
        rows.append("{" + ",".join(cells) + "}")
    return "\n".join(rows) + "\n"


def load(folder: Path, **arff: Any) -> TaskSet:
    data = {"arff": {"files": "scenes.arff", **arff}, "root": str(folder)}
    return load_task_set(load_config({"data": data}).data, seed=0)


@pytest.mark.parametrize("rows", [dense, sparse])
@pytest.mark.parametrize("words", [("0", "1"), ("NO", "YES")])
@pytest.mark.parametrize("labels", ["xml", "named xml", "patterns", "relation", "relation from the end"])
def test_labels_are_named_or_counted(tmp_path: Path, rows: Any, words: tuple[str, str], labels: str) -> None:
    relation = {"relation": ": -C 2", "relation from the end": ": -C -2"}.get(labels, "")
    text = header(relation, f"{{{words[0]}, {words[1]}}}") + rows(words)
    if labels == "relation":  # MEKA's labels come first
        text = text.replace("-C 2", "-C -2")
    (tmp_path / "scenes.arff").write_text(text)
    options: dict[str, Any] = {}
    if "xml" in labels:
        (tmp_path / ("scenes.xml" if labels == "xml" else "names.xml")).write_text(XML)
        options = {} if labels == "xml" else {"xml": "names.xml"}
    if labels == "patterns":
        options = {"labels": ["Beach", "Fall*"]}
    task_set = load(tmp_path, **options)
    assert task_set.names == ("Beach", "Fall foliage")
    assert np.allclose(task_set.inputs, X)
    assert np.array_equal(task_set.labels, Y)


def test_the_first_attributes_are_labels_in_meka(tmp_path: Path) -> None:
    text = "@relation 'm: -C 2'\n@attribute y1 {0,1}\n@attribute y2 {0,1}\n@attribute x numeric\n@data\n"
    (tmp_path / "scenes.arff").write_text(text + "".join(f"{y[0]},{y[1]},{x[0]}\n" for x, y in zip(X, Y, strict=True)))
    task_set = load(tmp_path)
    assert task_set.names == ("y1", "y2")
    assert np.allclose(task_set.inputs, X[:, :1])


def test_tabs_double_quotes_and_no_space_before_categories(tmp_path: Path) -> None:
    text = header(categories='{"n o","y es"}').replace("Beach {", "Beach{")
    rows = (
        "\t".join([str(x[0]), str(x[1]), *('"y es"' if t else "'n o'" for t in y)]) for x, y in zip(X, Y, strict=True)
    )
    (tmp_path / "scenes.arff").write_text(text + "\n".join(rows))
    task_set = load(tmp_path, labels=["Beach", "Fall*"])
    assert np.allclose(task_set.inputs, X)
    assert np.array_equal(task_set.labels, Y)


@pytest.mark.parametrize("row", ["{x},{text},{other}", "{{0 {x},1 {text},2 {other}}}"])
def test_a_question_mark_in_quotes_is_a_text(tmp_path: Path, row: str) -> None:
    text = "@relation m\n@attribute x numeric\n@attribute y {a,b,'?'}\n@attribute z {0,1}\n@data\n"
    texts = ["a", "b", "'?'", "?"] * (N // 4)
    rows = [row.format(x=X[i, 0], text=texts[i], other=Y[i, 1]) for i in range(N)]
    (tmp_path / "scenes.arff").write_text(text + "\n".join(rows))
    with pytest.raises(InputError, match=r"'y' has the label '\?' beside a and b: which are missing"):
        load(tmp_path, labels=["y", "z"])


def test_files_by_split_and_missing_labels(tmp_path: Path) -> None:
    rows = dense().splitlines()[:N]
    rows[3] = rows[3][:-1] + "?"
    (tmp_path / "scenes.xml").write_text(XML)
    for name, part in (("train", rows[:30]), ("test", rows[30:])):
        (tmp_path / f"scenes-{name}.arff").write_text(header() + "\n".join(part))
    task_set = load(tmp_path, files={"train": "scenes-train.arff", "test": "scenes-test.arff"})
    assert task_set.labels[3].tolist() == [Y[3, 0], -1]
    assert task_set.rows("test").tolist() == list(range(30, 40))


@pytest.mark.parametrize("rows", [dense, sparse])
@pytest.mark.parametrize("change", ["\r\n", "tabs", "a byte order mark", "latin-1"])
def test_files_as_other_programs_write_them(tmp_path: Path, rows: Any, change: str) -> None:
    text, encoding = header() + rows(), "utf-8"
    if change == "tabs":
        text = header() + rows().replace(", ", ",").replace("," if rows is dense else " ", "\t")
    elif change == "\r\n":
        text = text.replace("\n", "\r\n")
    elif change == "latin-1":
        text, encoding = text.replace("from Mulan", "aus München"), "latin-1"
    else:
        encoding = "utf-8-sig"
    (tmp_path / "scenes.arff").write_bytes(text.encode(encoding))
    task_set = load(tmp_path, labels=["Beach", "Fall*"])
    assert np.allclose(task_set.inputs, X)
    assert np.array_equal(task_set.labels, Y)


SPARSE = """@relation m
@attribute x1 numeric
@attribute x2 {0,1}
@attribute x3 {5,0}
@attribute y1 {no,'so so',yes}
@attribute y2 {0,1}
@attribute y3 {2,1}
@data
"""
CELLS = st.tuples(
    *(
        st.sampled_from(values)
        for values in (["0", "0.5", "-1e3", "7"], "01", "50", ["no", "'so so'", "yes", "?"], "01?", "21")
    )
)


@given(
    rows=st.lists(CELLS, min_size=20, max_size=40), left_out=st.booleans(), spaces=st.sampled_from([",", " , ", ", "])
)
def test_sparse_rows_are_the_dense_ones(rows: list[tuple[str, ...]], left_out: bool, spaces: str) -> None:
    rows = [
        *rows,
        ("0", "0", "5", "no", "0", "2"),
        ("7", "1", "0", "yes", "1", "1"),
        ("7", "1", "0", "'so so'", "1", "1"),
    ]
    rows = rows * 2  # so that no task is constant
    first = ("0", "0", "5", "no", "0", "2")
    cells = ([f"{i} {text}" for i, text in enumerate(row) if not (left_out and text == first[i])] for row in rows)
    texts = ["\n".join(map(",".join, rows)), "\n".join("{" + spaces.join(own) + "}" for own in cells)]
    sets = []
    with tempfile.TemporaryDirectory() as folder:
        for text in texts:
            (Path(folder) / "scenes.arff").write_text(SPARSE + text)
            sets.append(load(Path(folder), labels=["y*"], features=["x*"]))
    assert np.array_equal(sets[0].inputs, sets[1].inputs)
    assert np.array_equal(sets[0].labels, sets[1].labels)
    assert sets[0].tasks == sets[1].tasks


@pytest.mark.parametrize(
    ("text", "xml", "message"),
    [
        (header() + dense(), None, "nothing tells which attributes are labels: set data.arff.xml to Mulan's"),
        (header() + dense(), XML.replace("Beach", "Sea"), "names the label 'Sea', which is no attribute of"),
        (header() + dense(), "<labels></labels>", "names no label: expected <labels>"),
        (header() + dense(), "<labels>", "names no labels: "),
        (
            header() + "1,2,0,7\n",
            XML,
            "'Fall foliage' has the value '7' .in 1 rows., which is none of its categories",
        ),
        (header() + "1,2,0\n", XML, "the data does not fit its 4 attributes"),
        (header() + "{0 1, 9 1}\n", XML, "row 0 has the index 9, and there are 4 attributes"),
        (header() + "{0 1}\n1,2,3,4\n", XML, "row 1 of the data is '1,2,3,4': expected {index value, ...}"),
        (header() + "{0 1, x 2}\n", XML, "row 0 of the data is 'x 2': expected {index value"),
        (header() + "{0 1 2, 3 1}\n", XML, "row 0 of the data is '0 1 2': expected {index value"),
        (header() + "{0 '1', 3 'a\n", XML, "row 0 of the data is .*expected {index value"),
        (header() + "{0 1, 3 1}, {0.5}\n", XML, "row 0 of the data is .*expected {index value"),
        (header() + "{0 high}\n", XML, "the attribute 'first att' is no number: 'high'"),
        (header() + "{0 1, 3 7}\n", XML, "'Fall foliage' has the value 7 .in 1 rows., which is none of its categories"),
        (header(categories="{no,yes}") + "{3 maybe}\n", XML, "'Fall foliage' has the value 'maybe', which is none of"),
        (header(), XML, "scenes.arff has no row"),
        (header().partition("@data")[0], XML, "no whole ARFF file"),
        (header() + dense().replace("0.126", "high", 1), XML, "does not fit its 4 attributes: .*invalid value 'high"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, xml: str | None, message: str) -> None:
    (tmp_path / "scenes.arff").write_text(text)
    if xml is not None:
        (tmp_path / "scenes.xml").write_text(xml)
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)
