"""What a checkpoint can carry of an object's attributes: plain data, which a safe load gives back without executing anything."""

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Collection
from types import FunctionType
from typing import Any

from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn

_SCALARS = (type(None), bool, int, float, str)


def settings(part: nn.Module) -> dict[str, Any]:
    """A layer's public switches and numbers: whether it is training, a momentum, a drop probability."""
    return {name: value for name, value in vars(part).items() if not name.startswith("_") and type(value) in _SCALARS}


class WatchedCallback:
    """A callback during a training, and whether a checkpoint can carry what changes of it.

    Args:
        callback: as it is when the training begins.
        module: in training; what belongs to it is not the callback's, whoever refers to it.
        shared: what else the callback may refer to without having it: the trainer, other callbacks.
    """

    def __init__(self, callback: Callback, module: LightningModule, shared: Collection[object]) -> None:
        self.callback = callback
        tensors = [*module.parameters(), *module.buffers()]
        self._shared = {id(thing): str(place) for place, thing in enumerate([*module.modules(), *tensors, *shared])}
        self._storages = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self._before = self._digests()

    def attributes(self) -> dict[str, Any]:
        """What a checkpoint has to carry besides the callback's ``state_dict``: its plain attributes, if nothing else has changed.

        Where something else has, its ``state_dict`` and hooks do the whole: a flag alone would say that an average is there that is not.
        """
        return {} if self._changed() else {name: value for name, value in vars(self.callback).items() if self._is_plain(value)}

    def problem(self) -> str | None:
        """Why a checkpoint can't carry the callback; None if it can."""
        if _tells_its_state(self.callback) or not (changed := self._changed()):
            return None
        name = type(self.callback).__name__
        return f"{name} changes {', '.join(changed)} while training, and has no state_dict (see Lightning's Callback)"

    def _changed(self) -> list[str]:
        """The attributes that are no plain data and may have changed."""
        return [name for name, digest in self._digests().items() if digest is None or digest != self._before.get(name)]

    def _digests(self) -> dict[str, bytes | None]:
        return {name: _digest(value, self._shared) for name, value in vars(self.callback).items() if not self._is_plain(value)}

    def _is_plain(self, value: Any) -> bool:
        """Whether it is made of numbers, text, tensors of its own, and built-in containers of such."""
        kind = type(value)
        if kind in (list, tuple, set):
            return all(map(self._is_plain, value))
        if kind in (dict, OrderedDict):
            return all(map(self._is_plain, (*value.keys(), *value.values())))
        if kind is Tensor:
            return value.untyped_storage().data_ptr() not in self._storages
        return kind in (*_SCALARS, complex)


def _tells_its_state(callback: Callback) -> bool:
    return any(getattr(type(callback), name) is not getattr(Callback, name) for name in ("state_dict", "on_save_checkpoint"))


class _Hash:
    """A file of which only the hash is kept."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, part: Any) -> None:
        self.hash.update(part)


class _Pickler(pickle.Pickler):
    def __init__(self, file: _Hash, shared: dict[int, str]) -> None:
        super().__init__(file, protocol=5)
        self._shared = shared

    def persistent_id(self, thing: Any) -> str | None:
        return str(id(thing)) if isinstance(thing, FunctionType) else self._shared.get(id(thing))


def _digest(value: Any, shared: dict[int, str]) -> bytes | None:
    """A hash of a value's content; None where it does not show (open files, locks)."""
    content = _Hash()
    try:
        _Pickler(content, shared).dump(value)
    except Exception:  # pickling calls what any class defines for it
        return None
    return content.hash.digest()
