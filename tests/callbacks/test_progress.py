import io
import re
import sys
from functools import partial

import pytest
from lightning.pytorch.callbacks import TQDMProgressBar

from al_lightning.callbacks import CycleProgressBar, progress
from tests.experiments import run_experiment


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_one_bar_for_training_one_for_scoring_in_a_terminal_only(tmp_path, monkeypatch, capsys, terminal):
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(progress, "Tqdm", partial(progress.Tqdm, mininterval=0))
    bar = CycleProgressBar(refresh_rate=1)
    run_experiment(tmp_path, callbacks=(bar,), trainer={"enable_progress_bar": True})
    drawn = screen.getvalue()
    if terminal:
        assert re.search(r"cycle 1, epoch 2: 100%.*8/8", drawn)
        assert "scoring:" in drawn
        assert "Validation" not in drawn and "Sanity" not in drawn
    else:
        assert "cycle" not in drawn and "scoring" not in drawn
    assert capsys.readouterr().out.count("labeled, val/accuracy") == 3


def test_what_is_over_at_once_draws_nothing(tmp_path, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "_DELAY", 60)
    run_experiment(tmp_path, callbacks=(CycleProgressBar(refresh_rate=1),), trainer={"enable_progress_bar": True})
    assert "cycle" not in screen.getvalue() and "scoring" not in screen.getvalue()


def test_another_progress_bar_works_in_every_cycle(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = TQDMProgressBar()
    run_experiment(tmp_path, callbacks=(bar,), trainer={"enable_progress_bar": True})
    assert capsys.readouterr().out.count("labeled, val/accuracy") == 3
