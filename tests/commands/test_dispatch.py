import subprocess
import sys
from pathlib import Path

import pytest

from al_lightning import commands

ROOT = Path(__file__).parents[2]


def test_help_lists_every_command_without_loading_torch():
    code = "import sys; from al_lightning.commands import main; main(['--help']); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in shown for name in commands.COMMANDS)


def test_an_unknown_command_is_one_error():
    with pytest.raises(SystemExit, match=r"Expected one of fit.*got 'train'"):
        commands.main(["train"])


def test_a_file_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"al_lightning: error: Not a directory: .*file"):
        commands.main(["figures", "--out", str(tmp_path / "file" / "figures")])


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    (tmp_path / "base.yaml").write_text("seed_everything: 0\n")
    (tmp_path / "trial.yaml").write_text(f"base: base.yaml\ngrid: {{seed_everything: {list(range(4000))}}}\n")
    command = f"{sys.executable} -m al_lightning sweep {tmp_path / 'trial.yaml'} --list | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "new        runs/trial/seed0\n" and done.stderr == ""


def test_ctrl_c_ends_a_command_without_a_traceback(monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("al_lightning.commands.report.main", interrupted)
    with pytest.raises(SystemExit) as end:
        commands.main(["report", "runs"])
    assert end.value.code == 130
