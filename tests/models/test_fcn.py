import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50
from torchvision.models.segmentation import fcn_resnet50

from al_lightning.models import FCN
from tests.models.networks import cached_equals_naive


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FCN(num_classes=5, encoder_weights=None).eval()


def test_logits_are_those_of_torchvision(network):
    reference = fcn_resnet50(weights=None, weights_backbone=None, num_classes=5).eval()
    reference.backbone.load_state_dict(network.encoder.state_dict())
    reference.classifier.load_state_dict(network.head.state_dict())
    images = torch.rand(2, 3, 34, 61)
    with torch.no_grad():
        torch.testing.assert_close(network(images), reference(images)["out"])


def test_cached_prefix(network):
    cached_equals_naive(network, torch.rand(2, 3, 32, 41))


def test_encoder_weights_from_a_file(tmp_path):
    torch.manual_seed(1)
    state = resnet50(weights=None).state_dict()
    save_file(state, tmp_path / "resnet50.safetensors")
    loaded = FCN(encoder_weights=str(tmp_path / "resnet50.safetensors")).encoder.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())
