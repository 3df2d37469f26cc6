"""Scores under each precision that Lightning trains in: the network is asked in the numbers that it was trained in."""

import sys
from pathlib import Path

import pytest
import scipy.stats
import torch

from al_lightning.acquisition.batches import k_center
from al_lightning.analysis.drawings import plots
from al_lightning.cli import main
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from tests.experiments import make_data, weights
from tests.test_cli import TINY

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize(("precision", "numbers"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16), ("16-true", torch.float16)])
def test_scores_are_those_of_the_network_as_it_was_trained(tmp_path, monkeypatch, precision, numbers):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    monkeypatch.setattr(plots, "draw_learning_curve", lambda run: run.picture)
    (tmp_path / "tiny.yaml").write_text(TINY)
    also = "[{class_path: BALD, init_args: {passes: 3, query_p: 0.5}}, {class_path: Odin, init_args: {epsilon: 0.01}}]"
    settings = [
        f"--trainer.precision={precision}",
        f"--active_learning.also_record={also}",
        "--active_learning.cycles=2",
        "--optimizer=SGD",
    ]
    main(["fit", "--config", "tiny.yaml", "--run_dir", "run", *settings])
    run = RunDirectory("run")
    state = {name.removeprefix("network."): value for name, value in weights(run, 0).items()}
    assert {value.dtype for value in state.values()} == {numbers}
    network = MLP(width=7).to(numbers).eval()
    network.load_state_dict(state)
    data = make_data()
    data.setup("fit")
    indices, scores = run.read_scores(0)
    ((inputs, _),) = data.pool_batches([torch.tensor(indices)])
    with torch.no_grad():
        logits = network(inputs.to(numbers))
    expected = scipy.stats.entropy(logits.double().softmax(1).numpy(), axis=1)
    torch.testing.assert_close(torch.tensor(scores["score"]).double(), torch.tensor(expected), rtol=1e-5, atol=1e-6)
    assert all(len(set(values)) > 20 for values in scores.values())


@pytest.mark.parametrize(
    ("precision", "numbers"),
    [("64-true", torch.float64), ("bf16-true", torch.bfloat16), ("16-true", torch.float16), ("bf16-mixed", torch.float32)],
)
def test_a_query_is_chosen_in_single_precision(monkeypatch, precision, numbers):
    """What the network trains in is for the network: distances of features in half precision would be noise."""
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    Path("tiny.yaml").write_text(TINY.replace("width: 7", "width: 20"))
    settings = [f"--trainer.precision={precision}", "--active_learning.cycles=2", "--trainer.max_epochs=0", "--optimizer=SGD"]
    for strategy in ("CoreSet", "{class_path: ClassStratified, init_args: {strategy: Entropy}}"):
        main(["fit", "--config", "tiny.yaml", "--run_dir", strategy[:8], "--active_learning.strategy", strategy, *settings])
    network = MLP(width=20).to(numbers).eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(RunDirectory("CoreSet"), 0).items()})
    data = make_data(seed=3)
    data.setup("fit")
    labeled, free = data.pool.labeled_indices, data.pool.candidates
    ((inputs, _),) = data.pool_batches([torch.cat([free, labeled])])
    with torch.no_grad(), torch.autocast("cpu", enabled=precision == "bf16-mixed"):
        features = network.prefix(inputs.to(numbers))
    assert features.dtype == (torch.bfloat16 if precision == "bf16-mixed" else numbers)
    expected = free[k_center(features[: len(free)], features[len(free) :], 50)].tolist()
    assert [row.index for row in RunDirectory("CoreSet").read_queries() if row.cycle == 1] == expected
    assert len({row.index for row in RunDirectory("{class_p").read_queries()}) == 120
