import base64
import json
import re
from html.parser import HTMLParser

import pytest

from al_lightning.analysis.pages import columns, markup
from al_lightning.analysis.pages.columns import Column
from al_lightning.percent import points, unsigned

VOID = {"meta", "img", "br", "source"}


class Reader(HTMLParser):
    """Checks that tags match, and collects what a page refers to and says."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.ids, self.headings, self.images, self.text = [], [], [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        known = dict(attrs)
        self.references += [known[name] for name in ("src", "href", "srcset", "data", "action") if name in known]
        self.ids += [known["id"]] if "id" in known else []
        if tag == "img":
            self.images.append(known)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        assert tag in VOID, tag

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data)


def test_a_page_links_its_sections_and_escapes_every_text():
    nasty = '<script>alert("&")</script>'
    row = {"a": nasty, "b": 1.0}
    body = [
        markup.paragraph(nasty),
        markup.bullets([nasty], warn=True),
        markup.heading(nasty),
        markup.figure(b"<svg/>", b"<svg />", nasty, nasty),
        markup.chart({"name": nasty}, nasty),
        markup.table([row], [columns.text(nasty, "a"), columns.number("b", "b", columns.decimal)]),
        markup.folded(nasty, markup.paragraph("inside")),
    ]
    text = markup.page(nasty, [markup.paragraph("first")], [markup.Section(nasty, body), markup.Section("other", [])])
    read = Reader(text)
    assert "<script>alert" not in text and text.count("<script") == 2  # the chart's data, and what draws them
    assert json.loads(re.search("<script type=.application/json.>(.*?)</script>", text)[1]) == {"name": nasty}
    assert "<script" not in markup.page(nasty, body[:1], [])
    assert read.headings == [nasty, nasty, nasty, "other"]
    assert read.ids == ["part-0", "part-1"] and {"#part-0", "#part-1"} <= set(read.references)
    assert read.images[0]["alt"] == nasty
    assert base64.b64decode(read.images[0]["src"].partition("base64,")[2]) == b"<svg/>"


@pytest.mark.parametrize("thousandths", range(495, 505))
def test_p_near_the_level_is_on_the_side_where_it_is_read(thousandths):
    for p in (thousandths / 10000, thousandths / 10000 + 4e-5):
        assert columns.probability(p) == (f"{thousandths / 10000:.4f}" if p != 0.05 else "0.050")


def test_p_just_below_the_level_is_not_shown_as_the_level():
    assert columns.probability(0.04999999997) == "0.0499"


def test_tables_drop_empty_columns_and_mark_what_differs():
    rows = [{"a": "x", "b": None, "c": "p"}, {"a": "y", "b": None, "c": "p"}, {"a": "x", "b": None, "c": ""}]
    text = markup.table(
        rows, [columns.text("A", "a", differs=True), columns.number("B", "b", columns.count), columns.text("C", "c", differs=True)]
    )
    assert "<th>A</th><th>C</th>" in text and ">B<" not in text
    assert text.count('class="differs"') == 1 and '<td class="differs">y</td>' in text
    assert markup.bullets([]) == ""


@pytest.mark.parametrize(
    ("column", "row", "expected"),
    [
        (columns.with_interval("", "x", unsigned), {"x": 0.5, "x_low": 0.25, "x_high": 0.755}, "50.00  [25.00, 75.50]"),
        (columns.with_interval("", "x", unsigned), {"x": 0.5, "x_low": float("nan"), "x_high": float("nan")}, "50.00"),
        (columns.with_interval("", "x", points, "l", "h"), {"x": -1e-6, "l": -0.01, "h": 0.01}, "+0.00  [-1.00, +1.00]"),
        (columns.number("", "x", columns.labels), {"x": float("inf")}, "never"),
        (columns.number("", "x", columns.labels), {"x": float("nan")}, columns.MISSING),
        (columns.number("", "x", columns.labels), {"x": 12345.6}, "12,346"),
        (columns.number("", "x", columns.probability), {"x": 0.0002}, "< 0.001"),
        (columns.number("", "x", columns.probability), {"x": 0.0512}, "0.051"),
        (columns.number("", "x", columns.mebibytes), {"x": 3 * 2**20}, "3"),
        (columns.number("", "x", columns.whole_percent), {"x": -0.004}, "0 %"),
        (columns.text("", "x"), {}, ""),
    ],
)
def test_cells(column: Column, row, expected):
    assert column.text(row) == expected
