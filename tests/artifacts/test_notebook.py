"""Tables for notebooks: texts are escaped, short rows span the table, long lists of names are cut."""

from __future__ import annotations

from stg_ray.artifacts.notebook import html_table, listed


def test_every_text_is_escaped() -> None:
    page = html_table("<a>", ["<b>"], [["<c>"]])
    assert (
        page
        == "<table><caption>&lt;a&gt;</caption>\n<tr><th>&lt;b&gt;</th></tr>\n<tr><td>&lt;c&gt;</td></tr>\n</table>"
    )


def test_a_short_row_spans_the_table() -> None:
    assert '<td>a</td><td colspan="2">b</td>' in html_table("", ["x", "y", "z"], [["a", "b"]])


def test_of_many_names_the_first_are_listed() -> None:
    names = [f"t{t}" for t in range(14)]
    assert listed(names[:2]) == "t0, t1"
    assert listed(names[:12]).endswith("t10, t11")
    assert listed(names).endswith("t11, ... and 2 more")
