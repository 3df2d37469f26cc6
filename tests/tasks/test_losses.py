"""Another loss than the task's own, through the command line."""

import re

import pytest
import yaml

from al_lightning.cli import main
from al_lightning.runs import RunDirectory
from tests.experiments import same_weights, weights
from tests.test_cli import TINY

pytestmark = pytest.mark.usefixtures("undrawn")

CROSS_ENTROPY = "torch.nn.CrossEntropyLoss"
FOCAL = "segmentation_models_pytorch.losses.FocalLoss"
SCENES = """
model:
  class_path: SegmentationTask
  init_args:
    network: {class_path: tests.tasks.test_segmentation.Tiny}
data:
  class_path: SyntheticScenesDataModule
  init_args: {train_sequences: 3, val_sequences: 1, height: 48, width: 64, crop: 32, batch_size: 2, initial_size: 4}
active_learning: {strategy: Entropy, query_size: 2, cycles: 1}
trainer: {accelerator: cpu, max_steps: 1, max_epochs: -1, logger: false, enable_progress_bar: false, callbacks: []}
"""


@pytest.fixture(autouse=True)
def _argv(monkeypatch):
    monkeypatch.setattr("sys.argv", ["al_lightning"])


def fit(text, run, loss=None, **arguments):
    config = yaml.safe_load(text)
    config["trainer"] |= {"enable_progress_bar": False}
    config["model"]["init_args"] |= arguments | ({} if loss is None else {"loss": loss})
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path), "--run_dir", str(run)])
    return RunDirectory(run)


@pytest.mark.parametrize("block", [1, 4])
def test_the_same_loss_gives_the_same_run_and_another_one_another(tmp_path, block):
    own = fit(TINY, tmp_path / "own", block=block)
    same = fit(TINY, tmp_path / "same", {"class_path": CROSS_ENTROPY}, block=block)
    smooth = fit(TINY, tmp_path / "smooth", {"class_path": CROSS_ENTROPY, "init_args": {"label_smoothing": 0.2}}, block=block)
    assert own.queries.read_bytes() == same.queries.read_bytes() != smooth.queries.read_bytes()
    assert same_weights(weights(own, 2), weights(same, 2)) and not same_weights(weights(own, 2), weights(smooth, 2))
    losses = [float(run.read_cycles()[0]["val/loss"]) for run in (own, same, smooth)]
    assert losses[0] == losses[1] != losses[2]


def test_losses_of_scenes(tmp_path, capsys):
    focal = fit(SCENES, tmp_path / "focal", {"class_path": FOCAL, "init_args": {"mode": "multiclass", "ignore_index": 255}})
    assert focal.is_finished()
    for name, loss, said in [
        (
            "learns",
            {"class_path": FOCAL, "init_args": {"mode": "multiclass"}},
            r"class 255, but FocalLoss learns from them. Give it ignore_",
        ),
        (
            "fails",
            {"class_path": CROSS_ENTROPY},
            r"CrossEntropyLoss says: Target 255 is out of bounds. .*many losses take ignore_index: 255",
        ),
    ]:
        with pytest.raises(SystemExit) as ended:
            fit(SCENES, tmp_path / name, loss)
        assert re.search(said, str(ended.value) + capsys.readouterr().err)
