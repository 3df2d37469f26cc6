import subprocess
import sys

import pytest

from al_lightning import commands


def test_help_lists_every_command_without_loading_torch():
    code = "import sys; from al_lightning.commands import main; main(['--help']); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in shown for name in commands.COMMANDS)


def test_an_unknown_command_is_one_error():
    with pytest.raises(SystemExit, match=r"Expected one of fit.*got 'train'"):
        commands.main(["train"])
