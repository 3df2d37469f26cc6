import csv
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from al_lightning.analysis.numbers.comparison import compare
from al_lightning.analysis.numbers.recorded import read_runs
from al_lightning.analysis.pages import columns, latex
from al_lightning.analysis.pages.report import Report
from al_lightning.analysis.pages.sheet import Proposal, contact_sheet, thumbnail
from tests.analysis.pages.test_markup import Reader
from tests.analysis.recorded import record, strategy, undrawn

TABLES = {
    "cost",
    "curves",
    "curves_by_seed",
    "other_runs",
    "differences",
    "differences_by_budget",
    "labels_to_reach",
    "pairwise",
    "penalties",
    "runs",
    "settings",
    "strategies",
    "summary",
    "trends",
}
WIDTH = "model__init_args__network__init_args__width"


def make_runs(folder):
    """Two widths, four strategies, unequal seeds and cycles, the whole pool, a broken run."""
    chosen = {"Random": strategy("Random"), "Entropy": strategy("Entropy")} | {
        f"Odin{t}": strategy("Odin", temperature=t) for t in (0.1, 10.0)
    }
    for width in (16, 512):
        for number, (name, node) in enumerate(chosen.items()):
            for seed in range(3 - (name == "Entropy")):
                cycles = 2 if (name, seed) == ("Odin0.1", 1) else 4
                values = [0.3 + 0.01 * seed + (0.1 + 0.02 * number + 0.001 * seed * number) * cycle for cycle in range(cycles)]
                record(folder / f"{name}-w{width}-seed{seed}", values, node, seed, finished=cycles == 4, **{WIDTH: width})
        record(folder / f"full{width}", [0.95], data__init_args__initial_size="all", **{WIDTH: width})
    record(folder / "broken", [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report beside other files."""
    path = tmp_path_factory.mktemp("report")
    make_runs(path / "runs")
    (path / "out" / "tables").mkdir(parents=True)
    (path / "out" / "tables" / "mine.csv").write_text("kept")
    report = Report(compare(*read_runs([path / "runs"]), "val/accuracy"), path / "out")
    assert report.write() == path / "out" / "report.html"
    return path / "out"


def test_the_page_is_whole_and_needs_nothing_else(folder):
    text = (folder / "report.html").read_text()
    read = Reader(text)
    assert all(reference.startswith(("#", "data:image/svg+xml;base64,")) for reference in read.references)
    assert {reference[1:] for reference in read.references if reference.startswith("#")} == set(read.ids)
    assert "url(" not in text and "@import" not in text and "src=" not in "".join(re.findall("<script.*?>", text))
    svgs = sorted((folder / "figures").glob("*.svg"))
    assert len(read.images) == len(svgs) >= 2 * 5 + 3  # curves, normalised, zoom, differences, penalties; three trends
    assert {path.stem for path in svgs} == {path.stem for path in (folder / "figures").glob("*.png")}
    assert all(image["alt"] for image in read.images)


def test_each_trend_has_figures_of_its_own(tmp_path):
    for retrain in ("scratch", "warm"):
        for width in (8, 32):
            for name, gain in (("Random", 0), ("Entropy", width / 100)):
                settings = {WIDTH: width, "active_learning__retrain": retrain}
                record(tmp_path / "runs" / f"{name}-{retrain}-{width}", [0.1, 0.2, 0.3 + gain], name, 0, **settings)
    page = Report(compare(*read_runs([tmp_path / "runs"]), "val/accuracy"), tmp_path / "out").write().read_text()
    drawn = sorted(path.name for path in (tmp_path / "out" / "figures").glob("trend*.svg"))
    assert drawn == ["trend--retrain-scratch--entropy--width.svg", "trend--retrain-warm--entropy--width.svg"]
    assert "Entropy against width (retrain=warm)" in page


def test_the_page_says_what_matters(folder):
    read = Reader((folder / "report.html").read_text())
    assert {"width=16", "width=512", "Against a setting", "Cost", "What was compared", "Pairwise penalty matrix"} <= set(read.headings)
    for part in (
        "differ in more than strategy and seed: model.init_args.network.init_args.width",
        "no finished cycle yet",
        "Entropy lacks seed 2",
        "without seed 1 of Odin(temperature=0.1)",
        "above Random (95 % interval of the difference",
        "Read along a row: how often it wins",
        "All ran on device cpu (x86_64)",
        "Run: FashionMNIST, pool 1,000 images, evaluation not recorded",
        "mean over the curve (%)",
        "columns: this table scrolls to the side",
    ):
        assert part in read.text, part


def test_the_tables_hold_all_settings(folder):
    found = {path.stem: pd.read_csv(path) for path in (folder / "tables").glob("*.csv") if path.stem != "mine"}
    assert found.keys() == TABLES
    for name in ("summary", "curves", "differences", "penalties", "cost"):
        assert set(found[name].setting) == {"width=16", "width=512"}, name
    by_hand = found["curves_by_seed"].groupby(["setting", "strategy", "labeled"]).value.mean()
    assert found["curves"].set_index(["setting", "strategy", "labeled"]).value.sort_index().tolist() == pytest.approx(by_hand.tolist())
    assert len(found["runs"]) == 2 * (3 * 4 - 1) + 2 + 1


def test_other_files_stay_and_a_second_report_is_the_same(folder, tmp_path):
    assert (folder / "tables" / "mine.csv").read_text() == "kept"
    record(tmp_path / "runs" / "a", [0.1, 0.2])
    comparison = compare(*read_runs([tmp_path / "runs"]), "val/accuracy")
    Report(comparison, tmp_path / "out").write()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    Report(comparison, tmp_path / "out").write()
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before


@pytest.mark.parametrize("cycles", [1, 2])
def test_a_single_run_is_a_report(tmp_path, cycles, monkeypatch):
    undrawn(monkeypatch)
    record(tmp_path / "runs", [0.1] * cycles, "Entropy", metric="val/miou", finished=False)
    text = Report(compare(*read_runs([tmp_path / "runs"]), "val/miou"), tmp_path).write().read_text()
    assert "Nothing can be compared with a baseline." in Reader(text).text
    assert "no normalised curves" in text


def test_given_levels_are_told(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    record(tmp_path / "a", [0.1, 0.3], "Random")
    record(tmp_path / "b", [0.1, 0.5], "Entropy")
    text = Report(compare(*read_runs([tmp_path]), "val/accuracy"), tmp_path / "out", [0.3, 0.45]).write().read_text()
    assert "labels for 45 %" in text and "never: not within the range of labels that strategies have in common" in text
    rows = list(csv.DictReader((tmp_path / "out" / "tables" / "labels_to_reach.csv").open()))
    assert [(row["strategy"], row["level"], float(row["labels"])) for row in rows] == [
        ("Random", "0.3", 30.0),
        ("Random", "0.45", float("inf")),
        ("Entropy", "0.3", pytest.approx(25)),
        ("Entropy", "0.45", pytest.approx(28.75)),
    ]


def test_thousands_have_no_gap_in_latex():
    assert latex._with_half_interval({"alc": 1634.5, "alc_high": 1640.0}, "alc", columns.decimal) == r"$1{,}634.50 \pm 5.50$"


def test_the_summary_is_latex_that_a_paper_can_take_in(folder):
    text = (folder / "tables" / "summary.tex").read_text()
    assert text.startswith("% FashionMNIST") and text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2
    lines = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if " & " in line]
    assert {len(line) for line in lines} == {7} and "% width=512" in text.splitlines()
    rows = [row for row in csv.DictReader((folder / "tables" / "summary.csv").open()) if row["setting"] == "width=16"]
    for row, line in zip(rows, lines[1:], strict=False):
        half = 100 * (float(row["mean_metric_high"]) - float(row["mean_metric"])) if row["mean_metric_high"] != "nan" else None
        value = f"{100 * float(row['mean_metric']):.2f}"
        assert line[0] == row["strategy"] and line[2] == (value if half is None else rf"${value} \pm {half:.2f}$")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


PROBE = """
onload = () => {
  document.querySelectorAll('img').forEach(each => (each.dataset.wide = each.naturalWidth > 99));
  const said = document.body.dataset, chart = document.querySelector('.chart'), [baseline] = chart.querySelectorAll('button.line');
  const drawn = () => [...chart.querySelectorAll('[data-line]')].map(each => each.dataset.line);
  said.fits = document.documentElement.scrollWidth <= innerWidth;
  said.first = drawn();
  baseline.click(); said.hidden = drawn();
  baseline.click(); said.back = drawn().length;
  chart.querySelector('button.seeds').click();
  said.seeds = [...new Set([...chart.querySelectorAll('[data-seed]')].map(each => each.dataset.seed))].sort();
  const box = chart.querySelector('svg').getBoundingClientRect();
  chart.querySelector('svg').dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + 50, clientY: box.top + 50}));
  said.told = chart.querySelector('.told').textContent.replaceAll('\\n', '|');
};
"""


def opened(page, script, folder):
    """What the browser makes of a page and a script in it, in a window of 400 pixels."""
    (folder / "page.html").write_text(page.replace("</body>", f"<script>{script}</script></body>"))
    quiet = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    command = [CHROMIUM, *quiet.split(), "--window-size=400,900", "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    return subprocess.run([*command, f"file://{folder / 'page.html'}"], capture_output=True, text=True, timeout=60, check=True).stdout


def test_what_an_earlier_report_has_written_does_not_stay(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    out, count = tmp_path / "out", strategy("CountAbove", threshold=0.5)
    for seed in (0, 1):
        for name, node in (("random", "Random"), ("margin", "Margin"), ("count", strategy("Margin", aggregation=count))):
            record(tmp_path / "runs" / f"{name}{seed}", [0.1, 0.2 + seed / 10, 0.3], node, seed)

    def written(**options):
        Report(compare(*read_runs([tmp_path / "runs"]), "val/accuracy", **options), out).write()
        return {str(path.relative_to(out)) for path in out.rglob("*.*") if path.suffix}

    gone = {"tables/against_mean.csv", "figures/normalised-curves.svg", "figures/zoom--uncertainty.png"}
    everything = written(full=0.9)
    assert gone <= everything
    (out / "tables" / "mine.csv").write_text("kept")
    (tmp_path / "secret.txt").write_text("kept")
    with (out / ".written").open("a") as listing:  # somebody else may have written it
        listing.write("../secret.txt\n")
    for seed in (0, 1):
        shutil.rmtree(tmp_path / "runs" / f"count{seed}")
    left = written()
    assert not gone & left and {"tables/mine.csv", "tables/summary.csv", "figures/learning-curves.svg", "report.html"} <= left
    assert (tmp_path / "secret.txt").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in: apt-get install chromium")
def test_a_browser_shows_the_page_with_all_pictures(folder, tmp_path):
    # What the browser makes of the page, with a mark on each picture that it could decode.
    text = (folder / "report.html").read_text()
    shown = opened(text, PROBE, tmp_path)
    assert shown.count("<h2>") == text.count("<h2>") > 4
    assert shown.count('data-wide="true"') == text.count("<img") and 'data-wide="false"' not in shown
    assert 'data-fits="true"' in shown  # nothing but what scrolls by itself is wider than the window
    assert shown.count('class="chart"') == shown.count("<svg") == 4 and 'class="chart" hidden' not in shown
    assert 'data-first="Random,Entropy,Odin(temperature=0.1),Odin(temperature=10)"' in shown
    assert 'data-hidden="Entropy,Odin(temperature=0.1),Odin(temperature=10)"' in shown and 'data-back="4"' in shown
    assert 'data-seeds="0,1,2"' in shown
    assert 'data-told="20 labeled items|Random: 31.00  [28.52, 33.48]|' in shown


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in: apt-get install chromium")
def test_the_page_of_what_to_label_fits_a_phone(tmp_path):
    folder, rng = "/data/a_folder_whose_name_has_no_place_to_break_a_line", np.random.default_rng(0)
    pixels = [rng.integers(0, high, size, np.uint8) for high, size in ((256, (240, 320, 3)), (2, (240, 320)))]
    square = thumbnail(Proposal("a", picture := rng.integers(0, 256, (700, 1400, 3), np.uint8), np.eye(60, dtype=np.uint8), None, 0.5))
    assert square.picture.shape[:2] == square.prediction.shape == (140, 280) and picture.shape == (700, 1400, 3)
    assert np.array_equal(square.prediction[[0, 70, 139], [0, 140, 279]], [1, 1, 1]) and square.prediction[0, 279] == 0
    proposals = [Proposal(f"{folder}/{number}.png", *pixels, rng.random((240, 320)), 0.5) for number in range(2)]
    page = contact_sheet(f"What to label next in {folder}", [], proposals, ["road", "sky"], np.zeros((2, 3), np.uint8), [])
    probe = """onload = () => {
      const said = document.body.dataset, last = [...document.querySelectorAll('tr:nth-child(2) img')].pop().getBoundingClientRect();
      said.fits = document.documentElement.scrollWidth <= innerWidth && document.querySelector('h1').scrollWidth <= innerWidth;
      said.maps = last.right <= innerWidth;
      said.scrolls = document.querySelector('.scrolls').offsetHeight > 0;
    }"""
    shown = opened(page, probe, tmp_path)
    assert 'data-fits="true"' in shown  # the title is broken, the table scrolls by itself
    assert 'data-maps="true"' in shown and 'data-scrolls="true"' in shown  # image, prediction and score map beside each other
