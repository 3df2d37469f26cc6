"""The contact sheet: a page that shows which images to label next, and why."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from al_lightning.analysis.pages.markup import Html, Section, bullets, image, legend, page, paragraph, sheet, words

_EDGE = 320  # the longest edge of a thumbnail in pixels
_HEAT: npt.NDArray[np.uint8] = matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3]


class Proposal(NamedTuple):
    """An image that is proposed for labeling.

    Attributes:
        path: path of its file.
        picture: uint8 ``(H, W, 3)``.
        prediction: ``(H, W)`` predicted classes of its pixels, or the predicted class of the image in words.
        scores: ``(H, W)`` scores of its pixels; None if pixels have no scores.
        score: score of the image.
    """

    path: str
    picture: npt.NDArray[np.uint8]
    prediction: npt.NDArray[Any] | str
    scores: npt.NDArray[Any] | None
    score: float


def contact_sheet(
    title: str,
    notes: Sequence[str],
    proposals: Sequence[Proposal],
    classes: Sequence[str],
    palette: npt.NDArray[np.uint8],
    left_out: Sequence[str],
) -> str:
    """Makes the page as HTML that needs no other files.

    Args:
        title: title of the page.
        notes: sentences before the images.
        proposals: the images, the first to label first; reduced by :func:`thumbnail`.
        classes: names of the C classes.
        palette: uint8 ``(C, 3)`` colours of the classes.
        left_out: for each image that could not be scored, a sentence that says why.
    """
    maps = [proposal.scores for proposal in proposals if proposal.scores is not None]
    low, high = (min(map(np.min, maps)), max(map(np.max, maps))) if maps else (0.0, 1.0)
    scale = [paragraph(f"Scores of pixels: from {low:.3g} (black) to {high:.3g} (yellow), on one scale.", small=True)] if maps else []
    rows = [_row(rank, proposal, palette, (low, high)) for rank, proposal in enumerate(proposals)]
    body = [
        *scale,
        legend(_present(proposals, classes, palette)),
        sheet(["rank", "image", "prediction", "score map", "score", "path"], rows),
    ]
    sections = [Section("Images to label", body), *([Section("Left out", [bullets(left_out, warn=True)])] if left_out else [])]
    return page(title, [paragraph(note) for note in notes], sections)


def thumbnail(proposal: Proposal) -> Proposal:
    """Reduces an image by a whole factor, so that its longest edge is at most 320 pixels; prediction and scores get its size."""
    every = max(1, -(-max(proposal.picture.shape[:2]) // _EDGE))
    picture = np.array(Image.fromarray(proposal.picture).reduce(every))

    def sized(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The nearest pixel for each of the small picture's, in either direction."""
        rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(picture.shape[:2], pixels.shape, strict=True))
        return pixels[np.ix_(rows, columns)]

    return proposal._replace(
        picture=picture,
        prediction=proposal.prediction if isinstance(proposal.prediction, str) else sized(proposal.prediction),
        scores=None if proposal.scores is None else sized(proposal.scores),
    )


def _present(proposals: Sequence[Proposal], classes: Sequence[str], palette: npt.NDArray[np.uint8]) -> dict[str, list[int]]:
    """The colours of the classes that are predicted in any image."""
    found = {int(number) for proposal in proposals if not isinstance(proposal.prediction, str) for number in np.unique(proposal.prediction)}
    return {classes[number]: palette[number].tolist() for number in sorted(found)}


def _row(rank: int, proposal: Proposal, palette: npt.NDArray[np.uint8], ends: tuple[float, float]) -> list[Html]:
    path, scores = proposal.path, proposal.scores
    return [
        words(str(rank)),
        _encoded(Image.fromarray(proposal.picture), "jpeg", path),
        words(proposal.prediction)
        if isinstance(proposal.prediction, str)
        else _encoded(_indexed(proposal.prediction, palette), "png", f"prediction, {path}"),
        words("no pixel scores") if scores is None else _encoded(_indexed(_levels(scores, *ends), _HEAT), "png", f"scores, {path}"),
        words(f"{proposal.score:.6g}"),
        words(path),
    ]


def _levels(scores: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[Any]:
    """Maps scores from ``low`` to ``high`` to indices of 256 colours."""
    return np.rint(255 * (scores - low) / (high - low)) if high > low else np.zeros_like(scores)


def _indexed(places: npt.NDArray[Any], colors: npt.NDArray[np.uint8]) -> Image.Image:
    """Makes an image whose pixels ``(H, W)`` are indices into a palette ``(C, 3)`` of up to 256 colours."""
    found = Image.fromarray(np.ascontiguousarray(places, np.uint8))
    found.putpalette(colors.tobytes())
    return found


def _encoded(picture: Image.Image, kind: str, alternative: str) -> Html:
    file = io.BytesIO()
    picture.save(file, kind, quality=85, optimize=True)
    return image(file.getvalue(), kind, alternative)
