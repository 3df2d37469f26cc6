"""Makes HTML from the templates beside this module. A page needs no other files. Only the templates escape texts."""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from al_lightning.analysis.pages.columns import MISSING, Column
from al_lightning.text import printable

Html = Markup
"""Text that is HTML already, and is not escaped again."""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: its heading, also in the table of contents.
        body: its parts, one after the other.
    """

    title: str
    body: Sequence[Html]


def _readable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates"), encoding="utf-8"),
    autoescape=True,
    finalize=_readable,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_PARTS: Any = _TEMPLATES.get_template("parts.html").module


def page(title: str, introduction: Sequence[Html], sections: Sequence[Section]) -> str:
    """The whole document. It includes a script if it has charts.

    Args:
        title: title of the page.
        introduction: the parts before the table of contents.
        sections: the sections after it.
    """
    script = any('<figure class="chart"' in part for section in sections for part in section.body)
    return _TEMPLATES.get_template("page.html").render(title=title, introduction=introduction, sections=sections, script=script) + "\n"


def paragraph(text: str, small: bool = False) -> Html:
    """A paragraph."""
    return Html(_PARTS.paragraph(text, small))


def heading(text: str) -> Html:
    """A heading inside a section."""
    return Html(_PARTS.heading(text))


def bullets(texts: Iterable[str], warn: bool = False) -> Html:
    """A list of sentences; empty text if there are no sentences."""
    items = [*texts]
    return Html(_PARTS.bullets(items, warn) if items else "")


def figure(wide: bytes, narrow: bytes, alternative: str, caption: str) -> Html:
    """A picture that is embedded in the page as two SVGs, for wide and for narrow windows.

    As the SVGs are data URIs, their ids can't clash with those of other pictures.
    """
    return Html(_PARTS.figure(*(_source(svg, "svg+xml") for svg in (wide, narrow)), alternative, caption))


def chart(data: Mapping[str, Any], caption: str) -> Html:
    """A chart that the page's script draws, see ``templates/chart.js``. It is hidden if scripts are disabled."""
    return Html(_PARTS.chart(data, caption))


def image(content: bytes, kind: str, alternative: str) -> Html:
    """A picture that is embedded in the page.

    Args:
        content: the content of its file.
        kind: the format, as in ``image/<kind>``.
        alternative: a description of the picture in words.
    """
    return Html(_PARTS.image(_source(content, kind), alternative))


def words(text: str) -> Html:
    """A text within a line or a cell."""
    return Html(_PARTS.words(text))


def legend(colors: Mapping[str, Sequence[int]]) -> Html:
    """A legend of colours, which are given as RGB by their names; empty text if there are none."""
    return Html(_PARTS.legend(colors.items()) if colors else "")


def sheet(headings: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    """A table of pictures and texts."""
    return Html(_PARTS.sheet(headings, rows))


def folded(summary: str, body: Html) -> Html:
    """A part that is hidden until a reader clicks on its summary."""
    return Html(_PARTS.folded(summary, body))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Html:
    """A table of these columns. Columns that are empty in all rows are left out."""
    shown = [(column, cells) for column in columns if not set(cells := [column.text(row) for row in rows]) <= {"", MISSING}]
    head = [("number" if column.number else "", column.heading) for column, _ in shown]
    return Html(_PARTS.table(head, [*zip(*(_cells(*each) for each in shown), strict=True)]))


def _cells(column: Column, texts: Sequence[str]) -> list[tuple[str, str]]:
    """The CSS class and the text of each cell of a column."""
    usual = Counter(texts).most_common(1)[0][0]
    plain = "number" if column.number else ""
    return [("differs" if column.differs and text not in (usual, "") else plain, text) for text in texts]


def _source(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
