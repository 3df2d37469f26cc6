"""DeepLabv3+ (Chen et al., 2018) for images of any size, split where its dropout begins."""

import difflib
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import BatchNorm2d
from torch.nn.functional import conv2d, interpolate, pad

from al_lightning.errors import UserError
from al_lightning.models.freezing import EncoderNetwork
from al_lightning.models.weights import fetching, load_encoder, source_of
from al_lightning.numbers import DropRate, PositiveInt, Share, checked

_STRIDE = 16


class Features(NamedTuple):
    """What comes before the dropout.

    Attributes:
        aspp: output of the pyramid's projection, at stride 16.
        detail: what the encoder's features at stride 4 add to the decoder's convolution.
        size: height and width of the image, without padding.
    """

    aspp: Tensor
    detail: Tensor
    size: tuple[int, int]


class DeepLabV3Plus(EncoderNetwork):
    """DeepLabv3+ around segmentation-models-pytorch: output stride 16, decoder at stride 4.

    It differs from the reference code (TensorFlow's research/deeplab) in that the decoder has one separable convolution before the pyramid
    is upsampled and one after the encoder's features are joined, where the reference has two after they are joined. Options make two
    more things as in the reference: no weight decay of norms and biases (the task's ``decay_norms_and_biases: false``), scales in steps
    (the data's ``scale_step: 0.25``); and a third for an Xception: batch norm's averages (``batch_norm_momentum: 0.0003``, which the
    reference has in a ResNet behind the encoder alone, and 0.05 in it).

    The image is padded with zeros at its right and lower edge to a multiple of 16, and the logits are cropped again: no pixel outside of
    the image reaches a loss, a metric or a score.

    Args:
        num_classes: number of logits.
        encoder: name of the encoder; ``tu-resnet50c`` is a ResNet-50 whose 7x7 stem is three 3x3 convolutions. ``tu-`` names are timm's own
            networks. ``timm-tf_efficientnet_lite0`` takes the same weights as its ``tu-`` twin, but does not pad and normalise as in the
            training of these weights.
        encoder_weights: ``imagenet`` downloads them, ``none`` draws random ones, and a path (.safetensors, .pth) reads them from a file.
        dropout: drop probability after the pyramid in training (``train_p``). A *keep* probability of 0.9 is ``dropout=0.1``.
        atrous_rates: of the pyramid.
        batch_norm_momentum: share of a batch in batch norm's running averages (the reference's decay of 0.9997 is 0.0003); None keeps that
            of each layer.
        freeze_encoder: keep the weights that the encoder begins with, in every cycle: no gradient, batch norm in evaluation mode.

    Raises:
        UserError: there is no such encoder, or it can't have output stride 16; its weights can't be fetched; the file of weights is missing
            or does not fit.
    """

    @checked
    def __init__(
        self,
        num_classes: PositiveInt = 19,
        encoder: str = "tu-resnet50c",
        encoder_weights: str | None = "imagenet",
        dropout: DropRate = 0.1,
        atrous_rates: tuple[PositiveInt, PositiveInt, PositiveInt] = (6, 12, 18),
        batch_norm_momentum: Share | None = None,
        freeze_encoder: bool = False,
    ) -> None:
        super().__init__()
        source = source_of(encoder_weights)
        with fetching(f"the weights of {encoder}") if source == "imagenet" else nullcontext():
            network = _built(
                encoder,
                encoder_weights="imagenet" if source == "imagenet" else None,
                encoder_output_stride=_STRIDE,
                decoder_atrous_rates=atrous_rates,
                decoder_aspp_dropout=dropout,
                classes=num_classes,
            )
        self.encoder, self.decoder, self.head = network.encoder, network.decoder, network.segmentation_head[0]
        for part in self.modules():
            if isinstance(part, BatchNorm2d) and batch_norm_momentum is not None:
                part.momentum = batch_norm_momentum
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
            features = self.encoder(pad(images, (0, -width % _STRIDE, 0, -height % _STRIDE)))
        pyramid = self.decoder.aspp[0]
        branches = torch.cat([branch(features[-1]) for branch in pyramid.convs], dim=1)
        _, detail_weights = self._separable_weights()
        detail = _separable(self.decoder.block1(features[2]), *detail_weights)
        return Features(pyramid.project[:-1](branches), detail, (height, width))

    def tail(self, features: Features) -> Tensor:
        """From the dropout on, to logits ``(B, C, H, W)`` at the image's size."""
        dropped = self.decoder.aspp[0].project[-1](features.aspp)
        upsampled = self.decoder.up(self.decoder.aspp[1:](dropped))
        pyramid_weights, _ = self._separable_weights()
        mixed = _separable(upsampled, *pyramid_weights).add_(features.detail)
        coarse = self.head(self.decoder.block2[1](mixed).relu_())
        height, width = features.size
        # Contiguous, so that classes are not the innermost axis: losses and scores go over classes, and would take longer.
        logits = interpolate(coarse.contiguous(), scale_factor=4, mode="bilinear", align_corners=True)
        return logits[:, :, :height, :width]

    def _separable_weights(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The decoder's separable convolution, for the channels of the pyramid and for those of the detail.

        It is linear in its channels, so the two parts are convolved separately and summed: no dropout pass repeats the detail's part.
        """
        depthwise, pointwise = (convolution.weight for convolution in self.decoder.block2[0])
        pyramid = self.decoder.aspp[1][0].weight.shape[0]
        return (depthwise[:pyramid], pointwise[:, :pyramid]), (depthwise[pyramid:], pointwise[:, pyramid:])

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, normalised, to logits ``(B, C, H, W)``."""
        return self.tail(self.prefix(images))


def _built(encoder: str, **arguments: Any) -> Any:
    """The network of segmentation-models-pytorch."""
    # Imported here, because it takes seconds that a run with an MLP should not pay.
    import timm
    from segmentation_models_pytorch import DeepLabV3Plus as Network
    from segmentation_models_pytorch.encoders import encoders

    if not (timm.is_model(encoder[3:]) if encoder.startswith("tu-") else encoder in encoders or encoder.startswith("timm-")):
        near = difflib.get_close_matches(encoder, [*encoders, *(f"tu-{name}" for name in timm.list_models())], n=5, cutoff=0)
        raise UserError(
            f"Expected an encoder of segmentation-models-pytorch, or one of timm's after tu-, got {encoder!r}. Near it are "
            f"{', '.join(near)}; segmentation_models_pytorch.encoders.get_encoder_names() and timm.list_models() list all."
        )
    try:
        return Network(encoder, **arguments)
    except OSError:  # from fetching weights
        raise
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:  # each encoder refuses strides in its own way
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"Expected an encoder that can have output stride {_STRIDE} for DeepLabv3+, but {encoder} can't: {said}") from error


def _separable(values: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
    """A 3x3 convolution of each channel, then a 1x1 convolution that mixes channels."""
    return conv2d(conv2d(values, depthwise, padding=1, groups=len(depthwise)), pointwise)
