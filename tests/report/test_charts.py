"""Charts show the values they are given: images are decoded, ranks and means are compared with plain loops."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from PIL import Image
from scipy import stats

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.report.charts import raster
from stg_ray.report.charts.graph import group_map, mean_ranks, nearest_pairs, places
from stg_ray.report.charts.lines import HEIGHT, WIDTH, Line, line_chart
from stg_ray.report.charts.palette import group_colors, rgb
from stg_ray.report.charts.svg import NAME_HEIGHT, NAME_WIDTH, free_place, short, tag, ticks
from stg_ray.report.comparison import Trainings
from stg_ray.report.task_table import gain_of
from stg_ray.shown import shown_name


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def matrix(values: np.ndarray, kind: str = "affinity") -> TaskMatrix:
    return TaskMatrix(tuple(f"t{t}" for t in range(len(values))), values, kind)


def brightness(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., :3] @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize(("kind", "sign"), [("affinity", 1), ("distance", -1)])
def test_a_matrix_is_bright_where_tasks_are_alike(kind: str, sign: int) -> None:
    values = np.random.default_rng(0).normal(size=(30, 30))
    values[3, 7] = np.nan
    order = np.random.default_rng(1).permutation(30)
    uri, low, high = raster.matrix_image(matrix(values, kind), order)
    pixels = decoded(uri)
    ordered = values[np.ix_(order, order)]
    empty = np.isnan(ordered) | np.eye(30, dtype=bool)
    np.testing.assert_array_equal(pixels[..., 3] == 0, empty)
    rank = stats.spearmanr(brightness(pixels)[~empty], sign * ordered[~empty]).statistic
    assert rank > 0.99
    assert (low < high) == (kind == "affinity")
    expected = np.percentile(values[~np.eye(30, dtype=bool) & ~np.isnan(values)], [1, 99])
    assert sorted((low, high)) == pytest.approx(expected.tolist())


def test_a_large_matrix_is_drawn_by_the_means_of_blocks() -> None:
    values = np.random.default_rng(0).normal(size=(17, 17))
    values[2, 3] = np.nan
    means = raster._block_means(values, 4)
    for i in range(5):
        for j in range(5):
            block = values[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            assert means[i, j] == pytest.approx(np.nanmean(block))
    many = matrix(np.random.default_rng(1).normal(size=(900, 900)))
    side = decoded(raster.matrix_image(many, np.arange(900), n_matrices=10)[0]).shape[0]
    assert side == 450
    assert 10 * side**2 <= raster.PIXELS


def test_memberships_have_the_colours_of_their_groups() -> None:
    membership = np.array([[1.0, 0.0, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]])
    order = np.array([2, 0, 1, 3])
    pixels = decoded(raster.membership_image(membership, order))
    assert pixels.shape == (3, 4, 4), "a row for each group"
    np.testing.assert_array_equal(pixels[..., 3], (255 * membership[order].T).round())
    for g, color in enumerate(group_colors(3)):
        assert (pixels[g][pixels[g, :, 3] > 0, :3] == rgb(color)).all()


@pytest.mark.parametrize("k", [1, 5, 40])
def test_data_maps_lie_where_the_page_looks_for_them(k: int) -> None:
    counts = np.zeros((k, 32, 32))
    confidence, variability = np.random.default_rng(0).integers(0, 32, size=(2, k))
    counts[np.arange(k), confidence, variability] = 7
    columns, rows = raster.tiles(k)
    ink = decoded(raster.maps_image(counts))[..., 3]
    assert ink.shape == (32 * rows, 32 * columns)
    assert (ink > 0).sum() == k
    for t in range(k):
        y, x = 32 * (t // columns) + 31 - confidence[t], 32 * (t % columns) + variability[t]
        assert ink[y, x] == 255


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_the_image(dtype: type, channels: int) -> None:
    image: np.ndarray = np.random.default_rng(0).integers(0, 256, size=(channels, 9, 5)).astype(dtype)
    image[0, 0, 0], image[0, 0, 1] = 0, 255
    pixels = decoded(raster.thumbnail(image))
    assert pixels.shape[:2] == (9, 5)
    for c in range(3):
        np.testing.assert_allclose(pixels[..., c], image[c % channels], atol=1)
    assert max(decoded(raster.thumbnail(np.zeros((3, 500, 300), np.uint8))).shape) == raster.THUMBNAIL


def test_ranks_are_means_over_matrices_of_any_unit() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 6, 6))
    one, two = one + one.T, two + two.T
    one[0, 1] = one[1, 0] = np.nan
    ranks = mean_ranks([matrix(one), matrix(1e6 * two, "distance")], [1.0, 3.0])
    pairs = [(a, b) for a in range(6) for b in range(a + 1, 6)]
    for a, b in pairs:
        parts = []
        for values, weight in ((one, 1.0), (-two, 3.0)):
            known = [values[c, d] for c, d in pairs if np.isfinite(values[c, d])]
            if np.isfinite(values[a, b]):
                parts.append((weight, sum(v <= values[a, b] for v in known) / len(known)))
        expected = sum(w * r for w, r in parts) / sum(w for w, _ in parts)
        assert ranks[a, b] == ranks[b, a] == pytest.approx(expected)
    assert np.isnan(np.diag(ranks)).all()


def test_planted_groups_are_joined_and_drawn_together() -> None:
    labels = np.repeat([0, 1, 2], 6)
    values = 1.0 * (labels[:, None] == labels) + 0.1 * np.random.default_rng(0).normal(size=(18, 18))
    ranks = mean_ranks([matrix(values + values.T)])
    pairs = nearest_pairs(ranks)
    assert all(labels[a] == labels[b] for a, b in pairs)
    assert {t for pair in pairs for t in pair} == set(range(18))
    at = places(ranks, labels)
    assert (at >= 0).all()
    assert (at <= 1).all()
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    same = labels[:, None] == labels
    assert apart[same].max() < apart[~same].min()
    np.testing.assert_array_equal(at, places(ranks, labels), "the same again: nothing is drawn by chance")


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_and_inside(low: float, width: float, n: int) -> None:
    found = ticks(low, low + width, n)
    assert len(found) <= n + 1
    slack = 1e-6 * max(abs(low), width)
    assert all(low - slack <= value <= low + width + slack for value in found)
    assert all(a < b for a, b in pairwise(found))


@given(st.text(max_size=60))
def test_names_cannot_leave_their_place(name: str) -> None:
    drawn = tag("text", name, data_tip=name)
    assert isinstance(drawn, Markup)
    assert drawn.count("<") == 2, "the element's own"
    assert drawn.count('"') == 2
    assert not any(ord(character) < 0x20 or 0x202A <= ord(character) <= 0x202E for character in shown_name(name))
    assert len(short(name)) <= 26


def test_no_epoch_is_numbered_behind_the_last_one() -> None:
    """There, names have their room."""
    for last, length in ((20, 3), (80, 30), (1, 12)):
        line = Line([(1, 0.0), (last, 0.9)], name="n" * length)
        root = ElementTree.fromstring(line_chart("one", [line], x_title="epoch", y_title="score") or "")
        texts = [e for e in root.iter("text") if e.get("class") == "tick" and e.get("y") == str(HEIGHT - 42 + 17)]
        epochs = [float(e.text or "") for e in texts]
        assert epochs
        assert max(epochs) <= last


def test_curves_go_through_their_points() -> None:
    chart = line_chart("rising", [Line([(1, 0.0), (2, 0.5), (3, 1.0)])], x_title="epoch", y_title="score")
    assert chart is not None
    path = chart.partition(' d="M')[2].partition('"')[0]
    places = np.array([[float(v) for v in point.split()] for point in path.split("L")])
    steps = np.diff(places, axis=0)
    np.testing.assert_allclose(steps[0], steps[1], atol=0.11)
    assert steps[0, 0] > 0
    assert steps[0, 1] < 0, "up"
    assert line_chart("nothing", [Line([])], x_title="", y_title="") is None


def test_names_of_groups_end_before_their_map_begins() -> None:
    names = ["a", "TAG_mckay/sheppard", "x" * 200]
    groups = Groups.from_labels([f"t{t}" for t in range(6)], np.arange(6) % 3, "by hand")
    root = ElementTree.fromstring(group_map(groups, np.random.default_rng(0).random((6, 6)), names))
    texts = [e for e in root.iter("text") if e.get("class") == "name"]
    assert [(e.text or "")[:1] for e in texts] == ["a", "T", "x"]
    assert all(float(e.get("x", 0)) >= NAME_WIDTH * len(e.text or "") for e in texts)


@pytest.mark.parametrize("dark", [False, True])
def test_group_colours_are_told_from_the_page_and_from_their_neighbours(dark: bool) -> None:
    colors = group_colors(60, dark=dark)
    assert colors[:5] == group_colors(5, dark=dark), "whatever the number of groups"
    assert len(set(colors)) == 60
    page = _luminance((18, 23, 21) if dark else (251, 252, 251))
    for color in colors:
        pair = sorted((page, _luminance(rgb(color))))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) > 2.4, color


def _luminance(color: tuple[int, int, int]) -> float:
    linear = [(v / 255 / 12.92) if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_tasks_gain_is_welchs_test_of_its_trainings() -> None:
    rng = np.random.default_rng(0)
    ours, other = rng.normal(size=(2, 3, 4))
    gain = gain_of(Trainings.of_one_network(ours), Trainings.of_one_network(other), 1)
    expected = stats.ttest_ind(ours[1], other[1], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert gain.p_value == pytest.approx(expected.pvalue)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))


def test_names_of_curves_stand_in_the_order_of_their_ends_and_inside() -> None:
    ends = {"best": 0.99, "second": 0.985, "third": 0.98, "worst": 0.1}
    lines = [Line([(1, 0.0), (20, end)], name=name) for name, end in reversed(ends.items())]
    chart = line_chart("four", [*lines, Line([(1, 0.0), (80, 0.98)], name="longer")], x_title="epoch", y_title="score")
    assert chart is not None
    root = ElementTree.fromstring(chart)
    names = {
        e.text: (float(e.get("x", 0)), float(e.get("y", 0))) for e in root.iter("text") if e.get("class") == "name"
    }
    places = [names[name][1] for name in ends]
    assert places == sorted(places)
    assert min(np.diff(places)) >= NAME_HEIGHT
    assert all(0 < x + NAME_WIDTH * len(name) <= WIDTH and 0 < y < HEIGHT for name, (x, y) in names.items())
    assert names["longer"][1] < names["third"][1], "it ends elsewhere, so it stands beside its own end"


@given(st.lists(st.floats(16, 194), max_size=9), st.floats(16, 194))
def test_a_free_place_is_free_and_near(taken: list[float], wanted: float) -> None:
    place = free_place(wanted, taken, 16, 194)
    assert 16 <= place <= 194
    if all(abs(wanted - other) >= NAME_HEIGHT for other in taken):
        assert place == wanted
    if len(taken) <= 4:  # there is room then
        assert all(abs(place - other) >= NAME_HEIGHT for other in taken)
