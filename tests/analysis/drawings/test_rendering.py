import io
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from matplotlib.text import Text

from al_lightning.analysis.drawings.rendering import legend_name, rendered
from al_lightning.analysis.drawings.uncertainty import draw_bounds


def figure():
    drawn = Figure(figsize=(3, 2))
    drawn.add_subplot().plot([1, 2, 4], [0.5, 0.1, 0.3])
    return drawn


def test_files_of_a_figure_are_whole_and_the_same_each_time():
    assert ET.fromstring(rendered(figure(), "svg")).tag.endswith("svg")
    for kind in ("svg", "pdf", "png"):
        content = rendered(figure(), kind, about="Näheres: 5 %")
        assert content == rendered(figure(), kind, about="Näheres: 5 %") != rendered(figure(), kind)
    pixels = image.imread(io.BytesIO(rendered(figure(), "png", dpi=50)))
    assert pixels.shape[:2] == (100, 150) and pixels[..., :3].std() > 0.01


NAMES = [
    "$a$_b$",
    r"\$a\$",
    "$\\frac{",
    "_hidden",
    "a\x01\x1b[31m",
    "d\udcff",
    "\ud800",
    "<script>&amp;</script>",
    "x" * 4000,
    "中文",
    "a\tb",
]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_names_are_shown_as_they_are_wherever_they_stand(kind):
    drawn = Figure(figsize=(6, 4), layout="constrained")
    axes = drawn.add_subplot()
    for place, name in enumerate(NAMES):
        axes.plot([1, 2], [3, 4], label=legend_name(name))
        axes.text(1, place, name)
    axes.set(title=NAMES[0], xlabel=NAMES[1], ylabel=NAMES[2])
    axes.set_xticks(range(len(NAMES)), [legend_name(name) for name in NAMES])
    drawn.suptitle(NAMES[4])
    drawn.legend(loc="outside right upper")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph|constrained_layout not applied")
        content = rendered(drawn, kind)
    assert not any(text.get_parse_math() for text in drawn.findobj(Text) if text.get_text())
    shown = [text.get_text().strip() for text in drawn.legends[0].get_texts()]
    assert len(shown) == len(NAMES) and shown[:7] == [NAMES[0], NAMES[1], NAMES[2], "_hidden", r"a\x01\x1b[31m", r"d\xff", r"\ud800"]
    if kind == "svg":
        ET.fromstring(content)
        assert "<!-- $a$_b$ -->" in content.decode()


def test_numbers_on_a_logarithmic_scale_are_no_formulas(tmp_path):
    entropies = np.linspace(0.1, 1, 3000) ** 3
    draw_bounds(entropies, entropies / 2, 3, "$x$", tmp_path / "bounds.svg")
    text = (tmp_path / "bounds.svg").read_text(encoding="utf-8")
    assert "<!-- $x$ -->" in text and "mathdefault" not in text and "<!-- 10 -->" in text
