import shutil
import subprocess
import sys

import pytest

from al_lightning import commands
from tests.analysis.recorded import record


@pytest.fixture
def runs(tmp_path):
    for seed in (0, 1):
        record(tmp_path / "runs" / f"r{seed}", [0.1, 0.2 + seed / 10, 0.35], "Random", seed)
        record(tmp_path / "runs" / f"e{seed}", [0.1, 0.3 + seed / 20, 0.4], "Entropy", seed)
    return tmp_path / "runs"


def test_it_says_where_the_page_is(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in runs.rglob("*.*")}
    commands.main(["report", str(runs / "r0"), str(runs)])
    assert capsys.readouterr().out == "Report of 4 runs: report/report.html\n"
    assert (tmp_path / "report" / "report.html").is_file()
    assert {path: path.read_bytes() for path in runs.rglob("*.*")} == before  # runs are read only


def test_options_reach_the_report(runs, tmp_path, capsys):
    record(runs / "half", [])
    out = tmp_path / "elsewhere"
    commands.main(f"report {runs} --out {out} --baseline Entropy --full 0.9 --level 0.3 0.35 --metric val/accuracy".split())
    assert "4 runs, 1 left out" in capsys.readouterr().out
    text = (out / "report.html").read_text()
    assert all(part in text for part in ("Differences to Entropy", "100 the whole pool (90.00 %)", "labels for 35 %"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "absent"], "Expected absent to be a run directory or a folder of such"),
        (["report", ".", "--metric", "val/f1"], "Expected the metric val/f1 in every run, got val/accuracy in all of them"),
        (["report", ".", "--metric", "val/loss"], "better when it is higher"),
        (["report", ".", "--full", "92"], "Expected --full between 0 and 1.* got 92"),
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
