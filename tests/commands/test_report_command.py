import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
import scipy
from PIL import Image

from al_lightning import commands
from al_lightning.runs import RunDirectory
from tests.analysis.recorded import record, undrawn


@pytest.fixture
def runs(tmp_path):
    for seed in (0, 1):
        record(tmp_path / "runs" / f"r{seed}", [0.1, 0.2 + seed / 10, 0.35], "Random", seed)
        record(tmp_path / "runs" / f"e{seed}", [0.1, 0.3 + seed / 20, 0.4], "Entropy", seed)
    return tmp_path / "runs"


def test_it_says_where_the_page_is(runs, tmp_path, monkeypatch, capsys):
    undrawn(monkeypatch)
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in runs.rglob("*.*")}
    commands.main(["report", str(runs / "r0"), str(runs)])
    assert capsys.readouterr().out == "Report of 4 runs: report/report.html\n"
    assert (tmp_path / "report" / "report.html").is_file()
    assert {path: path.read_bytes() for path in runs.rglob("*.*")} == before  # runs are read only


def test_figures_for_a_paper(runs, tmp_path, capsys):
    commands.main([*f"report {runs} --out {tmp_path} --format pdf png --width 3.3 --font".split(), "DejaVu Serif"])
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"learning-curves.pdf", "learning-curves.png", "differences.pdf"} <= made and not any(name.endswith("svg") for name in made)
    picture = Image.open(tmp_path / "figures" / "differences.png")
    assert picture.width == 990 and "Difference to Random at each budget" in picture.info["Description"]  # 300 dots an inch
    drawn = (tmp_path / "figures" / "learning-curves.pdf").read_bytes()
    assert drawn.startswith(b"%PDF") and b"DejaVuSerif" in drawn and b"/Type3" not in drawn.replace(b" ", b"")


def test_options_reach_the_report(runs, tmp_path, monkeypatch, capsys):
    undrawn(monkeypatch)
    record(runs / "half", [])
    out = tmp_path / "elsewhere"
    commands.main(f"report {runs} --out {out} --baseline Entropy --full 0.9 --level 0.3 0.35 --metric val/accuracy".split())
    assert "4 runs, 1 left out" in capsys.readouterr().out
    text = (out / "report.html").read_text()
    assert all(part in text for part in ("Differences to Entropy", "100 the whole pool (90.00 %)", "labels for 35 %"))


def test_runs_after_one_cycle_beside_one_of_the_whole_pool(tmp_path, monkeypatch, capsys):
    undrawn(monkeypatch)
    for chosen in ("Random", "Entropy"):
        record(tmp_path / "runs" / chosen, [0.1], chosen, finished=False)
    record(tmp_path / "runs" / "whole", [0.9], data__init_args__initial_size="all")
    commands.main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert "Report of 3 runs" in capsys.readouterr().out
    text = (tmp_path / "out" / "report.html").read_text()
    assert "there is nothing to compute yet" in text and "normalised curves" not in text.lower()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "absent"], "Expected absent to be a run directory or a folder of such"),
        (["report", ".", "--metric", "val/f1"], "Expected the metric val/f1 in every run, got val/accuracy in all of them"),
        (["report", ".", "--metric", "val/loss"], "better when it is higher"),
        (["report", ".", "--full", "92"], "Expected --full between 0 and 1.* got 92"),
        (["report", ".", "--width", "0.33"], "Expected --width in inches, from 2 to 20, got 0.33"),
        (["report", ".", "--font", "DejaVu Sants"], "Expected --font to name a font of this machine, like DejaVu Sans.*got DejaVu Sants"),
        (["report", ".", "--level", "0.5", "-0.1"], "Expected --level between 0 and 1.* got -0.1"),
    ],
)
def test_what_the_user_can_mend_is_one_line(runs, monkeypatch, arguments, message):
    monkeypatch.chdir(runs)
    with pytest.raises(SystemExit, match=message):
        commands.main(arguments)


def test_a_folder_without_runs_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match="Expected at least one run with a finished cycle"):
        commands.main(["report", str(tmp_path)])


def test_it_needs_no_torch(runs, tmp_path):
    code = "import sys; from al_lightning.commands import main; main(sys.argv[1:]); assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, "report", str(runs), "--out", str(tmp_path / "out")], check=True, capture_output=True)
    shutil.rmtree(tmp_path / "out")


