import itertools

import numpy as np
import pytest
from matplotlib import image

from al_lightning.analysis.drawings.plots import bin_edges, draw_learning_curve, title_of
from al_lightning.runs import RunDirectory
from tests.analysis.recorded import record, strategy
from tests.test_runs import cycle_row


def test_a_curve_is_drawn_for_each_metric(tmp_path):
    run = RunDirectory(tmp_path)
    for cycle, labeled in enumerate((10, 30, 60)):
        run.append_cycle({**cycle_row(cycle, labeled), "val/loss": 1.0 / (cycle + 1)})
    picture = image.imread(draw_learning_curve(run))
    assert picture.shape[1] > picture.shape[0] > 300
    assert picture[..., :3].std() > 0.01


def test_a_run_without_metrics_still_gets_its_picture(tmp_path):
    run = RunDirectory(tmp_path)
    row = cycle_row(0, 10)
    del row["val/accuracy"]
    run.append_cycle(row)
    assert draw_learning_curve(run).is_file()


@pytest.mark.parametrize("scores", [[0.0, 5e-324], [3.0, 3 + 1e-15], [0.0, 0.0], [-2.0, 7.0]])
def test_a_histogram_of_scores_that_are_nearly_the_same(scores):
    edges = bin_edges(np.array(scores), 40)
    assert len(edges) == 41 and all(low < high for low, high in itertools.pairwise(edges))
    assert edges[0] <= scores[0] <= scores[1] <= edges[-1]


@pytest.mark.parametrize(("name", "title"), [("a", "a: Odin(temperature=10)"), ("x-Odin(temperature=10)-s0", "x-Odin(temperature=10)-s0")])
def test_a_run_is_named_with_its_strategy_once(tmp_path, name, title):
    assert title_of(record(tmp_path / name, [0.5], strategy("Odin", temperature=10))) == title
