import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from al_lightning import commands, shipped
from al_lightning.configuration_files import read_settings
from al_lightning.runs import RunDirectory

ROOT = Path(__file__).parents[1]
TINY = ["--active_learning.cycles", "1", "--trainer.max_epochs", "1", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]


def test_names_are_taken_where_there_is_no_such_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = str(ROOT / "configs" / "demo.yaml")
    assert shipped.located("demo") == shipped.located("demo.yaml") == demo
    assert shipped.located("demo", "sweeps") == str(ROOT / "configs" / "sweeps" / "demo.yaml")
    assert shipped.located("fashion_mnist/entropy", "sweeps") == str(ROOT / "configs" / "fashion_mnist" / "entropy.yaml")
    assert shipped.located("nothing") == "nothing" and shipped.located("../configs/demo") == "../configs/demo"
    given = ["fit", "--config", "demo", "--config=demo", "-c", "demo", "--model", "demo"]
    assert shipped.located_in(given) == ["fit", "--config", demo, f"--config={demo}", "-c", demo, "--model", "demo"]
    Path("demo").mkdir()
    assert shipped.located("demo") == demo
    Path("demo").rmdir()
    Path("demo").write_text("own")
    assert shipped.located("demo") == "demo"


def test_list_and_show(capsys):
    commands.main(["configs", "list"])
    names = capsys.readouterr().out.split()
    assert names == sorted(names) and {"demo", "fashion_mnist/entropy", "sweeps/demo", "sweeps/nuclei/deciding"} <= set(names)
    commands.main(["configs", "show", "demo"])
    assert capsys.readouterr().out == (ROOT / "configs" / "demo.yaml").read_text()
    with pytest.raises(
        SystemExit, match=r"Expected the name of a configuration that comes with the program, got 'demos'. There are camvid/"
    ):
        commands.main(["configs", "show", "demos"])


def test_a_copied_sweep_has_its_base_and_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands.main(["configs", "copy", "sweeps/fashion_mnist/width"])
    commands.main(["configs", "copy", "sweeps/fashion_mnist/width"])
    assert capsys.readouterr().out == "configs/sweeps/fashion_mnist/width.yaml\nconfigs/fashion_mnist/entropy.yaml\n" * 2
    copy = Path("configs/sweeps/fashion_mnist/width.yaml")
    assert (copy.parent / read_settings(copy)["base"]).is_file()
    copy.write_text("mine")
    with pytest.raises(SystemExit, match=r"Expected no other file at configs/sweeps/fashion_mnist/width.yaml"):
        commands.main(["configs", "copy", "sweeps/fashion_mnist/width"])
    assert copy.read_text() == "mine"


def test_what_is_installed_runs_the_demo_from_an_empty_folder(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed, folder = tmp_path / "installed", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(installed)
    folder.mkdir()
    packaged = {path.relative_to(installed) for path in (installed / "al_lightning").rglob("*.*") if path.is_file()}
    here = {path.relative_to(ROOT) for path in (ROOT / "al_lightning").rglob("*.*") if path.is_file() and path.suffix != ".pyc"}
    configs = {Path("al_lightning") / path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    assert packaged == here | configs
    assert "al-lightning = al_lightning.__main__:program" in next(installed.glob("*.dist-info/entry_points.txt")).read_text()

    path = f"import sys; sys.path.insert(0, {str(installed)!r})"
    program = f"{path}; import al_lightning; print(al_lightning.__file__); from al_lightning.__main__ import program; program()"
    done = subprocess.run(
        [sys.executable, "-c", program, "fit", "--config", "demo", *TINY, "--run_dir", "run"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout and RunDirectory(folder / "run").is_finished()
