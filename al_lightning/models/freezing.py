"""An encoder that keeps the weights that it begins with."""

import warnings
from typing import Self

import torch
from torch import Tensor, nn


class EncoderNetwork(nn.Module):
    """A network whose ``encoder`` can be frozen: it gets no gradient, and its batch norms keep their statistics.

    A subclass runs its encoder inside :meth:`encoding`.
    """

    encoder: nn.Module
    encoder_is_frozen = False

    def freeze_encoder(self, source: object) -> None:
        """Freezes the encoder for good, and warns if its weights were never trained.

        Args:
            source: of its weights, as from :func:`~al_lightning.models.weights.source_of`.
        """
        if source == "none":
            warnings.warn(
                "freeze_encoder=true with encoder_weights=none freezes random weights, which differ between cycles unless "
                "active_learning.initial_weights is same. Name pretrained weights: imagenet, or a file.",
                stacklevel=2,
            )
        self.encoder_is_frozen = True
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As for any module, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_is_frozen:
            self.encoder.eval()
        return self

    def encoding(self, inputs: Tensor) -> torch.set_grad_enabled:
        """The context in which to run the encoder: a frozen one needs no graph, unless the inputs require a gradient (ODIN's do)."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and (inputs.requires_grad or not self.encoder_is_frozen))
