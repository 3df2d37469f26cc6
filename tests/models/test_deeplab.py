import socket
import time
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from segmentation_models_pytorch import DeepLabV3Plus as Reference
from torch import nn

from al_lightning.acquisition.inference import Batch, dropout_passes
from al_lightning.errors import UserError
from al_lightning.models import FCN, DeepLabV3Plus, SegNet
from tests.models.networks import cached_equals_naive, padding_is_outside

ROOT = Path(__file__).parents[2]
SMALL = {"encoder": "tu-resnet18", "encoder_weights": None, "num_classes": 5}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DeepLabV3Plus(**SMALL).eval()


def test_logits_are_those_of_segmentation_models_pytorch(network):
    reference = Reference("tu-resnet18", encoder_weights=None, classes=5, decoder_atrous_rates=(6, 12, 18)).eval()
    reference.encoder.load_state_dict(network.encoder.state_dict())
    reference.decoder.load_state_dict(network.decoder.state_dict())
    reference.segmentation_head[0].load_state_dict(network.head.state_dict())
    images = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        torch.testing.assert_close(network(images), reference(images))


def test_any_size_and_padding_outside(network):
    padding_is_outside(network, 16)


def test_cached_prefix_equals_naive_passes_with_the_same_masks(network):
    cached_equals_naive(network, torch.rand(2, 3, 32, 48), passes=4)


def test_an_image_has_the_same_masks_in_any_batch(network):
    images, indices = torch.rand(3, 3, 32, 32), torch.tensor([7, 3, 5])
    with torch.no_grad(), dropout_passes(network, 3, 0.5, seed=2) as logits_of:
        together = torch.cat(list(logits_of(Batch(network, images, indices))))
        alone = torch.cat(list(logits_of(Batch(network, images[2:], indices[2:]))))
    torch.testing.assert_close(together[:, 2:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_encoder_weights_from_a_file(tmp_path, network, suffix):
    # As timm saves them: without the wrapper's prefix, with a classification head.
    state = {name.removeprefix("model."): value for name, value in network.encoder.state_dict().items()} | {"fc.weight": torch.zeros(2, 2)}
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"state_dict": state}, path)
    loaded = DeepLabV3Plus(**{**SMALL, "encoder_weights": str(path)})
    for name, value in loaded.encoder.state_dict().items():
        assert torch.equal(value, network.encoder.state_dict()[name])
    with pytest.raises(UserError, match=r"are missing and \d+ have another shape, the first model"):
        DeepLabV3Plus(encoder="tu-resnet50c", encoder_weights=str(path))


def test_encoder_weights_behind_prefixes(tmp_path, network):
    """What others call them around the names; a run's own checkpoint; and a file with two encoders in it, of which none is meant."""
    own = network.encoder.state_dict()
    bare = {name.removeprefix("model."): value for name, value in own.items()}
    files = {
        "parallel": {"model": {f"module.{name}": value for name, value in bare.items()}, "epoch": 3},
        "self-supervised": {f"module.backbone.{name}": value for name, value in bare.items()} | {"module.head.weight": torch.ones(2)},
        "run": {"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}},
        "teacher": {f"{who}.{name}": value for who in ("student", "teacher") for name, value in bare.items()},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
    for name in ("parallel", "self-supervised", "run"):
        loaded = DeepLabV3Plus(**{**SMALL, "encoder_weights": str(tmp_path / f"{name}.pth")}).encoder.state_dict()
        assert all(torch.equal(value, own[key]) for key, value in loaded.items())
    with pytest.raises(
        UserError, match=r"weights of one encoder in .*teacher.pth, but several fit: their names begin with 'student\.', 'teacher\.'"
    ):
        DeepLabV3Plus(**{**SMALL, "encoder_weights": str(tmp_path / "teacher.pth")})


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("resnet999", "got 'resnet999'. Near it are resnet"),
        ("tu-resnet50cc", "Near it are tu-resnet50c,"),
        ("tu-vgg11", "can have output stride 16 for DeepLabv3+, but tu-vgg11 can't"),
        ("densenet121", "do not support dilated mode"),
    ],
)
def test_an_encoder_that_there_is_not(encoder, said):
    with pytest.raises(UserError) as error:
        DeepLabV3Plus(encoder=encoder, encoder_weights=None)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("make", [lambda: DeepLabV3Plus(encoder="tu-resnet18"), lambda: DeepLabV3Plus(encoder="resnet18"), FCN, SegNet])
def test_without_internet_weights_that_can_not_be_fetched_are_one_error_soon(tmp_path, monkeypatch, make):
    def unreachable(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(
        UserError, match=r"Expected to fetch .* for encoder_weights imagenet, but that failed: .*name a .safetensors"
    ) as error:
        make()
    assert time.monotonic() - started < 30 and "\n" not in str(error.value)
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_bad_files_of_weights(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        DeepLabV3Plus(**{**SMALL, "encoder_weights": "nowhere.pth"})
    for name in ("bad.safetensors", "bad.pth", "empty.pth"):
        (tmp_path / name).write_bytes(b"no weights" if "bad" in name else b"")
        with pytest.raises(UserError, match="can't be read"):
            DeepLabV3Plus(**{**SMALL, "encoder_weights": str(tmp_path / name)})


def test_the_encoder_for_camvid_computes_what_its_weights_were_made_for(tmp_path):
    # Another port of the network takes the same weights, but pads elsewhere and adds another epsilon to small variances.
    config = yaml.safe_load((ROOT / "configs" / "camvid" / "entropy.yaml").read_text())
    encoder = config["model"]["init_args"]["network"]["init_args"]["encoder"]
    torch.manual_seed(5)
    original = timm.create_model("tf_efficientnet_lite0").eval()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(1e-3, 1.0)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    ours = DeepLabV3Plus(encoder=encoder, encoder_weights=str(tmp_path / "weights.pth")).encoder.eval()
    images = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        expected = original.forward_intermediates(images, indices=4, intermediates_only=True)
        found = ours(images)
    for stride in (4, 8, 16):
        (theirs,) = (features for features in expected if features.shape[-2:] == (48 // stride, 80 // stride))
        mine = next(features for features in found if features.shape == theirs.shape)
        torch.testing.assert_close(mine, theirs)


def test_the_shared_efficientnet_weights():
    path = ROOT.parent / "shared" / "data" / "weights" / "tf_efficientnet_lite0.safetensors"
    if not path.is_file():
        pytest.skip(f"the weights are not here: {path}")
    DeepLabV3Plus(encoder="tu-tf_efficientnet_lite0", encoder_weights=str(path))


def test_batch_norms_average_as_asked():
    momenta = [
        {part.momentum for part in DeepLabV3Plus(**SMALL, **given).modules() if isinstance(part, nn.BatchNorm2d)}
        for given in ({}, {"batch_norm_momentum": 0.0003})
    ]
    assert momenta == [{0.1}, {0.0003}]
