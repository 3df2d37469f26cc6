import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.vgg import cfgs, make_layers

from al_lightning.errors import UserError
from al_lightning.models import SegNet
from tests.models.networks import cached_equals_naive, padding_is_outside


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SegNet(num_classes=5, encoder_weights=None).eval()


def test_any_size_and_padding_outside(network):
    padding_is_outside(network, 32)


def test_unpooling_mirrors_the_encoder(network):
    """13 convolutions on each side; the decoder ends where the encoder began."""
    sides = [[m for m in side.modules() if isinstance(m, torch.nn.Conv2d)] for side in (network.encoder, network.decoder)]
    assert [len(side) for side in sides] == [13, 13]
    assert [(c.in_channels, c.out_channels) for c in sides[1][:-1]] == [(c.out_channels, c.in_channels) for c in sides[0][:0:-1]]


@pytest.mark.parametrize("images", [2, 3])
def test_cached_prefix(network, images):
    cached_equals_naive(network, torch.rand(images, 3, 32, 64))


def test_the_encoder_is_vgg16_bn_from_a_file(tmp_path):
    torch.manual_seed(1)
    vgg = make_layers(cfgs["D"], batch_norm=True).eval()
    save_file({f"features.{name}": value for name, value in vgg.state_dict().items()}, tmp_path / "vgg.safetensors")
    network = SegNet(encoder_weights=str(tmp_path / "vgg.safetensors")).eval()
    images = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        values = images
        for stage in network.encoder:
            values = torch.nn.functional.max_pool2d(stage(values), 2)
        torch.testing.assert_close(values, vgg(images))
    with pytest.raises(UserError, match="no such file"):
        SegNet(encoder_weights="nowhere.pth")
    torch.save({"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}}, tmp_path / "last.ckpt")
    again = SegNet(encoder_weights=str(tmp_path / "last.ckpt"))  # of a run
    assert all(torch.equal(value, again.encoder.state_dict()[name]) for name, value in network.encoder.state_dict().items())
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="the weights of VGG16 in"):
        SegNet(encoder_weights=str(tmp_path / "other.safetensors"))


def test_values_go_back_to_where_poolings_took_them_from(network):
    pool, unpool = torch.nn.MaxPool2d(2, return_indices=True), torch.nn.MaxUnpool2d(2)
    images = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        values, places = images, []
        for stage in network.encoder:
            values, where = pool(stage(values))
            places.append(where)
        for stage in network.decoder:
            values = stage(unpool(values, places.pop()))
        torch.testing.assert_close(network(images), network.head(values))
