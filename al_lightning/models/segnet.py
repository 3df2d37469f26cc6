"""SegNet (Badrinarayanan et al., 2017) with the dropout of Bayesian SegNet (Kendall et al., 2017)."""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, max_unpool2d, pad

from al_lightning.models.freezing import EncoderNetwork
from al_lightning.models.weights import fetching, fits_encoder, load_encoder, source_of
from al_lightning.numbers import DropRate, PositiveInt, checked

_STRIDE = 32
_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = (2, 2, 3, 3, 3)


class Features(NamedTuple):
    """What comes before the first dropout.

    Attributes:
        encoded: output of the third stage, pooled, at stride 8.
        indices: of the maxima in the first three poolings.
        size: height and width of the image, without padding.
    """

    encoded: Tensor
    indices: tuple[Tensor, ...]
    size: tuple[int, int]


def _block(channels: list[int]) -> nn.Sequential:
    """3x3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(channels):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class VGG16(nn.ModuleDict):
    """The layers of torchvision's network; errors call it by the name of this class."""


class SegNet(EncoderNetwork):
    """VGG16's convolutions with batch norm, and a mirrored decoder that puts values back to where the encoder's poolings took them from.

    Dropout follows the third to fifth encoder stage and the first three decoder stages. The image is padded with zeros at its right
    and lower edge to a multiple of 32, and the logits are cropped again.

    Args:
        num_classes: number of logits.
        encoder_weights: ``imagenet`` downloads those of torchvision's VGG16-BN, ``none`` draws random ones, and a path (.safetensors, .pth)
            reads them from a file.
        dropout: drop probability in training (``train_p``).
        freeze_encoder: keep the weights that the encoder begins with, in every cycle: no gradient, batch norm in evaluation mode.

    Raises:
        UserError: the weights can't be fetched; the file of weights is missing or does not fit.
    """

    encoder: nn.ModuleList

    @checked
    def __init__(
        self,
        num_classes: PositiveInt = 19,
        encoder_weights: str | None = "imagenet",
        dropout: DropRate = 0.5,
        freeze_encoder: bool = False,
    ) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        before = 3
        for channels, count in zip(_CHANNELS, _CONVOLUTIONS, strict=True):
            encoder.append(_block([before, *[channels] * count]))
            decoder.insert(0, _block([*[channels] * count, before if before > 3 else channels]))
            before = channels
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.dropout = nn.ModuleList(nn.Dropout(dropout) for _ in range(6))
        self.head = nn.Conv2d(_CHANNELS[0], num_classes, 3, padding=1)
        source = source_of(encoder_weights)
        self._load(source)
        if freeze_encoder:
            self.freeze_encoder(source)

    def _load(self, source: str | Path) -> None:
        if source == "none":
            return
        if source != "imagenet" and fits_encoder(self.encoder, Path(source)):  # a run's checkpoint
            load_encoder(self.encoder, Path(source))
            return
        from torchvision.models.vgg import VGG16_BN_Weights, cfgs, make_layers

        # Under VGG16's own names: one list of layers, with the poolings among them.
        vgg = VGG16({"features": make_layers(cfgs["D"], batch_norm=True)})
        if source == "imagenet":
            with fetching("torchvision's VGG16-BN"):
                vgg.load_state_dict(VGG16_BN_Weights.IMAGENET1K_V1.get_state_dict(progress=False), strict=False)
        else:
            load_encoder(vgg, Path(source))
        theirs = [layer for layer in vgg["features"].children() if not isinstance(layer, nn.MaxPool2d)]
        ours = [layer for stage in self.encoder for layer in stage.children()]
        for layer, given in zip(ours, theirs, strict=True):
            layer.load_state_dict(given.state_dict())

    def prefix(self, images: Tensor) -> Features:
        """The first three stages: what comes before the first dropout.

        Args:
            images: ``(B, 3, H, W)``, normalised.
        """
        height, width = images.shape[2:]
        encoded, indices = pad(images, (0, -width % _STRIDE, 0, -height % _STRIDE)), []
        with self.encoding(images):
            for stage in self.encoder[:3]:
                encoded, places = max_pool2d(stage(encoded), 2, return_indices=True)
                indices.append(places)
        return Features(encoded, tuple(indices), (height, width))

    def tail(self, features: Features) -> Tensor:
        """From the first dropout on, to logits ``(B, C, H, W)`` at the image's size."""
        values, indices = self.dropout[0](features.encoded), [*features.indices]
        with self.encoding(values):
            for stage, dropout in zip(self.encoder[3:], self.dropout[1:3], strict=True):
                values, places = max_pool2d(stage(values), 2, return_indices=True)
                values = dropout(values)
                indices.append(places)
        for number, stage in enumerate(self.decoder):
            values = stage(max_unpool2d(values, indices.pop(), [2, 2]))
            if number < 3:
                values = self.dropout[3 + number](values)
        height, width = features.size
        logits: Tensor = self.head(values)
        return logits[:, :, :height, :width]

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, normalised, to logits ``(B, C, H, W)``."""
        return self.tail(self.prefix(images))
