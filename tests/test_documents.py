"""What the documents show runs."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from al_lightning import acquisition
from al_lightning.cli import main
from al_lightning.config_reader import ConfigReader
from al_lightning.runs import RunDirectory

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)


def test_parts_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    Path("mine.py").write_text("\n".join(blocks("extending.md", "python")))
    (config,) = blocks("extending.md", "yaml")
    Path("mine.yaml").write_text(config)
    main(["fit", "--config", "mine.yaml", "--trainer.accelerator", "cpu", "--trainer.logger", "false", "--run_dir", "run"])
    run = RunDirectory("run")
    assert run.is_finished() and [row.labeled for row in run.read_curve()] == [40, 60, 80]
    config = run.config.read_text()
    assert all(f"mine.{name}" in config for name in ("SmallConvNet", "Bounded", "Stripes", "RunnerUp"))
    for name in ("mine.Spread", "CoreSet"):
        options = ["--active_learning.strategy", name, "--trainer.accelerator", "cpu", "--trainer.logger", "false"]
        main(["fit", "--config", "mine.yaml", *options, "--run_dir", name])
    spread, core_set = ([row.index for row in RunDirectory(name).read_queries()] for name in ("mine.Spread", "CoreSet"))
    assert spread == core_set and len(spread) == 80


def test_the_cells_of_the_notebook_run_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "python.ipynb").read_text())
    assert not any(cell.get("outputs") for cell in notebook["cells"])  # what it prints is made, not kept
    names = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(list(Path("runs").iterdir())) == 7 and Path("report/report.html").is_file()


@pytest.mark.slow
def test_a_kernel_runs_the_notebook(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(shutil.copy(DOCS / "python.ipynb", tmp_path), as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(list((tmp_path / "runs").iterdir())) == 7 and (tmp_path / "report" / "report.html").is_file()


@pytest.mark.parametrize("page", ["../README.md", "getting-started.md"])
def test_what_a_visitor_sees_first_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (script,), (config,) = blocks(page, "python"), blocks(page, "yaml")
    exec(script.replace("max_epochs=5", "max_epochs=1, enable_progress_bar=False, logger=False, accelerator='cpu'"), {})
    assert RunDirectory("runs/Entropy-seed0").is_finished()
    Path("config.yaml").write_text(config)
    assert ConfigReader().read(["fit", "--config=config.yaml"])["active_learning.query_size"] == 300


def test_the_readme_is_read_in_three_minutes_and_its_links_lead_somewhere():
    content = README.read_text()
    assert len(content.encode()) <= 9000
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", content) + re.findall(r'src(?:set)?="([^"]+)"', content)
    assert len(links) > 20 and [link for link in links if not (README.parent / link).exists()] == []


def test_the_page_on_strategies_has_all_of_them():
    rows = [line.split("|")[1] for line in (DOCS / "strategies.md").read_text().splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)", " ".join(rows))) == sorted(acquisition.STRATEGIES)
    assert all(f"`{name}" in (DOCS / "strategies.md").read_text() for name in acquisition.AGGREGATIONS)


@pytest.mark.parametrize("page", [*sorted(path.name for path in DOCS.glob("*.md")), "../README.md"])
def test_paths_and_targets_that_pages_name_are_there(page):
    text = (DOCS / page).read_text()
    named = re.findall(r"`((?:tests|configs|tools|benchmarks|al_lightning)/[\w./-]*)`", text)
    assert [path for path in named if not (README.parent / path).exists()] == []
    assert [path for path in re.findall(r"`(experiments/[\w./*-]*)`", text) if not any(DOCS.glob(path))] == []
    makefile = (README.parent / "Makefile").read_text()
    assert [
        target for target in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text, re.MULTILINE) if f"{''.join(target)}:" not in makefile
    ] == []
