import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint

from al_lightning.acquisition import BALD, Entropy, FromFile, Margin, MaxSoftmax, MostIncorrect, Order, Random
from al_lightning.callbacks import ActiveLearningCallback
from al_lightning.callbacks.budget import Budget
from al_lightning.data import Pool
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask
from tests.callbacks.test_restart import WithNorm
from tests.experiments import CountBatches, make_data, run_experiment, same_weights, weights, without_seconds


def test_a_run_leaves_its_directory(tmp_path):
    run = run_experiment(tmp_path)
    curve, queries = run.read_cycles(), run.read_queries()
    assert [(row["cycle"], row["labeled"], row["epochs"], row["train_steps"]) for row in curve] == [
        ("0", "70", "2", "6"),
        ("1", "120", "2", "8"),
        ("2", "170", "2", "12"),
    ]
    assert [row["query_seconds"] == "" for row in curve] == [False, False, True]
    assert all(0 < float(row["val/accuracy"]) < 1 for row in curve)
    assert [sum(row.cycle == cycle for row in queries) for cycle in range(4)] == [70, 50, 50, 0]
    assert len({row.index for row in queries}) == 170
    for cycle in (1, 2):
        scores = [row.score for row in queries if row.cycle == cycle]
        assert scores == sorted(scores, reverse=True)
        assert [row.rank for row in queries if row.cycle == cycle] == list(range(50))
    environment = run.read_environment()
    assert environment["seed"] == 0 and environment["data"]["items"] == 5000 and "torch" in environment["versions"]
    assert all(run.checkpoint(cycle).is_file() for cycle in range(3))


def test_an_independent_entropy_selects_the_same_items(tmp_path):
    """From the checkpoint alone, in numpy and float64; trained long enough that the entropies are no tie at log 10 in float32."""
    task = ClassificationTask(lambda: MLP(width=32))
    run = run_experiment(tmp_path, task=task, trainer={"max_epochs": 15, "check_val_every_n_epoch": 15})
    data = make_data()
    data.setup("fit")
    images = data._train.images.numpy().reshape(5000, -1) / 255.0
    labeled = {row.index for row in run.read_queries() if row.cycle == 0}
    members = set(data.pool.labeled_indices.tolist()) | set(data.pool.unlabeled_indices.tolist())
    for cycle in (0, 1):
        state = {name: value.double().numpy() for name, value in weights(run, cycle).items() if name.startswith("network")}
        hidden = np.maximum(images @ state["network.hidden.weight"].T + state["network.hidden.bias"], 0)
        logits = hidden @ state["network.output.weight"].T + state["network.output.bias"]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        entropies = -(p * np.log(p)).sum(1)
        expected = sorted(members - labeled, key=lambda index: -entropies[index])[:50]
        rows = [row for row in run.read_queries() if row.cycle == cycle + 1]
        assert {row.index for row in rows} == set(expected)
        np.testing.assert_allclose([row.score for row in rows], entropies[[row.index for row in rows]], rtol=1e-5)
        labeled |= set(expected)


def test_cycle_0_is_the_same_for_every_strategy(tmp_path):
    runs = [run_experiment(tmp_path / name, strategy) for name, strategy in [("e", Entropy()), ("r", Random()), ("m", Margin())]]
    assert same_weights(weights(runs[0], 0), weights(runs[1], 0))
    assert same_weights(weights(runs[0], 0), weights(runs[2], 0))
    initial = [[row.index for row in run.read_queries() if row.cycle == 0] for run in runs]
    assert initial[0] == initial[1] == initial[2]
    assert without_seconds(runs[0])[0] == without_seconds(runs[1])[0] == without_seconds(runs[2])[0]
    chosen = [[row.index for row in run.read_queries() if row.cycle == 1] for run in runs]
    assert chosen[0] != chosen[1] != chosen[2]


