"""Where an encoder's weights come from."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from al_lightning.errors import UserError


def source_of(encoder_weights: str | None) -> Literal["imagenet", "none"] | Path:
    """``imagenet``, ``none``, or the path that is meant; None and ``null`` are ``none``."""
    word = str(encoder_weights).lower()
    if word in ("none", "null"):
        return "none"
    return "imagenet" if word == "imagenet" else Path(str(encoder_weights)).expanduser()


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Loads weights in timm's or torchvision's names into an encoder; those of the classification head are left out.

    Raises:
        UserError: the file is missing or unreadable, or its names or shapes do not fit.
    """
    if not path.is_file():
        raise UserError(
            f"Expected encoder weights in {path}, but there is no such file. Name a .safetensors or .pth file, imagenet or none."
        )
    given = _read(path)
    own = encoder.state_dict()
    wrapped = all(name.startswith("model.") for name in own)  # segmentation-models-pytorch's tu- encoders
    named = {f"model.{name}" if wrapped else name: value for name, value in given.items()}
    missing = [name for name in own if name not in named and not name.endswith("num_batches_tracked")]
    misshapen = [name for name in own if name in named and named[name].shape != own[name].shape]
    if missing or misshapen:
        raise UserError(
            f"Expected the weights of {type(encoder).__name__} in {path}, but {len(missing)} of {len(own)} are missing and "
            f"{len(misshapen)} have another shape, the first {(missing + misshapen)[0]}. Is the encoder the one that they were trained in?"
        )
    encoder.load_state_dict({**own, **{name: named[name] for name in own if name in named}})


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        state: Mapping[str, Tensor] = content.get("state_dict", content)
        return state
    except (OSError, RuntimeError, EOFError, AttributeError, UnpicklingError, SafetensorError) as error:
        raise UserError(f"Expected {path} to hold weights as .safetensors or .pth, but it can't be read: {error}") from error
