"""Reads files of weights: the one place for whatever a decoder may raise. Code in a file is never run."""

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

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys of the weights, in files that also hold other things


def read_state(path: str | Path, what: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .ckpt file by name, on the CPU; see :func:`tensors_in`.

    Args:
        path: of the file.
        what: what the file is expected to hold, for the message.

    Raises:
        UserError: there is no such file, or it can't be read as tensors. The message names the file.
    """
    path = Path(path).expanduser()
    with reading(path, what):
        return tensors_in(load_file(path) if path.suffix == ".safetensors" else unpickled(path))


def network_weights(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """A network's weights from a checkpoint, in which their names begin with ``network.``.

    Args:
        path: of the checkpoint, for example of a run's cycle.
        network: must have such weights; it is left as it is.

    Raises:
        UserError: there is no such file, it can't be read, or it has other weights.
    """
    state = read_state(path, "the checkpoint of a run's cycle")
    weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
    refuse_other_weights(weights, network, path)
    return weights


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """A context that turns whatever is raised while a file is read into one error that names the file.

    Args:
        path: of the file.
        what: what the file is expected to hold, for the message.

    Raises:
        UserError: there is no such file, or it can't be read.
    """
    if not path.is_file():  # reading a pipe, for example, would wait for ever
        found = "that is no file" if path.exists() else "there is no such file"
        raise UserError(f"Expected {what} in {path}, but {found}.")
    try:
        yield
    except UserError as error:
        raise UserError(f"Expected {what} in {path}, but {error}.") from error
    except Exception as error:  # a decoder raises anything on a damaged file: struct.error, KeyError, RuntimeError, MemoryError ...
        raise UserError(f"Expected {what} in {path}, but it can't be read: {_reason(error)}{_beginning(path)}.") from error


def unpickled(path: Path) -> Any:
    """What torch has saved in a file, on the CPU: nothing but tensors, numbers, texts, and collections of them.

    Raises:
        UserError: a part of the file is compressed or damaged.
    """
    if zipfile.is_zipfile(path):  # torch does not compress; a compressed part could fill the memory
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                raise UserError("its parts are compressed, which those of torch never are")
            if part := damaged_part(archive):
                raise UserError(f"{part} in it is damaged")
    return torch.load(path, map_location="cpu", weights_only=True)


def damaged_part(archive: zipfile.ZipFile) -> str | None:
    """The first part of torch's file whose checksum is wrong; None if all are right, or torch saved no checksums.

    torch itself does not check them: with a flipped bit, a weight would have another value.
    """
    return archive.testzip() if any(part.CRC for part in archive.infolist()) else None


def tensors_in(content: Any) -> dict[str, Tensor]:
    """The tensors of a file's content by name; all else is left out.

    They may be inside ``{"state_dict": ...}``, ``{"model_state_dict": ...}`` or ``{"model": ...}``.

    Raises:
        UserError: there are no tensors, several lists of weights, or tensors that are not plain and full of numbers.
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
        state: the tensors by name.
        module: is to load them; it is left as it is.
        path: of the file that they are from, for the message.

    Raises:
        UserError: a tensor is missing, is not the module's, or has another shape.
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
    """The first line of a text file, for the message: it shows, for example, that a web page was saved instead of weights."""
    with path.open("rb") as file:
        line = file.read(80).decode("ascii", errors="replace").strip().partition("\n")[0]
    return f". It is text and begins with {line!r}" if line and line.isprintable() and line.isascii() else ""
