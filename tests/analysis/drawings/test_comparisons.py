import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from al_lightning.analysis.drawings import comparisons
from al_lightning.analysis.drawings.lines import Line, apart, drawn
from al_lightning.analysis.drawings.paper import PHONE, SCREEN, Paper
from al_lightning.analysis.drawings.rendering import rendered
from al_lightning.analysis.numbers import findings
from al_lightning.analysis.numbers.comparison import compare
from al_lightning.analysis.numbers.recorded import read_runs
from al_lightning.analysis.numbers.trends import across_panels
from al_lightning.analysis.pages.report import Report
from al_lightning.sources import Source, write_images
from tests.analysis.recorded import record, undrawn


@pytest.fixture
def panel(tmp_path):
    for seed in (0, 1, 2):
        for chosen, gain in (("Random", 0.0), ("Entropy", 0.03), ("Margin", 0.02)):
            values = [0.3, *(0.4 + gain * cycle + 0.01 * seed * cycle * (1 + gain) for cycle in range(4))]
            record(tmp_path / f"{chosen}{seed}", values, chosen, seed)
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy", full=0.8).panels
    return panel


@pytest.fixture
def look(panel):
    return comparisons.styles(["Entropy", "Margin"])


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_learning_curves_show_the_means_and_the_baseline_first(panel, look):
    figure = comparisons.learning_curves(panel, "val/accuracy", look, SCREEN)
    (axes,) = figure.axes
    drawn = lines(axes)
    assert list(drawn) == ["Random", "Entropy", "Margin"]
    assert (drawn["Random"].get_color(), drawn["Random"].get_linestyle()) == ("black", "--")
    assert list(drawn["Entropy"].get_xdata()) == [20, 30, 40, 50, 60]
    assert drawn["Entropy"].get_ydata() == pytest.approx([100 * point.mean for _, point in findings.curve(panel.series[1])])
    assert not figure.legends and {text.get_text() for text in axes.texts} == set(drawn)  # named where they end
    narrow = comparisons.learning_curves(panel, "val/accuracy", look, PHONE)
    assert [text.get_text() for text in narrow.legends[0].get_texts()] == list(drawn) and not narrow.axes[0].texts


def test_normalised_curves_begin_at_0_and_end_below_100(panel, look):
    (axes,) = comparisons.normalized_curves(panel, look, SCREEN).axes
    drawn = lines(axes)
    assert drawn["Entropy"].get_ydata()[0] == pytest.approx(0)
    assert drawn["Random"].get_ydata()[-1] == pytest.approx(100 * (0.43 - 0.3) / 0.5)
    assert axes.get_ylim()[1] > 100


def test_a_zoom_has_its_group_and_the_baseline_at_the_later_height(panel, look):
    (axes,) = comparisons.zoom(panel, panel.others[:1], "val/accuracy", look, SCREEN).axes
    assert list(lines(axes)) == ["Random", "Entropy"]
    low, high = axes.get_ylim()
    assert 30 < low < 40 and high > 100 * findings.curve(panel.series[1])[-1][1].mean
    assert lines(axes)["Entropy"].get_xdata()[0] == 20  # x from cycle 0


def test_differences_to_the_baseline(panel, look):
    contrasts = findings.by_budget(panel)
    (axes,) = comparisons.differences(panel, contrasts, look, SCREEN).axes
    expected = [100 * test.difference.mean for test in contrasts if test.first == "Margin"]
    assert lines(axes)["Margin"].get_ydata() == pytest.approx(expected)
    assert list(lines(axes)["Random"].get_ydata()) == [0, 0]


def test_one_seed_is_a_line_without_a_band(tmp_path):
    record(tmp_path, [0.1, 0.2])
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy").panels
    (axes,) = comparisons.learning_curves(panel, "val/accuracy", {}, SCREEN).axes
    assert lines(axes)["Random"].get_ydata() == pytest.approx([10, 20])
    assert all(math.isfinite(end) for end in axes.get_ylim())


def test_a_wide_band_does_not_flatten_the_lines(tmp_path):
    for seed, values in enumerate(([0.1, 0.2], [0.3, 0.36])):  # t(0.975, 1) = 12.7
        record(tmp_path / f"{seed}", values, seed=seed)
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy").panels
    (axes,) = comparisons.learning_curves(panel, "val/accuracy", {}, SCREEN).axes
    assert np.diff(axes.get_ylim())[0] < 3 * 8


