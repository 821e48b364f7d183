"""CSV files as spreadsheets, pandas and instruments write them."""

from __future__ import annotations

import gzip
import lzma
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from stg_ray.tasks.notes import DataWarning

N = 40
A = np.arange(N) / 4
B = (np.arange(N) * 3) % 7
Y = np.arange(N) % 2
Z = np.arange(N) // 2 % 2
WRITTEN = ["['a', 'b']", "['b']", "['a']", "NA"]


def text(delimiter: str = ",", point: str = ".", header: str = "a,b,y_1,y_2", blank: str = "") -> str:
    rows = [header.replace(",", delimiter)]
    for row in range(N):
        label = blank if row == 5 and blank else str(Y[row])
        rows.append(delimiter.join([str(A[row]).replace(".", point), str(B[row]), label, str(Z[row])]))
    return "\n".join(rows) + "\n"


def load(folder: Path, data: dict[str, Any] | None = None, **csv: Any) -> TaskSet:
    csv = {"files": "mine.csv", "features": ["*"], "labels": ["y_*"], **csv}
    return load_task_set(load_config({"data": {"csv": csv, "root": str(folder), **(data or {})}}).data, seed=0)


def countries(texts: list[str]) -> str:
    quoted = [f'"{text}"' if "," in text else text for text in texts]
    return "a,y_c,y_d\n" + "".join(f"{A[row]},{quoted[row % len(texts)]},{Z[row]}\n" for row in range(N))


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (text().encode(), {}),
        (text(";").encode(), {}),
        (text("\t").encode(), {}),
        (text("|").encode(), {}),
        (text("^").encode(), {"delimiter": "^"}),
        (text(";", ",").encode(), {"decimal": ","}),
        (b"\xef\xbb\xbf" + text().encode(), {}),
        (text().replace("\n", "\r\n").encode(), {}),
        (text(header='"a","b","y_1","y_2"').encode(), {}),
        (text(header="ä,b,y_1,y_2").encode("latin-1"), {"encoding": "latin-1"}),
        (text().encode("utf-16"), {"encoding": "utf-16"}),
        (text().rstrip().encode(), {}),
        (text(header="a, b, y_1, y_2 ").encode(), {}),
    ],
    ids=[
        "comma",
        "semicolon",
        "tab",
        "bar",
        "caret",
        "comma as point",
        "BOM",
        "CRLF",
        "quotes",
        "latin",
        "16",
        "end",
        "spaces",
    ],
)
def test_of_every_dialect(tmp_path: Path, content: bytes, options: dict[str, Any]) -> None:
    (tmp_path / "mine.csv").write_bytes(content)
    task_set = load(tmp_path, **options)
    assert task_set.names == ("1", "2")
    assert np.array_equal(task_set.inputs, np.stack([A, B], axis=1).astype(np.float32))
    assert np.array_equal(task_set.labels, np.stack([Y, Z], axis=1))


@pytest.mark.parametrize("blank", ["?", "NA", "nan", "NULL", "N/A", "None", "<NA>"])
def test_what_stands_for_a_missing_label(tmp_path: Path, blank: str) -> None:
    (tmp_path / "mine.csv").write_text(text(blank=blank))
    assert np.flatnonzero(load(tmp_path).labels[:, 0] < 0).tolist() == [5]