def test_the_same_seed_repeats_a_run_and_another_does_not(tmp_path):
    runs = [run_experiment(tmp_path / f"{i}", data=make_data(seed=seed), seed=seed) for i, seed in enumerate((0, 0, 1))]
    assert runs[0].queries.read_bytes() == runs[1].queries.read_bytes() != runs[2].queries.read_bytes()
    assert same_weights(weights(runs[0], 2), weights(runs[1], 2))
    assert not same_weights(weights(runs[0], 0), weights(runs[2], 0))


FRESH = """
import gc, os, sys
gc.disable()  # it would walk through all that is imported
import torch
from lightning.pytorch import Trainer, Callback
from al_lightning import seeds
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask
from tests.experiments import make_data

# A plain Lightning fit: nothing of the active-learning callback but its seeds.
class Seeded(Callback):
    def on_train_epoch_start(self, trainer, module):
        torch.manual_seed(seeds.derive(0, "epoch", cycle, trainer.current_epoch, 0))

run, *cycles = RunDirectory(sys.argv[1]), *map(int, sys.argv[2:])
cycle = next((cycle for cycle in cycles if os.fork() == 0), None)
if cycle is None:  # each fork has imported this, and done nothing else
    sys.exit(any(os.wait()[1] for _ in cycles))
data = make_data()
data.setup("fit")
for k in range(1, cycle + 1):
    data.pool.label(torch.tensor([row.index for row in run.read_queries() if row.cycle == k]))
task = ClassificationTask(lambda: MLP(width=7, dropout=0.3), lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5))
task.draw_weights(seeds.derive(0, "weights", cycle))
quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
trainer = Trainer(accelerator="cpu", max_epochs=2, callbacks=[Seeded()], **quiet)
trainer.fit(task, datamodule=data)
torch.save(task.state_dict(), f"{cycle}.pt")
os._exit(0)  # not through all that Lightning and torch clean up
"""


def test_a_cycle_equals_a_fresh_process(tmp_path, monkeypatch):
    task = ClassificationTask(lambda: MLP(width=7, dropout=0.3), lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5))
    run = run_experiment(tmp_path / "run", task=task)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    subprocess.run([sys.executable, "-c", FRESH, str(run.path), "0", "2"], check=True, capture_output=True, timeout=120)
    assert all(same_weights(torch.load(f"{cycle}.pt"), weights(run, cycle)) for cycle in (0, 2))


def test_same_initial_weights_or_a_draw_for_each_cycle(tmp_path):
    class Initial(Callback):
        across_cycles = True

        def __init__(self):
            self.seen = []

        def on_train_start(self, trainer, module):
            self.seen.append({name: value.clone() for name, value in module.state_dict().items()})

    seen = {}
    for mode in ("same", "per_cycle"):
        initial = Initial()
        run_experiment(tmp_path / mode, callbacks=(initial,), initial_weights=mode)
        seen[mode] = initial.seen
    assert same_weights(seen["same"][0], seen["same"][2])
    assert not same_weights(seen["per_cycle"][0], seen["per_cycle"][1])
    assert same_weights(seen["same"][0], seen["per_cycle"][0])


class WithBuffer(ClassificationTask):
    """Counts its trainings' epochs, beside the network."""

    def __init__(self, network):
        super().__init__(network)
        self.register_buffer("epochs", torch.zeros(()))

    def on_train_epoch_end(self):
        self.epochs += 1


@pytest.mark.parametrize("task", [lambda: ClassificationTask(WithNorm), lambda: WithBuffer(lambda: MLP(7))])
def test_warm_goes_on_with_the_last_weights(tmp_path, task):
    class Initial(Callback):
        across_cycles = True
        seen: list = []

        def on_train_start(self, trainer, module):
            self.seen.append({name: value.clone() for name, value in module.state_dict().items()})

    run = run_experiment(tmp_path, task=task(), callbacks=(Initial(),), retrain="warm")
    assert same_weights(Initial.seen[1], weights(run, 0))
    assert same_weights(Initial.seen[2], weights(run, 1))


