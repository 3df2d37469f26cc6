"""Figures of a report: files for use elsewhere, and pictures in the page, one for wide windows and one for phones."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from al_lightning.analysis.drawings.paper import PHONE, SCREEN, Paper
from al_lightning.analysis.drawings.rendering import rendered
from al_lightning.analysis.pages import markup
from al_lightning.analysis.pages.markup import Html
from al_lightning.files import write_atomically

Draw = Callable[[Paper], Figure]

_DPI = 130
_DPI_OF_PRINT = 300


class Gallery:
    """Writes figures as files, and returns them as HTML for the page. Attribute ``written`` lists the files.

    Args:
        folder: where the files are written.
        formats: the formats of the files.
        paper: width and font of the figures in the files.
    """

    def __init__(self, folder: Path, formats: Sequence[str] = ("png", "svg"), paper: Paper = SCREEN) -> None:
        self.folder = folder
        self.formats = formats
        self.paper = paper
        self.written: list[Path] = []

    def show(self, draw: Draw, name: str, caption: str, run: str) -> Html:
        """Draws a figure, writes its files, and returns it as HTML with a caption.

        Args:
            draw: draws the figure for a paper.
            name: name of the files, without suffix.
            caption: for the page, and for the metadata of the files.
            run: what was run, in one line.
        """
        told = f"{caption} Run: {run}."
        papers = {self.paper: {*self.formats}}
        for each in (SCREEN, PHONE):
            papers.setdefault(replace(each, font=self.paper.font), set()).add("svg")
        made = {paper: _drawn(draw, paper, kinds, told) for paper, kinds in papers.items()}
        for kind in self.formats:
            self.written.append(self.folder / f"{name}.{kind}")
            write_atomically(self.written[-1], made[self.paper][kind])
        wide, narrow = (made[replace(each, font=self.paper.font)]["svg"] for each in (SCREEN, PHONE))
        return markup.figure(wide, narrow, caption, told)


def _drawn(draw: Draw, paper: Paper, formats: Iterable[str], about: str) -> dict[str, bytes]:
    """Draws a figure once and renders it in each format."""
    with paper.style():
        figure = draw(paper)
        return {kind: rendered(figure, kind, _DPI if paper.width == SCREEN.width else _DPI_OF_PRINT, about) for kind in sorted(formats)}