@pytest.mark.parametrize("text", ["NA", "n/a", "None", "null", "?", "#N/A"])
def test_what_may_be_a_class_beside_texts_is_asked_about(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.csv").write_text(countries(["FR", "DE", text, ""]))
    with pytest.raises(InputError, match=rf"'c' has the label '{re.escape(text)}' beside DE and FR: which are missing"):
        load(tmp_path)
    classes = load(tmp_path, {"tasks": {"c": {"missing": []}}})
    assert classes.tasks[0].classes == tuple(sorted(["DE", "FR", text]))
    assert np.flatnonzero(classes.labels[:, 0] < 0).tolist() == list(range(3, N, 4)), "empty text stays missing"
    marked = load(tmp_path, {"tasks": {"c": {"missing": [text]}}})
    assert marked.labels[:4, 0].tolist() == [1, 0, -1, -1]


def test_texts_of_one_file_are_texts_in_another_that_has_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(countries(["FR", "DE"]))
    (tmp_path / "b.csv").write_text(countries(["NA"]).replace("y_c", " y_c"))
    files = ["a.csv", "b.csv"]
    with pytest.raises(InputError, match="'c' has the label 'NA' beside DE and FR"):
        load(tmp_path, files=files)
    assert load(tmp_path, {"tasks": {"c": {"missing": []}}}, files=files).tasks[0].classes == ("DE", "FR", "NA")


def test_what_may_be_a_class_in_a_column_of_classes_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(countries(["FR", "DE", "NA", "nan", ""]))
    with pytest.warns(DataWarning, match="the text 'NA' is taken for a class: if it marks rows without one, leave"):
        task_set = load(tmp_path, labels=[], classes="y_c", features=["a"])
    assert task_set.names == ("DE", "FR", "NA")
    assert np.flatnonzero(task_set.labels[:, 0] < 0).tolist() == [row for row in range(N) if row % 5 > 2]


@pytest.mark.parametrize(("lists", "options"), [(["a/b", "b", "a", "N/A"], {"separator": "/"}), (WRITTEN, {})])
def test_a_gap_beside_texts_that_list_labels_is_no_label(tmp_path: Path, lists: list[str], options: Any) -> None:
    (tmp_path / "mine.csv").write_text(countries(lists))
    task_set = load(tmp_path, labels=["y_c"], features=["a"], empty="missing", **options)
    assert task_set.names == ("a", "b")
    assert task_set.labels[:4].tolist() == [[1, 1], [0, 1], [1, 0], [-1, -1]]


def test_compressed_files_by_split(tmp_path: Path) -> None:
    lines = text().splitlines()
    for name, rows in (("train", lines[1:31]), ("test", lines[31:])):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join([lines[0], *rows]).encode()))
    task_set = load(tmp_path, files={"train": "train.csv.gz", "test": "test.csv.gz"})
    assert task_set.rows("test").tolist() == list(range(30, 40))


def test_types_are_told_from_all_rows(tmp_path: Path) -> None:
    rows = "".join(f"{row},{row % 2},{row // 2 % 2}\n" for row in range(200_000))
    (tmp_path / "mine.csv").write_text(f"a,y_1,y_2\n{rows}0.5,1,0\n")
    assert load(tmp_path).inputs[-1, 0] == 0.5


@pytest.mark.parametrize(("empty", "labels"), [("none", [0, 0]), ("missing", [-1, -1])])
def test_labels_in_one_column_of_text(tmp_path: Path, empty: str, labels: list[int]) -> None:
    tags = ["red;round", "round", "red", ""] * 10
    rows = "".join(f"{row},{tag},{'yes' if row % 8 < 4 else 'no'}\n" for row, tag in enumerate(tags))
    (tmp_path / "mine.csv").write_text(f"a,tags,ripe\n{rows}")
    task_set = load(tmp_path, labels=["tags", "ripe"], separator=";", empty=empty)
    assert task_set.names == ("red", "round", "ripe")
    assert task_set.labels[:4, :2].tolist() == [[1, 1], [0, 1], [1, 0], labels]
    assert task_set.labels[2:6, 2].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("index", ["", "Unnamed: 0"])
def test_the_index_of_a_frame_is_no_input(tmp_path: Path, index: str) -> None:
    lines = text().splitlines()
    rows = [f"{index},{lines[0]}", *(f"{row},{line}" for row, line in enumerate(lines[1:]))]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    with pytest.warns(DataWarning, match=f"the column '{index}' is the index of a data frame and is left out of"):
        assert load(tmp_path).inputs.shape == (N, 2)
    assert load(tmp_path, features=["a", "b"]).inputs.shape == (N, 2), "it is said where a pattern would name it"
    assert load(tmp_path, features=["*", index]).inputs.shape == (N, 3)