@pytest.mark.parametrize(
    ("arguments", "labeled", "last_query"),
    [
        ({"cycles": 2}, [70, 120], 50),
        ({"cycles": None, "label_budget": 150}, [70, 120, 150], 30),
        ({"cycles": None, "query_size": 400}, [70, 470, 600], 130),
        ({"cycles": 4, "query_size": [20, 30]}, [70, 90, 120, 150], 30),
        ({"cycles": None, "target": {"val/accuracy": 0.0}}, [70], 70),
        ({"cycles": 1}, [70], 70),
    ],
)
def test_reasons_to_stop(tmp_path, arguments, labeled, last_query):
    run = run_experiment(tmp_path, **arguments)
    assert [int(row["labeled"]) for row in run.read_cycles()] == labeled
    queries = run.read_queries()
    assert sum(row.cycle == max(row.cycle for row in queries) for row in queries) == last_query
    assert len(queries) == labeled[-1]


def test_stride_takes_every_second(tmp_path):
    top = run_experiment(tmp_path / "1", cycles=2, query_size=60)
    strided = run_experiment(tmp_path / "2", cycles=2, query_size=30, stride=2)
    ranking = [row.index for row in top.read_queries() if row.cycle == 1]
    assert [row.index for row in strided.read_queries() if row.cycle == 1] == ranking[1::2]


def test_a_list_of_strides_gives_each_cycle_its_own(tmp_path):
    data = make_data()
    run = run_experiment(tmp_path, Order(), data=data, cycles=5, query_size=30, stride=[4, 2, 1])
    rows = run.read_queries()
    left = sorted({*range(5000)} - {row.index for row in rows if row.cycle == 0})
    left = [index for index in left if bool(data.pool.unlabeled[index] | data.pool.labeled[index])]
    for cycle, stride in ((1, 4), (2, 2), (3, 1), (4, 1)):
        queried = [row.index for row in rows if row.cycle == cycle]
        assert queried == left[stride - 1 :: stride][:30]
        left = [index for index in left if index not in queried]


def test_an_order_from_a_file(tmp_path):
    """By name and by index; a resumed run reads it again."""
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(4)).tolist()
    (tmp_path / "order.txt").write_text("\n".join(map(str, order)) + "\n")
    run = run_experiment(tmp_path / "run", FromFile(str(tmp_path / "order.txt")), data=make_data(pool_size=None))
    rows = run.read_queries()
    initial = {row.index for row in rows if row.cycle == 0}
    assert [row.index for row in rows if row.cycle > 0] == [index for index in order if index not in initial][:100]
    assert [row.score for row in rows if row.cycle == 1] == [-order.index(row.index) for row in rows if row.cycle == 1]


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["0", "1", "5000"], r"some of the 5,000 items, .* got 3 lines, of which the first unknown one is '5000'"),
        ([*map(str, range(4999)), "x"], "the first unknown one is 'x'"),
        ([*map(str, range(4999)), "7"], "got 5,000 lines, of which 7 comes twice"),
        (["", " "], r"got 0 lines\. Is it a list of this data set"),
        (None, "can't be read"),
    ],
)
def test_an_order_of_other_data_is_refused(tmp_path, lines, match):
    if lines is not None:
        (tmp_path / "order.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match=match):
        run_experiment(tmp_path / "run", FromFile(str(tmp_path / "order.txt")))
    assert not RunDirectory(tmp_path / "run").holds_run()


def test_what_is_not_in_an_order_comes_after_it(tmp_path):
    (tmp_path / "order.txt").write_text("4321\n7\n")
    run = run_experiment(tmp_path / "run", FromFile(str(tmp_path / "order.txt")), data=make_data(pool_size=None))
    first, *others = (row for row in run.read_queries() if row.cycle > 0)
    initial = {row.index for row in run.read_queries() if row.cycle == 0}
    listed = [index for index in (4321, 7) if index not in initial]
    assert [first.index, *(row.index for row in others)][: len(listed)] == listed
    after = [row.index for row in others[len(listed) - 1 :]]
    assert after != sorted(after) and len(set(after)) == 100 - len(listed)  # in random order


def test_an_oracle_queries_what_the_network_gets_wrong(tmp_path):
    data = make_data()
    run = run_experiment(tmp_path, MostIncorrect(), data=data, cycles=2, query_size=20)
    network = MLP(width=7)
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, 0).items()})
    queried = torch.tensor([row.index for row in run.read_queries() if row.cycle == 1])
    assert (network(data._train.inputs(queried, torch.device("cpu"))).argmax(1) != data._train.labels[queried]).all()


