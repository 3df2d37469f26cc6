import pytest
import torch
from segmentation_models_pytorch import losses
from torch import nn

from al_lightning.acquisition import Entropy
from al_lightning.acquisition.inference import for_network
from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask
from al_lightning.tasks.fitting import agreed_classes, depends_on_others, needs_two_items, refuse_other_loss, refuse_other_network
from tests.experiments import run_experiment

PIXELS = torch.rand(1, 3, 9, 7)
ITEMS = torch.rand(1, 1, 4, 4)


def still(layer):
    return layer.eval()


@pytest.mark.parametrize(
    ("stated", "data", "agreed"),
    [
        (None, ["a", "b"], ["a", "b"]),
        (2, ["a", "b"], ["a", "b"]),
        (["c", "d"], ["a", "b"], ["c", "d"]),
        (["a", "d"], ["a", "b"], ["a", "d"]),
        (["c"], None, ["c"]),
        (2, None, ["0", "1"]),
    ],
)
def test_a_task_takes_the_names_of_the_data_or_gives_its_own(stated, data, agreed):
    assert agreed_classes(stated, data, "classes") == agreed


@pytest.mark.parametrize(
    ("stated", "data", "match"),
    [
        (3, ["a", "b"], r"the 2 classes of the data \(a, b\), got model.init_args.classes for 3"),
        (["a"], ["a", "b"], r"for 1 \(a\)"),
        (["b", "a"], ["a", "b"], r"for 2 \(b, a\)"),
        (None, None, "got neither"),
    ],
)
def test_other_numbers_and_swapped_names_are_refused(stated, data, match):
    with pytest.raises(UserError, match=match):
        agreed_classes(stated, data, "classes")


class Asserting(nn.Module):
    def forward(self, inputs):
        raise AssertionError("wrong size")


@pytest.mark.parametrize(
    ("network", "example", "match"),
    [
        (
            nn.Conv2d(3, 6, 1),
            PIXELS,
            r"5x9x7 outputs of Conv2d for an input of 3x9x7, .* 5 classes of the data \(a, b, c, d, e\), got 6x9x7",
        ),
        (nn.Conv2d(3, 5, 3, stride=2), PIXELS, "got 5x4x3"),
        (nn.Conv2d(1, 5, 1), PIXELS, "inputs of 3x9x7, as the data have, but Conv2d can't take them: "),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), ITEMS, "Expected 5 outputs of Sequential .*got 4"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), ITEMS, "inputs of 1x4x4"),
        (nn.Conv2d(1, 5, 1), ITEMS, "Expected 5 outputs .*got 5x4x4"),
        (nn.MaxPool2d(2, return_indices=True), ITEMS, "got tuple"),
        (Asserting(), ITEMS, r"Asserting can't take them: wrong size\. Change"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), ITEMS, "layers know their sizes, .* but 1.weight of Sequential is lazy"),
    ],
)
def test_networks_that_do_not_fit_the_data_are_refused(network, example, match):
    with pytest.raises(UserError, match=match):
        refuse_other_network(network, example, list("abcde"), dense=example is PIXELS)


@pytest.mark.parametrize(
    ("network", "example", "needs"),
    [
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 5)), ITEMS, True),
        (nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 5)), ITEMS, False),
        (nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), nn.Flatten(), nn.Linear(16, 5)), ITEMS, False),  # of many pixels
        (nn.Sequential(nn.Flatten(), still(nn.BatchNorm1d(16)), nn.Linear(16, 5)), ITEMS, False),  # as a frozen encoder's
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 5)).double(), ITEMS, True),
    ],
)
def test_a_network_that_was_asked_is_as_it_was(network, example, needs):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes, state = [part.training for part in network.modules()], torch.get_rng_state()
    refuse_other_network(network, example, list("abcde"), dense=False)
    assert needs_two_items(network, example) == needs
    assert [part.training for part in network.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class AlwaysDropped(nn.Module):
    def forward(self, inputs):
        return nn.functional.dropout(inputs.flatten(1)[:, :5], 0.5, training=True)


class Mixed(nn.Module):
    """Reads the batch in the wrong order of axes."""

    def forward(self, inputs):
        return inputs.flatten(1).T.reshape(len(inputs), -1)[:, :5]


@pytest.mark.parametrize(
    ("network", "depends"),
    [
        (nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), nn.Flatten(), nn.Linear(16, 5)), False),
        (nn.Sequential(nn.InstanceNorm2d(1), nn.Flatten(), nn.Linear(16, 5)), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 5)).double(), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 5)).bfloat16(), False),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(16, 5)), True),
        (AlwaysDropped(), True),
        (Mixed(), True),
    ],
)
def test_a_network_whose_answer_depends_on_the_rest_of_the_batch_is_found(network, depends):
    assert depends_on_others(network, ITEMS) == depends
    assert all(part.training for part in network.modules())


