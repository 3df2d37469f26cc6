"""HTML: one page that needs nothing but itself. Every text is escaped here and nowhere else."""

import base64
import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NewType

from al_lightning.analysis.pages.columns import MISSING, Column
from al_lightning.text import printable

Html = NewType("Html", str)
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


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d5d9de; --soft: #f4f6f8; --mark: #fff0c2; --link: #0b57a4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --paper: #15181c; --line: #3a4048; --soft: #1f242a; --mark: #574410; --link: #8ab8f0 }
}
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem } h2 { margin-top: 2.6rem; border-bottom: 1px solid var(--line); font-size: 1.35rem }
h3 { margin-top: 1.8rem; font-size: 1.1rem } a { color: var(--link) } nav ul { columns: 2; padding-left: 1.2rem }
figure { margin: 1rem 0 } figure img { max-width: 100%; background: #ffffff; border: 1px solid var(--line); border-radius: 4px }
figcaption, .small { font-size: 0.9rem; opacity: 0.85; max-width: 60rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 0.9rem; margin: 0.6rem 0 }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.7rem; text-align: left; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
thead th { background: var(--soft) } td.differs { background: var(--mark) }
ul.warnings { border-left: 4px solid #d9a400; background: var(--soft); padding: 0.7rem 1rem 0.7rem 2.2rem }
table.sheet img { display: block; min-width: 8rem; max-width: 20rem; image-rendering: pixelated }
table.sheet td { overflow-wrap: anywhere } span.color { display: inline-block; width: 1em; height: 1em; margin: 0 0.4em 0 1em }
summary { cursor: pointer; color: var(--link) } code { overflow-wrap: anywhere }
"""


def page(title: str, introduction: Sequence[Html], sections: Sequence[Section]) -> str:
    """The whole document.

    Args:
        title: of the page.
        introduction: what stands before the list of contents.
        sections: the rest.
    """
    contents = "".join(f'<li><a href="#part-{number}">{_escaped(section.title)}</a></li>' for number, section in enumerate(sections))
    body = "\n".join(
        f'<section id="part-{number}"><h2>{_escaped(section.title)}</h2>\n{chr(10).join(section.body)}\n</section>'
        for number, section in enumerate(sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{_escaped(title)}</title><style>{_STYLE}</style></head>\n<body>\n<h1>{_escaped(title)}</h1>\n"
        + "\n".join(introduction)
        + f"\n<nav><ul>{contents}</ul></nav>\n{body}\n</body>\n</html>\n"
    )


def paragraph(text: str, small: bool = False) -> Html:
    """A paragraph."""
    return Html(f"<p{_class('small' if small else '')}>{_escaped(text)}</p>")


def heading(text: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{_escaped(text)}</h3>")


def bullets(texts: Iterable[str], warn: bool = False) -> Html:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{_escaped(text)}</li>" for text in texts)
    return Html(f"<ul{_class('warnings' if warn else '')}>{items}</ul>" if items else "")


def figure(svg: bytes, alternative: str, caption: str) -> Html:
    """A picture inside the page. As the source of an image its ids can't meet those of another one."""
    return Html(f"<figure>{image(svg, 'svg+xml', alternative)}<figcaption>{_escaped(caption)}</figcaption></figure>")


def image(content: bytes, kind: str, alternative: str) -> Html:
    """A picture, inside the page.

    Args:
        content: of its file.
        kind: the format, as in ``image/<kind>``.
        alternative: what is shown, in words.
    """
    return Html(f'<img alt="{_escaped(alternative)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}"/>')


def words(text: str) -> Html:
    """A text in a line or a cell."""
    return Html(_escaped(text))


def legend(colors: Mapping[str, Sequence[int]]) -> Html:
    """What colours mean, as RGB by name."""
    entries = (f'<span class="color" style="background:rgb({r},{g},{b})"></span>{_escaped(name)}' for name, (r, g, b) in colors.items())
    return Html(f"<p>{' '.join(entries)}</p>" if colors else "")


def sheet(headings: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    """A table of pictures and words."""
    head = "".join(f"<th>{_escaped(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return Html(f'<div class="scroll"><table class="sheet"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def folded(summary: str, body: Html) -> Html:
    """What is shown when asked for."""
    return Html(f"<details><summary>{_escaped(summary)}</summary>{body}</details>")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Html:
    """A table; columns that are empty in all rows are left out."""
    cells = {column.heading: [column.text(row) for row in rows] for column in columns}
    shown = [column for column in columns if not set(cells[column.heading]) <= {"", MISSING}]

    usual = {heading: Counter(texts).most_common(1)[0][0] for heading, texts in cells.items() if texts}

    def cell(column: Column, text: str) -> str:
        kind = "differs" if column.differs and text not in (usual[column.heading], "") else "number" if column.number else ""
        return f"<td{_class(kind)}>{_escaped(text)}</td>"

    head = "".join(f"<th{_class('number' if column.number else '')}>{_escaped(column.heading)}</th>" for column in shown)
    body = "".join(f"<tr>{''.join(cell(column, cells[column.heading][place]) for column in shown)}</tr>" for place in range(len(rows)))
    return Html(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _escaped(text: str) -> str:
    return html.escape(printable(text))
