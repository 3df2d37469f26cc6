"""What a user is told of runs."""

import pytest

from al_lightning import commands
from al_lightning.acquisition import Strategy
from al_lightning.callbacks import ActiveLearningCallback
from al_lightning.commands.stored_run import read_strategy
from al_lightning.errors import UserError
from tests.analysis.recorded import record


def test_labels_and_metrics_are_of_the_same_cycle(tmp_path, capsys):
    """A query that was made after it is of the next cycle."""
    record(tmp_path / "ended", [0.5, 0.61, 0.73], "Entropy", 0, query_size=[5, 10, 20])
    record(tmp_path / "under way", [0.5, 0.61, 0.73], "Entropy", 0, query_size=[5, 10, 20], finished=False)
    commands.main(["status", str(tmp_path / "ended"), str(tmp_path / "under way")])
    ended, under_way = capsys.readouterr().out.splitlines()
    assert "cycle 2, 35 labeled (15 of them queried), val/accuracy 73.00 %" in ended
    assert "cycle 2, 35 labeled (15 of them queried), 20 more for cycle 3, val/accuracy 73.00 %" in under_way


def test_no_strategy_and_the_class_of_all_are_refused():
    with pytest.raises(UserError, match="Expected a strategy for --strategy"):
        read_strategy("null")
    with pytest.raises(UserError, match=r"Expected one of the strategies .* got Strategy, from which they are derived"):
        ActiveLearningCallback(Strategy(), 5)
