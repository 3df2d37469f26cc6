"""Where an encoder's weights come from."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from al_lightning.errors import UserError
from al_lightning.states import read_state

_PATIENCE = 10.0  # seconds, for a server to answer


def source_of(encoder_weights: str | None) -> Literal["imagenet", "none"] | Path:
    """``imagenet``, ``none``, or the path that is meant; None and ``null`` are ``none``."""
    word = str(encoder_weights).lower()
    if word in ("none", "null"):
        return "none"
    return "imagenet" if word == "imagenet" else Path(str(encoder_weights)).expanduser()


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Loads weights in timm's or torchvision's names into an encoder; those of the classification head are left out.

    Anything may stand before the names, the same for all: ``module.``, ``backbone.``, or ``network.encoder.`` of a run's checkpoint.

    Raises:
        UserError: the file is missing or unreadable, or its names or shapes do not fit, or those of two encoders in it do.
    """
    given, own = read_state(path, "encoder weights (a .safetensors or .pth file, imagenet or none)"), encoder.state_dict()
    found = {before: _after(before, given, own) for before in _prefixes(given, own)}
    fitting = [before for before, weights in found.items() if not any(_misfits(weights, own))]
    if len(fitting) > 1:
        raise UserError(
            f"Expected the weights of one encoder in {path}, but several fit: {', '.join(map(repr, fitting))} begin their names."
        )
    if not fitting:
        missing, misshapen = min((_misfits(weights, own) for weights in found.values()), key=lambda each: sum(map(len, each)))
        raise UserError(
            f"Expected the weights of {type(encoder).__name__} in {path}, but {len(missing)} of {len(own)} are missing and "
            f"{len(misshapen)} have another shape, the first {(missing + misshapen)[0]}. Is the encoder the one that they were trained in?"
        )
    encoder.load_state_dict({**own, **found[fitting[0]]})


def _short(own: Mapping[str, Tensor]) -> dict[str, str]:
    """An encoder's own names by those that files have."""
    wrapped = all(name.startswith("model.") for name in own)  # segmentation-models-pytorch's tu- encoders
    return {name.removeprefix("model.") if wrapped else name: name for name in own}


def _prefixes(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What may stand before the names in a file, by the encoder's first one."""
    first = next(iter(_short(own)))
    return sorted({"", *(name.removesuffix(first) for name in given if name.endswith(f".{first}"))})


def _after(prefix: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: given[prefix + short] for short, name in _short(own).items() if prefix + short in given}


def _misfits(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names that are missing, and names whose shape is another."""
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    return missing, [name for name, value in weights.items() if value.shape != own[name].shape]


@contextmanager
def fetching(what: str) -> Iterator[None]:
    """Makes one error of whatever keeps weights from being fetched.

    Args:
        what: is fetched, for the message.

    Raises:
        UserError: it could not be fetched, or what was fetched can't be used.
    """
    try:
        with _hub_without_patience():
            yield
    except UserError:
        raise
    except Exception as error:  # each of three libraries that fetch has its own errors of the network, of caches and of files cut short
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"Expected to fetch {what} for encoder_weights imagenet, but that failed: {said} ({type(error).__name__}). Without internet, "
            "name a .safetensors or .pth file of weights as encoder_weights, or none."
        ) from error


@contextmanager
def _hub_without_patience() -> Iterator[None]:
    """Lets Hugging Face's hub look into its cache alone where it can't be reached: it would try for half a minute, several times over."""
    from huggingface_hub import constants, get_session

    offline, timeout = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)  # by the hub's own client, which knows proxies and mirrors
    except Exception:  # of a client whose library differs between the hub's versions
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        socket.setdefaulttimeout(timeout)
