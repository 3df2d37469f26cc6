import importlib
import inspect
import subprocess
import sys

import pytest

from al_lightning.interpreter import name_the_import_system

LEAVING = """
import atexit, gc, sys, threading, time
from al_lightning.interpreter import all_is_imported, run_and_leave
atexit.register(lambda: print("exit handlers run"))
threading.Thread(target=lambda: (time.sleep(0.2), print("threads are waited for"))).start()
def main():
    off = not gc.isenabled()
    all_is_imported()
    print("main", off, gc.isenabled(), gc.get_freeze_count() > 0)
    {end}
run_and_leave(main)
"""


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        ("", 0, ""),
        ("sys.exit(143)", 143, ""),
        ("sys.exit('al_lightning: error: so')", 1, "al_lightning: error: so\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_a_process_ends_as_python_ends_it(end, status, error):
    done = subprocess.run([sys.executable, "-c", LEAVING.format(end=end)], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout.splitlines() == ["main True True True", "threads are waited for", "exit handlers run"]
    assert done.stderr.endswith(error) and bool(done.stderr) == bool(error)


def test_frames_of_the_import_system_are_found_without_a_search(tmp_path, monkeypatch):
    (tmp_path / "asks.py").write_text("import inspect, sys\nmodules = {*map(inspect.getmodule, map(sys._getframe, [1, 2, 3, 4]))}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(inspect, "modulesbyfile", dict(inspect.modulesbyfile))
    name_the_import_system()
    assert importlib.import_module("asks").modules == {importlib._bootstrap, importlib._bootstrap_external}