def test_the_whole_pool_is_one_cycle(tmp_path, capsys):
    run = run_experiment(tmp_path, data=make_data(initial_size="all"), trainer={"max_epochs": 1, "check_val_every_n_epoch": 1})
    assert [row["labeled"] for row in run.read_cycles()] == ["600"]
    assert "the pool is used up" in capsys.readouterr().out


def test_best_weights_query(tmp_path):
    checkpoint = ModelCheckpoint(monitor="val/accuracy", mode="max")

    class Spoil(Callback):
        """After the first epoch the model gets worse than guessing."""

        def on_validation_start(self, trainer, module):
            if trainer.current_epoch == 1:
                module.network.output.weight.data.mul_(-1)

    run = run_experiment(
        tmp_path,
        MaxSoftmax(),
        callbacks=(Spoil(), checkpoint),
        query_weights="best",
        trainer={"check_val_every_n_epoch": 1, "max_epochs": 3},
    )
    for cycle, row in enumerate(run.read_cycles()):
        best = [path for path in run.cycle(cycle).iterdir() if path.name != "last.ckpt"]
        assert [path.name for path in best] == [f"epoch=0-step={[3, 4, 6][cycle]}.ckpt"]
        state = torch.load(best[0], weights_only=True)
        assert same_weights(state["state_dict"], weights(run, cycle))
        (score,) = [c["best_model_score"] for name, c in state["callbacks"].items() if "ModelCheckpoint" in name]
        assert float(row["val/accuracy"]) == pytest.approx(float(score))


def accuracy_of(state):
    data = make_data()
    data.setup("fit")
    network = MLP(width=7)
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    with torch.no_grad():
        return float(torch.cat([network(x).argmax(1) == y for x, y, _ in data.val_dataloader()]).float().mean())


def averaging():
    return EMAWeightAveraging(decay=0.9, update_starting_at_step=0)


