"""What the documents show runs."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from al_lightning.cli import main
from al_lightning.runs import RunDirectory

DOCS = Path(__file__).parents[1] / "docs"


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


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    shutil.copy(DOCS / "python.ipynb", tmp_path)
    notebook = nbformat.read(tmp_path / "python.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # what it prints is made, not kept
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(list((tmp_path / "runs").iterdir())) == 7 and (tmp_path / "report" / "report.html").is_file()
