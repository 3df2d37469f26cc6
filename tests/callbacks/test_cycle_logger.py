import pandas
import pytest
from lightning.pytorch.loggers import CSVLogger

from al_lightning.callbacks import CycleLogger
from tests.conftest import run_experiment


def test_any_logger_holds_the_learning_curve(tmp_path):
    logger = CSVLogger(tmp_path)
    run = run_experiment(tmp_path / "run", callbacks=(CycleLogger(),), trainer={"logger": logger})
    table = pandas.read_csv(f"{logger.log_dir}/metrics.csv").dropna(subset=["active_learning/labeled"])
    curve = pandas.read_csv(run.learning_curve)
    assert table["active_learning/labeled"].tolist() == curve["labeled"].tolist()
    assert table["active_learning/val/accuracy"].tolist() == pytest.approx(curve["val/accuracy"].tolist())
    assert table["active_learning/query_peak_bytes"].dropna().tolist() == curve["query_peak_bytes"].dropna().tolist()
    assert table["step"].tolist() == [6, 14, 26]