class LooksUp(nn.Module):
    """Takes numbers from 0 to 1."""

    def __init__(self):
        super().__init__()
        self.colours = nn.Embedding(256, 3)

    def forward(self, inputs):
        return self.colours((inputs.flatten(1) * 255).long()).mean(1)


def test_numbers_are_not_put_where_a_network_takes_integers_or_not_these():
    assert not depends_on_others(LooksUp(), torch.rand(1, 1, 4, 4))
    assert not depends_on_others(nn.Embedding(4, 5), torch.tensor([[3]]))


class Scaled(nn.Module):
    """Cross-entropy times a factor, which is trained or not a number."""

    def __init__(self, factor, trained=False):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor), requires_grad=trained)

    def forward(self, logits, targets):
        return self.factor * nn.functional.cross_entropy(logits, targets)


@pytest.mark.parametrize("classes", [2, 3, 19])
def test_losses_that_leave_out_what_is_ignored_are_taken_and_others_refused(classes):
    for good in (losses.DiceLoss, losses.FocalLoss, losses.LovaszLoss, losses.TverskyLoss):
        refuse_other_loss(good("multiclass", ignore_index=255), classes, dense=True)
        with pytest.raises(UserError, match="ignore_index: 255"):
            refuse_other_loss(good("multiclass"), classes, dense=True)


def test_weights_of_classes_are_no_hindrance():
    """A buffer that the gradient needs."""
    for dense in (False, True):
        refuse_other_loss(nn.CrossEntropyLoss(weight=torch.tensor([0.5, 1, 2]), ignore_index=255), 3, dense)


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (Scaled(1.0, trained=True), "a loss without parameters to train, got Scaled"),
        (Scaled(float("nan")), "a finite loss, but Scaled gives nan"),
        (nn.CrossEntropyLoss(reduction="none"), "CrossEntropyLoss says: grad can be implicitly created only for scalar outputs$"),
        (nn.BCEWithLogitsLoss(), "BCEWithLogitsLoss says: Target size"),
    ],
)
def test_losses_that_cannot_train_are_refused(loss, match):
    refuse_other_loss(nn.CrossEntropyLoss(), 5, dense=False)
    with pytest.raises(UserError, match=match):
        refuse_other_loss(loss, 5, dense=False)