def test_best_weights_are_in_row_and_checkpoint_with_averaging_too(tmp_path):
    """The average of a later epoch is not what was queried with."""

    class Spoil(Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 2:
                module.network.output.weight.data.mul_(-5)

    run = run_experiment(
        tmp_path,
        MaxSoftmax(),
        callbacks=(Spoil(), averaging(), ModelCheckpoint(monitor="val/accuracy", mode="max")),
        query_weights="best",
        cycles=2,
        trainer={"check_val_every_n_epoch": 1, "max_epochs": 3},
    )
    for cycle, row in enumerate(run.read_cycles()):
        (best,) = [path for path in run.cycle(cycle).iterdir() if path.suffix == ".ckpt" and path.name != "last.ckpt"]
        assert same_weights(torch.load(best, weights_only=True)["state_dict"], weights(run, cycle))
        assert float(row["val/accuracy"]) == pytest.approx(accuracy_of(weights(run, cycle)), abs=1e-6)


def test_an_initial_run_s_weights_are_in_row_and_checkpoint_with_averaging_too(tmp_path):
    first = run_experiment(tmp_path / "first", callbacks=(averaging(),), cycles=1)
    run = run_experiment(tmp_path / "run", callbacks=(averaging(),), cycles=2, initial_run=str(first.path))
    assert run.read_cycles()[0]["val/accuracy"] == first.read_cycles()[0]["val/accuracy"]
    assert same_weights(weights(run, 0), weights(first, 0))


@pytest.mark.parametrize(
    ("callbacks", "got"), [((), "no such callback"), ((ModelCheckpoint(monitor="val/loss", save_top_k=0),), "save_top_k 0")]
)
def test_best_weights_without_a_monitor_are_refused_before_a_training(tmp_path, callbacks, got, monkeypatch):
    monkeypatch.setattr("al_lightning.tasks.Task.training_step", lambda *_: pytest.fail("a training began"))
    with pytest.raises(UserError, match=f"ModelCheckpoint with a monitored metric .*got .*{got}"):
        run_experiment(tmp_path, query_weights="best", callbacks=callbacks)


class Unique:
    def __deepcopy__(self, memo):
        raise TypeError("there is one of it")


@pytest.mark.parametrize("across", [False, True])
def test_a_callback_that_can_not_be_copied_is_refused_or_goes_through_all_cycles(tmp_path, across):
    class Holding(Callback):
        across_cycles = across

        def __init__(self):
            self.held = Unique()

    if across:
        assert run_experiment(tmp_path, callbacks=(Holding(),), cycles=2).is_finished()
    else:
        with pytest.raises(UserError, match=r"callbacks that can be copied, .* but Holding says: there is one of it. Set across_cycles"):
            run_experiment(tmp_path, callbacks=(Holding(),), cycles=2)


def test_a_target_that_is_reached_exactly_is_reached(tmp_path):
    """90 of 100 are a little less than 0.9 in float32, and in a table."""
    budget, pool = Budget(10, 1, None, None, {"val/accuracy": 0.9}), Pool(50)
    for measured in (float(torch.tensor(90.0) / 100), float(f"{float(torch.tensor(90.0) / 100):.9g}"), 0.91):
        assert budget.reason_to_stop(pool, {"val/accuracy": measured}) == "the target is reached"
    assert budget.reason_to_stop(pool, {"val/accuracy": 0.8999}) is None


@pytest.mark.parametrize(("keep", "kept"), [("all", [0, 1, 2]), ("last", [2]), ("none", [])])
def test_checkpoints_kept(tmp_path, keep, kept):
    run = run_experiment(tmp_path, keep=keep)
    assert [cycle for cycle in range(3) if run.checkpoint(cycle).exists()] == kept


def test_early_stopping_limits_and_max_steps_work_in_every_cycle(tmp_path):
    for name, trainer, callbacks, expected in [
        ("steps", {"max_steps": 5, "max_epochs": -1}, (), [5, 5, 5]),
        ("limit", {"limit_train_batches": 2}, (), [4, 4, 4]),
        (
            "early",
            {"max_epochs": 9, "check_val_every_n_epoch": 1},
            (EarlyStopping("val/accuracy", min_delta=9, patience=2, mode="max"),),
            [9, 12, 18],
        ),
    ]:
        count = CountBatches()
        run = run_experiment(tmp_path / name, callbacks=(count, *callbacks), trainer=trainer)
        assert count.cycles == expected
        assert [int(row["train_steps"]) for row in run.read_cycles()] == expected


def test_fast_dev_run_makes_two_short_cycles(tmp_path):
    count = CountBatches()
    run = run_experiment(tmp_path, callbacks=(count,), trainer={"fast_dev_run": True, "check_val_every_n_epoch": 1}, cycles=7)
    assert count.cycles == [1, 1]
    assert not run.checkpoint(0).exists()


def test_no_evaluation_leaves_no_metric_columns(tmp_path):
    run = run_experiment(tmp_path, trainer={"limit_val_batches": 0})
    assert not any(name.startswith("val/") for name in run.read_cycles()[0])


def test_the_evaluation_is_that_of_the_weights_that_query(tmp_path):
    """Where training does not validate after its last step, the cycle does."""
    often = run_experiment(tmp_path / "often", trainer={"check_val_every_n_epoch": 1})
    never = run_experiment(tmp_path / "never", trainer={"check_val_every_n_epoch": 99})
    assert without_seconds(often) == without_seconds(never)


class Nan(Entropy):
    def ranking_keys(self, values, indices, seed):
        keys = super().ranking_keys(values, indices, seed)
        keys[3] = float("nan")
        return keys


def test_a_score_that_is_not_finite_names_cycle_and_item(tmp_path):
    data = make_data()
    with pytest.raises(UserError, match="NaN or infinite in cycle 0") as error:
        run_experiment(tmp_path, Nan(), data=data)
    assert f"the first of them {data.pool.unlabeled_indices[3]}," in str(error.value)
    assert not RunDirectory(tmp_path).holds_run()  # nothing was finished that another start could lose


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"query_size": 0}, "query_size"),
        ({"query_size": [10, 0]}, "query_size"),
        ({"query_size": []}, "query_size to be a number or a list of at least one"),
        ({"cycles": 0}, "cycles of ActiveLearningCallback to be a number >0, got 0"),
        ({"stride": 0}, "stride"),
        ({"stride": [4, 0]}, "stride"),
        ({"stride": []}, "stride to be a number or a list of at least one"),
        ({"retrain": "warm", "keep": "none"}, "keep to be all or last"),
        ({"random_share": 0.1, "keep": "none"}, "keep to be all or last with random_share"),
        ({"target": {"val/miou": 1.0}}, r"metrics from \['val/accuracy', 'val/loss'\], got \['val/miou'\]"),
    ],
)
def test_bad_arguments(tmp_path, arguments, match):
    with pytest.raises(UserError, match=match):
        run_experiment(tmp_path, **arguments)


