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
    """``imagenet``, ``none``, or the path of a file; None and ``null`` mean ``none``."""
    word = str(encoder_weights).lower()
    if word in ("none", "null"):
        return "none"
    return "imagenet" if word == "imagenet" else Path(str(encoder_weights)).expanduser()


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Loads weights with timm's or torchvision's names into an encoder; those of a classification head are left out.

    All names may have the same prefix, whatever it is: ``module.``, ``backbone.``, or ``network.encoder.`` in a run's checkpoint.

    Args:
        encoder: takes the weights.
        path: of a .safetensors or .pth file, or of a checkpoint.

    Raises:
        UserError: the file is missing or unreadable, its names or shapes do not fit, or it has two encoders that fit.
    """
    given, own = read_state(path, "encoder weights (a .safetensors or .pth file, imagenet or none)"), encoder.state_dict()
    found = {prefix: _with_prefix(prefix, given, own) for prefix in _prefixes(given, own)}
    fitting = [prefix for prefix, weights in found.items() if not any(_misfits(weights, own))]
    if len(fitting) > 1:
        raise UserError(
            f"Expected the weights of one encoder in {path}, but several fit: their names begin with {', '.join(map(repr, fitting))}."
        )
    if not fitting:
        missing, misshapen = min((_misfits(weights, own) for weights in found.values()), key=lambda each: sum(map(len, each)))
        raise UserError(
            f"Expected the weights of {type(encoder).__name__} in {path}, but {len(missing)} of {len(own)} are missing and "
            f"{len(misshapen)} have another shape, the first {(missing + misshapen)[0]}. Is it the encoder that they were trained in?"
        )
    encoder.load_state_dict({**own, **found[fitting[0]]})


def fits_encoder(encoder: nn.Module, path: Path) -> bool:
    """Whether a file has the weights that :func:`load_encoder` looks for."""
    given, own = read_state(path, "encoder weights"), encoder.state_dict()
    return any(not any(_misfits(_with_prefix(prefix, given, own), own)) for prefix in _prefixes(given, own))


def _short(own: Mapping[str, Tensor]) -> dict[str, str]:
    """From the names that files have to an encoder's own names."""
    wrapped = all(name.startswith("model.") for name in own)  # segmentation-models-pytorch's tu- encoders
    return {name.removeprefix("model.") if wrapped else name: name for name in own}


def _prefixes(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """The prefixes that the names in a file may have: what stands before the encoder's first name."""
    first = next(iter(_short(own)))
    return sorted({"", *(name.removesuffix(first) for name in given if name.endswith(f".{first}"))})


def _with_prefix(prefix: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: given[prefix + short] for short, name in _short(own).items() if prefix + short in given}


def _misfits(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names that are missing, and names whose tensors have another shape."""
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    return missing, [name for name, value in weights.items() if value.shape != own[name].shape]


@contextmanager
def fetching(what: str) -> Iterator[None]:
    """A context that turns whatever goes wrong with fetching weights into one error.

    Args:
        what: is to be fetched, for the message.

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
    """Makes Hugging Face's client look only into its cache if the hub can't be reached: it would try several times, half a minute each."""
    from huggingface_hub import constants, get_session

    offline, timeout = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)  # by the hub's own session, which knows proxies and mirrors
    except Exception:  # the session is of another library, with other errors, in each version of the client
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        socket.setdefaulttimeout(timeout)
