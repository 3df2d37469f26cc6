import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from al_lightning import environment


def test_describe():
    found = environment.describe(torch.device("cpu"), 3)
    assert found["processes"] == 3
    assert found["device"].startswith("cpu")
    assert found["versions"]["torch"] == torch.__version__.split("+")[0] or found["versions"]["torch"] == torch.__version__
    assert found["versions"]["al_lightning"] == version("al_lightning")
    assert found["threads"] == torch.get_num_threads()


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_git_commit", environment._git_commit.__wrapped__)  # not what was found for other tests
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.describe(torch.device("cpu"), 1)["git_commit"] is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "environment.py").write_text("")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert environment.describe(torch.device("cpu"), 1)["git_commit"] == head
    Path(tmp_path / "environment.py").write_text("changed")
    assert environment.describe(torch.device("cpu"), 1)["git_commit"] == head + "-dirty"