def test_a_module_that_is_no_task_is_refused(tmp_path):
    from lightning.pytorch.demos.boring_classes import BoringModel

    with pytest.raises(UserError, match=r"Expected a Task and a PoolDataModule .* got BoringModel"):
        run_experiment(tmp_path, task=BoringModel())


def test_the_second_run_in_a_directory_is_refused(tmp_path):
    run = run_experiment(tmp_path)
    before = run.queries.read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        run_experiment(tmp_path)
    assert run.queries.read_bytes() == before


def test_other_callbacks_hear_of_cycles_and_scoring(tmp_path):
    class Listener(Callback):
        across_cycles = True
        cycles: list = []
        scored: list = []

        def on_cycle_end(self, trainer, module, finished):
            self.cycles.append(finished)

        def on_scoring(self, trainer, done, total):
            self.scored.append((done, total))

    run_experiment(tmp_path, callbacks=(Listener(),))
    assert [finished.labeled for finished in Listener.cycles] == [70, 120, 170]
    assert Listener.cycles[0].query.pool_scores.shape == (530,)
    assert Listener.cycles[2].query is None
    assert Listener.cycles[2].logged_steps == 6 + 8 + 12
    assert Listener.scored == [(250, 530), (500, 530), (530, 530), (250, 480), (480, 480)]


def test_other_scores_of_the_whole_pool_are_recorded_from_the_same_pass(tmp_path):
    also = [Margin(), BALD(3, 0.5), Order()]

    def run(name, strategy, **arguments):
        task = ClassificationTask(lambda: MLP(width=7, dropout=0.1))
        return run_experiment(tmp_path / name, strategy, task=task, cycles=2, query_size=9, **arguments)

    recording, plain, margins = run("recording", Entropy(), also_record=also), run("plain", Entropy()), run("margin", Margin())
    assert recording.queries.read_bytes() == plain.queries.read_bytes()  # what is recorded beside decides nothing
    assert not plain.scores(0).exists()
    assert not recording.scores(1).exists()  # the last cycle scores nothing
    table = pandas.read_csv(recording.scores(0))
    assert list(table.columns) == ["index", "item", "score", "Margin", "BALD(passes=3, query_p=0.5)", "Order"]
    assert len(table) == 530 and table["index"].is_monotonic_increasing
    for scored, queried in (("score", recording), ("Margin", margins)):
        first = table.sort_values(scored, ascending=False)[:9]
        rows = [row for row in queried.read_queries() if row.cycle == 1]
        assert set(first["index"]) == {row.index for row in rows}
        np.testing.assert_allclose(first[scored], [row.score for row in rows])


def test_a_score_that_is_the_same_for_all_items_is_reported(tmp_path, capsys):
    run_experiment(tmp_path / "run", Entropy(), also_record=[VoteEntropyOfNothing()], cycles=2)
    assert "VoteEntropyOfNothing gives all 530 items the same score, 0.25" in capsys.readouterr().out