def test_numbers_that_are_none_and_a_metric_that_a_run_lacks(runs, tmp_path, capsys, monkeypatch):
    undrawn(monkeypatch)
    record(runs / "inf", [0.1, float("inf"), 3e38, float("nan")], "Margin")
    record(runs / "nan", [float("nan")] * 3, "BALD")
    record(runs / "full", [float("inf")], data__init_args__initial_size="all")
    record(runs / "other", [0.1, 0.2], metric="val/accurac9")
    commands.main(["report", str(runs), "--out", str(tmp_path / "out")])
    assert "Report of 7 runs, 1 left out" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "other is left out: no val/accuracy in its learning_curve.csv." in page
    assert "inf has no number for val/accuracy in 2 cycles, left out." in page


def test_a_page_shows_names_as_they_are(tmp_path):
    name = "<script>alert(1)</script>".replace("/", "|") + "\n\x01\udcff$a$"
    record(tmp_path / "runs" / name, [0.1, 0.2, 0.3], {"class_path": "mine._Hidden$x$", "init_args": {}})
    record(tmp_path / "runs" / "random", [0.1, 0.2, 0.25])
    commands.main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert r"&lt;script&gt;alert(1)&lt;|script&gt;\n\x01\xff$a$" in page and "<script>alert" not in page
    svg = (tmp_path / "out" / "figures" / "learning-curves.svg").read_text(encoding="utf-8")
    assert "_Hidden$x$" in svg and "mathdefault" not in svg
    for figure in (tmp_path / "out" / "figures").glob("*.svg"):
        ET.parse(figure)


def test_the_tables_allow_to_compute_the_page_again(runs, tmp_path, monkeypatch):
    """ALC, the normalised one, crossings, differences and their tests, from what every seed reached; and what was queried."""
    undrawn(monkeypatch)
    record(runs / "whole", [0.6], "Random", data__init_args__initial_size="all")
    commands.main(f"report {runs} --out {tmp_path / 'out'} --export".split())
    table = {path.stem: pd.read_csv(path) for path in (tmp_path / "out" / "tables").glob("*.csv")}
    curves = table["curves_by_seed"].pivot(index="labeled", columns=["strategy", "seed"], values="value")
    whole = table["other_runs"].query("part == 'whole pool'")["value"].mean()
    x = curves.index.to_numpy() / table["summary"]["query_size"][0]
    for row in table["summary"].to_dict("records"):
        mine = curves[row["strategy"]].to_numpy()
        assert row["alc"] == pytest.approx(100 * scipy.integrate.trapezoid(mine, x, axis=0).mean())
        scaled = (mine - curves.iloc[0].mean()) / (whole - curves.iloc[0].mean())
        assert row["normalized_alc"] == pytest.approx(100 * scipy.integrate.trapezoid(scaled, x, axis=0).mean())
        assert row["final"] == pytest.approx(mine[-1].mean())
    (difference,) = table["differences"].to_dict("records")
    means = curves.iloc[1:].mean()
    assert difference["difference"] == pytest.approx((means["Entropy"] - means["Random"]).mean())
    assert difference["p"] == pytest.approx(scipy.stats.ttest_rel(means["Entropy"], means["Random"]).pvalue)
    for row in table["queried_by_seed"].to_dict("records"):
        run = RunDirectory(runs / f"{row['strategy'][0].lower()}{row['seed']}")
        assert [int(index) for index in row["indices"].split()] == [q.index for q in run.read_queries() if q.cycle == row["cycle"]]
    assert len(table["queried_by_seed"]) == 4 * 3


def test_options_that_are_given_again_add_up(runs, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    commands.main(f"report {runs} --out {tmp_path}/out --level 0.3 --level 0.35".split())
    levels = pd.read_csv(tmp_path / "out" / "tables" / "labels_to_reach.csv")["level"]
    assert {*levels.round(2)} == {0.3, 0.35}


def test_a_baseline_that_is_none_is_refused(runs, tmp_path):
    with pytest.raises(SystemExit, match="Expected --baseline to be one of Entropy, Random, or the beginning of one, got Margn"):
        commands.main(f"report {runs} --out {tmp_path}/out --baseline Margn".split())