def test_looks_differ_also_beyond_the_colours():
    look = comparisons.styles(map(str, range(24)))
    assert len({(style["color"], style["marker"], style["linestyle"]) for style in look.values()}) == 24
    assert "black" not in {style["color"] for style in look.values()}


def test_the_penalty_map_says_its_numbers():
    shares = np.array([[np.nan, 0.25], [0.5, np.nan]])
    axes = comparisons.penalty_map(["A", "B"], shares, SCREEN).axes[0]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {((1, 0), "25"), ((0, 1), "50")}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("this strategy beats ...", "... this one, at so many % of budgets")


def test_different_strategies_have_different_names_in_narrow_figures():
    odin = [f"Odin(temperature={t}, epsilon={e})" for t in (0.1, 10, 1000) for e in (0, 0.0014)]
    axes = comparisons.penalty_map(odin, np.full((6, 6), np.nan), PHONE).axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert len({label.get_text() for label in labels}) == 6
    inner = [f"Diverse(ClassStratified(Entropy(CountAbove(threshold={t}))), candidates={c})" for t, c in ((0.25, 5), (0.5, 10), (0.5, 5))]
    for paper in (PHONE, SCREEN):
        curves = [Line(name, [1, 2], np.zeros(2), np.zeros(2), np.zeros(2), {"color": "C0"}) for name in [*odin, *inner]]
        figure = drawn(curves, [], paper, "", "")
        assert len({axes.get_title() for axes in figure.axes}) == 9


def test_trends_mark_what_never_leads(tmp_path):
    for width, gain in ((16, -0.1), (64, 0.05), (512, 0.1)):
        settings = {"model__init_args__network__init_args__width": width}
        record(tmp_path / f"r{width}", [0.1, 0.2, 0.3], "Random", **settings)
        record(tmp_path / f"e{width}", [0.1, 0.2 + gain, 0.3 + gain], "Entropy", **settings)
    (found,) = across_panels(compare(*read_runs([tmp_path]), "val/accuracy"))
    left, right = comparisons.trend(found, comparisons.styles(["Entropy"]), SCREEN).axes
    with warnings.catch_warnings(action="error"):  # it can be laid out, on a phone too
        rendered(comparisons.trend(found, comparisons.styles(["Entropy"]), PHONE), "png")
    line, never = left.get_lines()
    assert list(line.get_xdata()) == [16, 64, 512] and list(line.get_ydata())[1:] == [20, 20] and np.isnan(line.get_ydata()[0])
    assert (list(never.get_xdata()), never.get_marker()) == ([16], "x")
    assert right.get_xscale() == "log" and [label.get_text() for label in right.get_xticklabels()] == ["16", "64", "512"]
    assert len(left.get_yticks()) > 2
    look = comparisons.styles(["EntropyOfAnother()", "Entropy(temperature=2)"])  # the line of a class looks like one of its strategies
    assert comparisons.trend(found, look, SCREEN).axes[0].get_lines()[0].get_color() == look["Entropy(temperature=2)"]["color"]
    nowhere = replace(found, lines={"Entropy": [replace(point, break_even=np.inf) for point in found.lines["Entropy"]]})
    assert not len(comparisons.trend(nowhere, comparisons.styles(["Entropy"]), SCREEN).axes[0].get_yticks())  # crosses have no number