class VoteEntropyOfNothing(Random):
    def ranking_keys(self, values, indices, seed):
        return torch.full((len(indices),), 0.25)


def test_scores_to_record_have_different_names():
    with pytest.raises(UserError, match="each score once"):
        ActiveLearningCallback(Entropy(), 1, also_record=[Entropy()])


def test_a_run_begins_from_the_cycle_0_of_another(tmp_path):
    whole = run_experiment(tmp_path / "whole", Margin())
    initial = run_experiment(tmp_path / "initial", Random(), cycles=1)
    run = run_experiment(tmp_path / "run", Margin(), initial_run=str(initial.path))
    assert run.queries.read_bytes() == whole.queries.read_bytes()
    assert all(same_weights(weights(run, cycle), weights(whole, cycle)) for cycle in range(3))
    own = without_seconds(run)
    assert (own[0]["epochs"], own[0]["train_steps"]) == ("0", "0")  # nothing was trained
    assert [{**own[0], "epochs": "2", "train_steps": "6"}, *own[1:]] == without_seconds(whole)


def test_the_initial_run_decides_cycle_0_alone(tmp_path):
    initial = run_experiment(tmp_path / "initial", Random(), data=make_data(pool_size=None), cycles=1)
    run = run_experiment(tmp_path / "run", Random(), seed=5, data=make_data(seed=5, pool_size=None), cycles=1)
    other = make_data(seed=5, initial_size=9, pool_size=None)
    taken = run_experiment(tmp_path / "taken", Random(), seed=5, data=other, initial_run=str(initial.path), cycles=2)
    first = [row for row in initial.read_queries() if row.cycle == 0]
    assert [row for row in taken.read_queries() if row.cycle == 0] == first
    assert {row.index for row in run.read_queries()} != {row.index for row in first}
    assert same_weights(weights(taken, 0), weights(initial, 0))
    own = run_experiment(tmp_path / "own", Random(), data=make_data(pool_size=None), cycles=2)
    assert [row.index for row in own.read_queries() if row.cycle == 1] != [row.index for row in taken.read_queries() if row.cycle == 1]


def test_an_initial_run_that_does_not_fit_is_refused(tmp_path):
    initial = run_experiment(tmp_path / "initial", Random(), cycles=1)
    for number, (arguments, why) in enumerate(
        [
            ({"task": ClassificationTask(lambda: MLP(width=8))}, "they are those of another network"),
            ({"data": make_data(pool_repeat={"item": 3, "copies": 1})}, "Expected the data that the initial run .* was started with"),
            ({"initial_run": "nowhere"}, "Expected nowhere/environment.json"),
            ({"data": make_data(pool_size=80, initial_seed=4)}, r"but \d+ of its items are not, .* the same data.init_args.pool_seed"),
        ]
    ):
        with pytest.raises(UserError, match=why):
            run_experiment(tmp_path / str(number), **{"initial_run": str(initial.path), **arguments})
        assert not RunDirectory(tmp_path / str(number)).holds_run()  # nothing is left in the way
    initial.checkpoint(0).unlink()
    with pytest.raises(UserError, match=r"Take a run that was made with active_learning\.keep=all"):
        run_experiment(tmp_path / "no checkpoint", initial_run=str(initial.path))


def test_an_initial_set_may_have_a_seed_of_its_own(tmp_path):
    a, b, c = (
        run_experiment(tmp_path / str(s), seed=s, data=make_data(seed=s, initial_seed=i), cycles=1) for s, i in ((1, 7), (2, 7), (3, None))
    )
    assert a.queries.read_bytes() == b.queries.read_bytes() != c.queries.read_bytes()
    assert not same_weights(weights(a, 0), weights(b, 0))
    d = run_experiment(tmp_path / "d", seed=3, data=make_data(seed=3, initial_seed=3), cycles=1)
    assert d.queries.read_bytes() == c.queries.read_bytes()
