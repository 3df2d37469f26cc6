import math

import pytest
import sklearn.metrics
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback

from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask
from tests.experiments import make_data, same_weights


def fit(task, data=None, **arguments):
    settings = {
        "max_epochs": 3,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = Trainer(accelerator="cpu", **{**settings, **arguments})
    trainer.fit(task, datamodule=data or make_data(initial_size=333))
    return trainer


def make_task(**arguments):
    torch.manual_seed(0)
    return ClassificationTask(lambda: MLP(width=7, dropout=0.3), **arguments)


def test_metrics_against_sklearn():
    task = make_task()
    trainer = fit(task, make_data(initial_size=333, eval_batch_size=300), max_epochs=1)  # of 1000, the last batch has 100
    task.eval()
    with torch.no_grad():
        pairs = [(task(inputs), labels) for inputs, labels, _ in trainer.datamodule.val_dataloader()]
    logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    assert float(trainer.callback_metrics["val/accuracy"]) == pytest.approx(sklearn.metrics.accuracy_score(labels, logits.argmax(1)))
    expected = sklearn.metrics.log_loss(labels, logits.double().softmax(1), labels=range(10))
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(expected, rel=1e-5)
    assert "train/loss" in trainer.callback_metrics


@pytest.mark.parametrize("block", [2, 5, 1000])
@pytest.mark.parametrize("scheduled", [False, True])
def test_blocks_give_bit_identical_weights(block, scheduled):
    scheduler = (lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)) if scheduled else None
    results = []
    for size in (1, block):
        task = make_task(block=size, lr_scheduler=scheduler)
        torch.manual_seed(5)  # of the dropout
        trainer = fit(task, num_sanity_val_steps=0)
        assert trainer.global_step == 3 * math.ceil(333 / 32)
        results.append((task.state_dict(), float(trainer.callback_metrics["train/loss"])))
    assert same_weights(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_blocks_stop_at_max_steps():
    task = make_task(block=4)
    assert fit(task, max_epochs=-1, max_steps=17).global_step == 17
    assert fit(make_task(block=4), fast_dev_run=True).global_step == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"gradient_clip_val": 1.0}, "gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches"),
        ({"precision": "bf16-mixed"}, "precision bf16-mixed"),
        ({"limit_train_batches": 3}, "limit_train_batches"),
        ({"limit_train_batches": 1}, "limit_train_batches"),
    ],
)
def test_what_blocks_can_not_do_is_refused(arguments, match):
    with pytest.raises(UserError, match=f"{match}.*Set block to 1"):
        fit(make_task(block=4), **arguments)
    with pytest.raises(UserError, match="block of ClassificationTask to be a number >0"):
        make_task(block=0)


class LooksAtGradients(Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        pass


class ClipsByItself(ClassificationTask):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        pass


def test_hooks_of_single_steps_are_refused_with_blocks():
    looks = [LooksAtGradients(), LambdaCallback(on_train_batch_end=print), LambdaCallback(on_after_backward=print)]
    with pytest.raises(UserError, match=r"of LooksAtGradients, on_after_backward of LambdaCallback\. Set block to 1"):
        fit(make_task(block=4), callbacks=looks)
    with pytest.raises(UserError, match=r"configure_gradient_clipping of ClipsByItself\. Set block to 1"):
        fit(ClipsByItself(lambda: MLP(width=7), block=4))


def test_blocks_refuse_a_plateau_scheduler():
    from lightning.pytorch.cli import ReduceLROnPlateau

    def scheduler(optimizer):
        return ReduceLROnPlateau(optimizer, monitor="val/loss")

    fit(make_task(lr_scheduler=scheduler), max_epochs=1)
    with pytest.raises(UserError, match="ReduceLROnPlateau"):
        fit(make_task(lr_scheduler=scheduler, block=4))


def test_drawn_weights_are_those_of_a_new_network_in_place():
    task = make_task()
    parameters = list(task.network.parameters())
    torch.manual_seed(99)
    state = torch.get_rng_state()
    task.draw_weights(7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert same_weights(task.network.state_dict(), MLP(width=7).state_dict())
    assert all(a is b for a, b in zip(task.network.parameters(), parameters, strict=True))


@pytest.mark.parametrize("block", [1, 3])
def test_a_loss_that_is_not_finite_names_cycle_step_and_items(block):
    class Poison(Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                self.order = torch.cat([i for *_, i in make_batches(trainer)])

    def make_batches(trainer):
        loader = trainer.datamodule.train_dataloader()
        loader.sampler.set_epoch(1)
        return [batch for part in loader for batch in (part if isinstance(part, list) else [part])]

    class Diverging(ClassificationTask):
        seen = 0

        def loss(self, inputs, targets):
            self.seen += 1
            return super().loss(inputs, targets) * (math.nan if self.seen == 5 else 1)

    poison = Poison()
    task = Diverging(lambda: MLP(width=3), block=block)
    with pytest.raises(UserError, match="The loss became nan in cycle 0, epoch 1, step 1 of it") as error:
        fit(task, make_data(initial_size=80), callbacks=[poison])
    assert ", ".join(str(int(i)) for i in poison.order[32:40]) in str(error.value)


def test_half_precision_that_diverges_is_named_as_the_cause():
    with pytest.raises(UserError, match="Adam's eps of 1e-8 is 0: use precision bf16-true"):
        fit(ClassificationTask(lambda: MLP(width=3)), make_data(initial_size=80), precision="16-true")
