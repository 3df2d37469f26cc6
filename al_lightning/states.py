"""Reads files of weights: one place for whatever a decoder may raise, and nothing in a file is ever run."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from al_lightning.errors import UserError

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # what files call the weights that they hold beside other things


def read_state(path: str | Path, what: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .ckpt file by name, on the CPU; see :func:`tensors_in`.

    Args:
        path: of the file.
        what: the file is expected to hold, for the message.

    Raises:
        UserError: there is no such file, or it can't be read as tensors; it names the file.
    """
    path = Path(path).expanduser()
    with reading(path, what):
        return tensors_in(load_file(path) if path.suffix == ".safetensors" else unpickled(path))


def network_weights(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """A network's weights in a checkpoint, where they are called ``network...``.

    Args:
        path: of the checkpoint, of a run's cycle for example.
        network: what they must be the weights of; it is left as it is.

    Raises:
        UserError: there is no such file, it can't be read, or it has other weights.
    """
    state = read_state(path, "the checkpoint of a run's cycle")
    weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
    refuse_other_weights(weights, network, path)
    return weights


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Makes one error that names a file of whatever is raised by those who read it in here.

    Args:
        path: of the file.
        what: the file is expected to hold, for the message.

    Raises:
        UserError: there is no such file, or it can't be read.
    """
    if not path.is_file():  # a pipe, for one, would be waited for
        found = "that is no file" if path.exists() else "there is no such file"
        raise UserError(f"Expected {what} in {path}, but {found}.")
    try:
        yield
    except UserError as error:
        raise UserError(f"Expected {what} in {path}, but {error}.") from error
    except Exception as error:  # a decoder raises anything on a damaged file: struct.error, KeyError, RuntimeError, MemoryError ...
        raise UserError(f"Expected {what} in {path}, but it can't be read: {_reason(error)}{_beginning(path)}.") from error


def unpickled(path: Path) -> Any:
    """What torch has saved in a file, on the CPU; nothing but tensors, numbers, text and what collects them."""
    if zipfile.is_zipfile(path):  # torch stores and does not compress; what unfolds on reading could fill the memory
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                raise UserError("its parts are compressed, which those of torch never are")
            if part := damaged_part(archive):
                raise UserError(f"{part} in it is damaged")
    return torch.load(path, map_location="cpu", weights_only=True)


def damaged_part(archive: zipfile.ZipFile) -> str | None:
    """The first part of a file of torch that is not what was saved; None if all are, or if torch was told to save no checksums.

    torch itself does not look at them: a flipped bit would be another weight.
    """
    return archive.testzip() if any(part.CRC for part in archive.infolist()) else None


def tensors_in(content: Any) -> dict[str, Tensor]:
    """The tensors of a file's content by name; what is no tensor is left out.

    They may lie inside ``{"state_dict": ...}``, ``{"model_state_dict": ...}`` or ``{"model": ...}``.

    Raises:
        UserError: there are none, or they are not plain tensors of numbers.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"it holds {type(content).__name__} instead of tensors by name")
    inside = [name for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
    if inside and (inside[0] == "state_dict" or len(inside) == 1):
        return tensors_in(content[inside[0]])
    if inside:
        raise UserError(f"it holds several lists of weights, {' and '.join(inside)}")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError("there is no tensor in it")
    for name, value in tensors.items():
        if value.is_meta or value.layout != torch.strided or bool(value.isnan().any()):
            raise UserError(f"{name} in it is not a tensor of numbers")
    return tensors


def refuse_other_weights(state: Mapping[str, Tensor], module: nn.Module, path: str | Path) -> None:
    """Makes sure that a module can load tensors.

    Args:
        state: by name.
        module: it is left as it is.
        path: of the file that they are from, for the message.

    Raises:
        UserError: there is one too few or too many, or of another shape.
    """
    own = module.state_dict()
    for name in [*own, *state]:
        there, here = (_shape(tensors, name) for tensors in (state, own))
        if there != here:
            raise UserError(
                f"Expected weights of this run's {type(module).__name__} in {path}, but they are those of another network: {name} is "
                f"{there} there and {here} here."
            )


def _shape(tensors: Mapping[str, Any], name: str) -> str:
    return "x".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "missing"


def _reason(error: Exception) -> str:
    if isinstance(error, UnpicklingError):
        return "it is damaged, or holds more than tensors; such a file could run code, and is not opened further"
    said = " ".join(str(error).split())
    return f"{said[:200]} ({type(error).__name__})" if said else type(error).__name__


def _beginning(path: Path) -> str:
    """What a file of text begins with: a web page that was saved instead of weights is known by it."""
    with path.open("rb") as file:
        line = file.read(80).decode("ascii", errors="replace").strip().partition("\n")[0]
    return f". It is text and begins with {line!r}" if line and line.isprintable() and line.isascii() else ""