def test_images_and_crops_stand_in_one_figure_on_an_axis_in_pixels(tmp_path, monkeypatch):
    """Crops of 100 pixels, images of 400 or 800: what is labeled is added up item by item."""
    gains = {"Random": 0.0, "Entropy": 0.03, "Margin": 0.02, "BALD": -0.01}
    for chosen, gain in gains.items():
        values = [0.3 + 0.1 * cycle + gain * cycle for cycle in range(3)]
        whole = record(tmp_path / "runs" / f"whole-{chosen}", values, chosen, query_size=4, initial=4)
        write_images(whole.images, [Source("pool", f"{n}.png", f"9 bytes, 20x{20 + 20 * (n % 2)} pixels") for n in range(12)])
        crops = record(tmp_path / "runs" / f"crops-{chosen}", values, chosen, data__init_args__query_crop=10)
        crops.write_crops([f"item {n}" for n in range(40)], [(0, 0, 10, 10)] * 40)
    found = compare(*read_runs([tmp_path / "runs"]), "val/accuracy")
    panels = comparisons.of_unlike_items(found.panels)
    assert len(panels) == 2 and not comparisons.of_unlike_items(panels[:1])
    look = comparisons.styles(gains)
    (axes,) = comparisons.in_pixels(panels, "uncertainty", "val/accuracy", look, SCREEN).axes
    names = [panel.name for panel in panels]
    drawn = {label: line.get_xdata() for label, line in lines(axes).items()}
    assert set(drawn) == {f"{label} ({name})" for label in ("Random", "Entropy", "Margin") for name in names}
    crops, images = (panel.name for panel in sorted(panels, key=lambda panel: panel.item_pixels))
    assert list(drawn[f"Entropy ({images})"]) == [2400, 4800, 7200] and list(drawn[f"Random ({crops})"]) == [2000, 3000, 4000]
    bands = [band.get_datalim(axes.transData) for band in axes.collections]
    assert sorted((round(band.x0), round(band.x1), round(band.y1)) for band in bands) == [(2000, 4000, 56), (2400, 7200, 56)]
    one_each = {seed: {labeled: 0.5} for seed, labeled in enumerate(panels[0].budgets)}  # no seed has reached all budgets
    incomplete = replace(panels[0], series=tuple(replace(series, curves=one_each) for series in panels[0].series))
    (axes,) = comparisons.in_pixels([incomplete, panels[1]], "Bayesian", "val/accuracy", look, SCREEN).axes
    assert {label.split(" ", 1)[1] for label in lines(axes)} == {f"({panels[1].name})"}
    (axes,) = comparisons.in_pixels(panels, "Bayesian", "val/accuracy", look, SCREEN).axes
    assert set(lines(axes)) == {f"{label} ({name})" for label in ("Random", "BALD") for name in names}
    undrawn(monkeypatch)
    Report(found, tmp_path / "report").write()
    made = sorted(path.name for path in (tmp_path / "report" / "figures").glob("*.png"))
    assert [name for name in made if name.startswith("pixels")] == ["pixels--bayesian.png", "pixels--uncertainty.png"]
    assert [name for name in made if "zoom" in name] == [name for name in made if name.endswith("zoom--uncertainty.png")] != []


@pytest.mark.parametrize(("paper", "columns"), [(SCREEN, 4), (PHONE, 2), (Paper(3.3, "DejaVu Serif"), 2)])
def test_many_strategies_are_small_multiples_each_against_the_baseline(tmp_path, paper, columns):
    for number, chosen in enumerate(["Random", *(f"S{n}" for n in range(7))]):
        record(tmp_path / chosen, [0.1, 0.2 + number / 100, 0.3 + number / 50], chosen)
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy").panels
    look = comparisons.styles(f"S{n}" for n in range(7))
    for figure in (
        comparisons.learning_curves(panel, "val/accuracy", look, paper),
        comparisons.differences(panel, findings.by_budget(panel), look, paper),
    ):
        assert figure.get_figwidth() == paper.width
        assert len({round(axes.get_subplotspec().colspan.start) for axes in figure.axes}) == columns
        assert [axes.get_title() for axes in figure.axes] == list(look)
        for number, axes in enumerate(figure.axes):
            *others, baseline, own = axes.get_lines()
            assert len(others) == 7 and len({line.get_color() for line in others}) == 1
            assert baseline.get_label() == "Random" and own.get_label() == f"S{number}"
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Random", "the others"]


def test_labels_at_the_ends_of_lines_do_not_overlap():
    sizes = [0.1, 0.2, 0.1, 0.3]
    for wanted in ([0.5] * 4, [0, 0, 0, 1], [0.9, 0.95, 1, 1.2], [0.1, 0.3, 0.5, 0.8]):
        found = apart(wanted, sizes)
        edges = [(place - size / 2, place + size / 2) for place, size in zip(found, sizes, strict=True)]
        assert all(upper[0] >= lower[1] - 1e-9 for lower, upper in itertools.pairwise(edges))
        assert edges[0][0] >= -1e-9 and edges[-1][1] <= 1 + 1e-9
    assert found == [0.1, 0.3, 0.5, 0.8]  # where there is room they stay


def test_random_is_in_a_zoom_whatever_the_baseline(tmp_path, panel, look):
    (other,) = compare(*read_runs([tmp_path]), "val/accuracy", baseline="Entropy").panels
    margin = [series for series in other.series if series.label == "Margin"]
    (axes,) = comparisons.zoom(other, margin, "val/accuracy", comparisons.styles(["Random", "Margin"]), SCREEN).axes
    assert set(lines(axes)) == {"Entropy", "Random", "Margin"}
