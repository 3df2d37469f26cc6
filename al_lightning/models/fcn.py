"""FCN (Long et al., 2015), as torchvision builds it: a ResNet-50 with atrous convolutions, output stride 8."""

from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import interpolate

from al_lightning.models.freezing import EncoderNetwork
from al_lightning.models.weights import fetching, load_encoder, source_of
from al_lightning.numbers import DropRate, PositiveInt, checked


class Features(NamedTuple):
    """What comes before the dropout.

    Attributes:
        hidden: output of the head's first layers, at stride 8.
        size: height and width of the image.
    """

    hidden: Tensor
    size: tuple[int, int]


class FCN(EncoderNetwork):
    """A fully convolutional network around torchvision's; its dropout precedes the last convolution.

    Args:
        num_classes: number of logits.
        encoder_weights: ``imagenet`` downloads those of torchvision's ResNet-50, ``none`` draws random ones, and a path (.safetensors,
            .pth) reads them from a file.
        dropout: drop probability in training (``train_p``).
        freeze_encoder: keep the weights that the encoder begins with, in every cycle: no gradient, batch norm in evaluation mode.

    Raises:
        UserError: the weights can't be fetched; the file of weights is missing or does not fit.
    """

    @checked
    def __init__(
        self,
        num_classes: PositiveInt = 19,
        encoder_weights: str | None = "imagenet",
        dropout: DropRate = 0.1,
        freeze_encoder: bool = False,
    ) -> None:
        from torchvision.models import ResNet50_Weights
        from torchvision.models.segmentation import fcn_resnet50

        super().__init__()
        source = source_of(encoder_weights)
        downloaded = ResNet50_Weights.IMAGENET1K_V1 if source == "imagenet" else None
        with fetching("torchvision's ResNet-50") if downloaded else nullcontext():
            network = fcn_resnet50(weights=None, weights_backbone=downloaded, num_classes=num_classes)
        self.encoder, self.head = network.backbone, nn.Sequential(*network.classifier)
        self.head[3] = nn.Dropout(dropout)
        if isinstance(source, Path):
            load_encoder(self.encoder, source)
        if freeze_encoder:
            self.freeze_encoder(source)

    def prefix(self, images: Tensor) -> Features:
        """Everything before the dropout.

        Args:
            images: ``(B, 3, H, W)``, normalised.
        """
        height, width = images.shape[2:]
        with self.encoding(images):
            features = self.encoder(images)["out"]
        return Features(self.head[:3](features), (height, width))

    def tail(self, features: Features) -> Tensor:
        """From the dropout on, to logits ``(B, C, H, W)`` at the image's size."""
        coarse = self.head[3:](features.hidden).contiguous()  # for the reason in DeepLabV3Plus.tail
        return interpolate(coarse, size=features.size, mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, normalised, to logits ``(B, C, H, W)``."""
        return self.tail(self.prefix(images))
