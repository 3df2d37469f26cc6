"""HTML by the templates beside this module: one page that needs nothing but itself. Every text is escaped by them and nowhere else."""

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
"""Text that is markup already."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: in the page and in its list of contents.
        body: its parts.
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
    """The whole document, with a script if there are charts in it.

    Args:
        title: of the page.
        introduction: what stands before the list of contents.
        sections: the rest.
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
    """A list of sentences; nothing where there are none."""
    items = [*texts]
    return Html(_PARTS.bullets(items, warn) if items else "")


def figure(wide: bytes, narrow: bytes, alternative: str, caption: str) -> Html:
    """A picture inside the page, as SVG for a wide and for a narrow window; its ids can't meet those of another one."""
    return Html(_PARTS.figure(*(_source(svg, "svg+xml") for svg in (wide, narrow)), alternative, caption))


def chart(data: Mapping[str, Any], caption: str) -> Html:
    """A chart that the page's script draws, see ``templates/chart.js``; without scripts it is not there."""
    return Html(_PARTS.chart(data, caption))


def image(content: bytes, kind: str, alternative: str) -> Html:
    """A picture, inside the page.

    Args:
        content: of its file.
        kind: the format, as in ``image/<kind>``.
        alternative: what is shown, in words.
    """
    return Html(_PARTS.image(_source(content, kind), alternative))


def words(text: str) -> Html:
    """A text in a line or a cell."""
    return Html(_PARTS.words(text))


def legend(colors: Mapping[str, Sequence[int]]) -> Html:
    """What colours mean, as RGB by name."""
    return Html(_PARTS.legend(colors.items()) if colors else "")


def sheet(headings: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    """A table of pictures and words."""
    return Html(_PARTS.sheet(headings, rows))


def folded(summary: str, body: Html) -> Html:
    """What is shown when asked for."""
    return Html(_PARTS.folded(summary, body))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Html:
    """A table; columns that are empty in all rows are left out."""
    shown = [(column, cells) for column in columns if not set(cells := [column.text(row) for row in rows]) <= {"", MISSING}]
    head = [("number" if column.number else "", column.heading) for column, _ in shown]
    return Html(_PARTS.table(head, [*zip(*(_cells(*each) for each in shown), strict=True)]))


def _cells(column: Column, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Class and text of each cell of a column."""
    usual = Counter(texts).most_common(1)[0][0]
    plain = "number" if column.number else ""
    return [("differs" if column.differs and text not in (usual, "") else plain, text) for text in texts]


def _source(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