class InStages(nn.Module):
    """Its two parts are not what ``forward`` is, if it is shifted."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.body, self.dropout, self.head, self.shift = nn.Linear(16, 6), nn.Dropout(), nn.Linear(6, 5), shift

    def prefix(self, inputs):
        return self.body(inputs.flatten(1)).relu()

    def tail(self, features):
        return self.head(self.dropout(features))

    def forward(self, inputs):
        return self.tail(self.prefix(inputs + self.shift))


def test_parts_that_are_not_the_whole_are_refused():
    refuse_other_network(InStages(), torch.rand(1, 1, 4, 4), "abcde", False)
    with pytest.raises(UserError, match=r"forward of InStages to be tail\(prefix\(inputs\)\)"):
        refuse_other_network(InStages(3.0), torch.rand(1, 1, 4, 4), "abcde", False)


class Typed(nn.Module):
    """Its first weights are of another type than its inputs."""

    def __init__(self, first, dtype):
        super().__init__()
        self.first, self.head = first.to(dtype), nn.Linear(16, 5)

    def forward(self, inputs):
        assert inputs.dtype == torch.float32
        return self.head(inputs.flatten(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64], ids=str)
def test_inputs_stay_as_they_are_where_weights_have_several_types(dtype):
    refuse_other_network(Typed(nn.Linear(2, 2), dtype), torch.rand(1, 1, 4, 4), "abcde", False)
    assert for_network(nn.Linear(2, 2).double(), torch.rand(3)).dtype == torch.float64


def test_integers_stay_integers():
    network = nn.Sequential(nn.Embedding(9, 5), nn.Flatten(), nn.Linear(20, 5))
    refuse_other_network(network, torch.tensor([[1, 2, 3, 8]]), "abcde", False)


class Fourier(MLP):
    def __init__(self, persistent):
        super().__init__(7)
        self.register_buffer("frequencies", torch.randn(3), persistent=persistent)
        self.register_buffer("grid", torch.linspace(0, 1, 4), persistent=False)


def test_random_numbers_that_no_checkpoint_has_are_warned_of(caplog):
    for persistent, warned in ((False, 1), (True, 0)):
        caplog.clear()
        task = ClassificationTask(lambda persistent=persistent: Fourier(persistent))
        for seed in (1, 2):
            task.draw_weights(seed)
        said = [record.getMessage() for record in caplog.records if "is drawn at random" in record.getMessage()]
        assert len(said) == warned and all("the buffer frequencies of Fourier" in line for line in said)


class ForwardOfItsOwn(ClassificationTask):
    def forward(self, inputs):
        return self.network(3 - 5 * inputs)


class TheSameForward(ClassificationTask):
    def forward(self, inputs):
        return self.network(1 * inputs)


class NormalizesBatches(ClassificationTask):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return (batch[0] - 0.5, *batch[1:])


class AugmentsBatches(ClassificationTask):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return (batch[0] + 0.1 * torch.randn_like(batch[0]), *batch[1:]) if self.trainer.training else batch


class TransfersOtherBatches(FashionMNISTSampleDataModule):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        return (batch[0] * 2, *batch[1:])


class AugmentsInItsTrainingMode(ClassificationTask):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return (batch[0] + 0.5, *batch[1:]) if self.training else batch


class HalvesAndDoubles(ClassificationTask):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        torch.bincount(batch[1])
        return (batch[0] / 2, *batch[1:])

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return (batch[0] * 2, *batch[1:])


class LogsInForward(ClassificationTask):
    def forward(self, inputs):
        logits = self.network(inputs)
        if self.trainer.training:
            self.log("train/mean", logits.mean())
        return logits


class HeadBesideTheNetwork(ClassificationTask):
    def __init__(self, network):
        super().__init__(network)
        self.aux = nn.Linear(3, 2)


class TeacherBesideTheNetwork(HeadBesideTheNetwork):
    def __init__(self, network):
        super().__init__(network)
        self.aux.requires_grad_(False)


class SavesEverything(ClassificationTask):
    def __init__(self, network, rate=0.1):
        super().__init__(network)
        self.save_hyperparameters()


class SavesNumbers(ClassificationTask):
    def __init__(self, network, rate=0.1):
        super().__init__(network)
        self.save_hyperparameters(ignore=["network"])


def data(module=FashionMNISTSampleDataModule):
    return module(initial_size=70, pool_size=300, eval_batch_size=250)


@pytest.mark.parametrize(
    ("task", "module", "said"),
    [
        (ForwardOfItsOwn, FashionMNISTSampleDataModule, r"forward of ForwardOfItsOwn to be network\(inputs\).*put it into the network"),
        (
            NormalizesBatches,
            FashionMNISTSampleDataModule,
            "on_after_batch_transfer of NormalizesBatches to change inputs in training",
        ),
        (ClassificationTask, TransfersOtherBatches, "on_before_batch_transfer of TransfersOtherBatches to change inputs in training alone"),
        (HeadBesideTheNetwork, FashionMNISTSampleDataModule, r"got aux.weight, aux.bias.*anew in each cycle"),
        (SavesEverything, FashionMNISTSampleDataModule, r"SavesEverything, got other values for network.*ignore=\['network'\]"),
    ],
)
def test_what_would_be_scored_drawn_or_stored_otherwise_is_refused(tmp_path, task, module, said):
    with pytest.raises(UserError, match=said):
        run_experiment(tmp_path, Entropy(), task=task(MLP), data=data(module), cycles=2)


@pytest.mark.parametrize(
    "task",
    [
        *(TheSameForward, AugmentsBatches, AugmentsInItsTrainingMode, HalvesAndDoubles, LogsInForward),
        *(TeacherBesideTheNetwork, SavesNumbers),
    ],
)
def test_what_is_the_same_while_it_scores_is_not_refused(tmp_path, task):
    run_experiment(tmp_path, Entropy(), task=task(MLP), data=data(), cycles=2)