def test_bad_features_are_refused_together(tmp_path: Path) -> None:
    rows = "".join(
        f"2024-01-{1 + row % 28:02},north,basic,{row % 7},{'' if row % 9 == 4 else row},{Y[row]},{Z[row]}\n"
        for row in range(N)
    )
    (tmp_path / "mine.csv").write_text("signup_date,region,plan,age,income,y_1,y_2\n" + rows)
    message = (
        r"features without a number: 'signup_date' holds dates; 'region' and 'plan' hold text; 'income' is missing "
        r"\(null or NaN\) in 4 of 40 rows, the first is row 4 of \S*mine.csv \(expected numbers: `stg-ray guide "
    )
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_images_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (N, 3, 4, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    for row, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{row}.png")
    rows = "".join(f"images/{row}.png,{Y[row]},{Z[row]}\n" for row in range(N))
    (tmp_path / "mine.csv").write_text("path,y_1,y_2\n" + rows)
    task_set = load(tmp_path, features=[], image="path")
    assert np.array_equal(task_set.inputs, pixels.transpose(0, 3, 1, 2))
    (tmp_path / "tables").mkdir()
    (tmp_path / "mine.csv").rename(tmp_path / "tables" / "mine.csv")
    message = rf"'path' holds paths .* in row 0, 'images/0.png', is no file in {tmp_path / 'tables'} nor in .*: write"
    with pytest.raises(InputError, match=message):
        load(tmp_path, files="tables/mine.csv", features=[], image="path")
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, files="tables/mine.csv", features=[], image="path").digest == task_set.digest


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"0.5,1,0\n1.5,0,1\n", {}, "mine.csv has no header: its first row is '0.5,1,0'; add a row of column names"),
        (text(header="ä,b,y_1,y_2").encode("latin-1"), {}, "is not utf-8; set data.csv.encoding, for example latin-1"),
        (text().encode("utf-16"), {}, "holds UTF-16: set data.csv.encoding to utf-16"),
        (text().encode(), {"encoding": "utf-99"}, "unknown encoding 'utf-99'"),
        (text().encode() + b"1,2\n", {}, "cannot be read as CSV with the delimiter ',' .*Expected 4 columns, got 2"),
        (text(";", ",").encode(), {}, "'a' holds numbers such as 0,0: set data.csv.decimal to ','"),
        (text(";", ",").replace("0,5;", "NA;").encode(), {}, "'a' holds numbers such as 0,0: set data.csv.decimal to"),
        (text().encode(), {"delimiter": ";"}, "no column matches|delimiter"),
        (text(header="a,a,y_1,y_2").encode(), {}, "2 columns named 'a'"),
        (b"a,b,y_1,y_2\n", {}, "mine.csv has no row: its only line is 'a,b,y_1,y_2'"),
        (b"a,b,y_1,y_2", {}, "mine.csv has no row"),
        (text().encode("utf-16-le"), {}, "no CSV file: it holds null characters, so it is no text, or .* utf-16-le"),
        (b"\xfe\0\x01\n\0", {}, "no CSV file: it holds null characters"),
        (b"# by me\n" + text().encode(), {}, "and the header '# by me': .*Expected 1 columns, got 4"),
        (
            b'a,y_1,y_2\n"1,100",1,0\n"2,200",0,1\n',
            {},
            "such as 1,100: .*if the comma is the decimal point, else",
        ),
        (text(header="a,b,c,d").encode(), {}, "no column matches 'y_\\*'; there are 'a', 'b', 'c', 'd'"),
        (text(header="a,b,y_1,").encode(), {"labels": ["y_1"], "features": ["", "a"]}, "there is 1 task"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, options: dict[str, Any], message: str) -> None:
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.csv", gzip.compress(text().encode()), "it is compressed with gzip: name it mine.csv.gz"),
        ("mine.csv.bz2", gzip.compress(text().encode()), "it is compressed with gzip: name it mine.csv.gz"),
        ("mine.csv.gz", text().encode(), "it is not compressed, though its name ends in .gz: name it mine.csv"),
        ("mine.csv.xz", lzma.compress(text().encode()), "with xz: unpack it first, or compress it as .gz, .bz2, .zst"),
    ],
)
def test_names_tell_what_is_compressed(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(tmp_path, files=name)
