import io
import xml.etree.ElementTree as ET

from matplotlib import image
from matplotlib.figure import Figure

from al_lightning.analysis.rendering import rendered


def figure():
    drawn = Figure(figsize=(3, 2))
    drawn.add_subplot().plot([1, 2, 4], [0.5, 0.1, 0.3])
    return drawn


def test_files_of_a_figure_are_whole_and_the_same_each_time():
    assert ET.fromstring(rendered(figure(), "svg")).tag.endswith("svg")
    assert rendered(figure(), "svg") == rendered(figure(), "svg")
    pixels = image.imread(io.BytesIO(rendered(figure(), "png", dpi=50)))
    assert pixels.shape[:2] == (100, 150) and pixels[..., :3].std() > 0.01
