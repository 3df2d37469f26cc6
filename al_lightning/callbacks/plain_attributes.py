"""The attributes that a checkpoint can store: plain data, which a safe load restores without executing any code."""

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Collection
from types import FunctionType
from typing import Any

from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from al_lightning.layer_settings import SCALARS


class WatchedCallback:
    """Watches a callback during a training, to find out whether a checkpoint can store what changes in it.

    Args:
        callback: the callback, in its state when the training begins.
        module: the module in training; its parts are not the callback's, even if the callback refers to them.
        shared: other objects that the callback may refer to, but that are not part of it: the trainer, other callbacks.
    """

    def __init__(self, callback: Callback, module: LightningModule, shared: Collection[object]) -> None:
        self.callback = callback
        tensors = [*module.parameters(), *module.buffers()]
        self._shared = {id(thing): str(place) for place, thing in enumerate([*module.modules(), *tensors, *shared])}
        self._storages = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self._before = self._digests()

    def attributes(self) -> dict[str, Any]:
        """What a checkpoint has to store besides the callback's ``state_dict``: its plain attributes, if nothing else has changed.

        Otherwise its ``state_dict`` and hooks have to do all: a plain flag might say that there is an average, which was not stored.
        """
        return {} if self._changed() else {name: value for name, value in vars(self.callback).items() if self._is_plain(value)}

    def problem(self) -> str | None:
        """Why a checkpoint can't store the callback's state; None if it can."""
        if _tells_its_state(self.callback) or not (changed := self._changed()):
            return None
        name = type(self.callback).__name__
        return f"{name} changes {', '.join(changed)} while training, and has no state_dict (see Lightning's Callback)"

    def _changed(self) -> list[str]:
        """Names of the attributes that are not plain data and may have changed."""
        return [name for name, digest in self._digests().items() if digest is None or digest != self._before.get(name)]

    def _digests(self) -> dict[str, bytes | None]:
        return {name: _digest(value, self._shared) for name, value in vars(self.callback).items() if not self._is_plain(value)}

    def _is_plain(self, value: Any) -> bool:
        """Whether a value consists of numbers, text, tensors that are not the module's, and built-in containers of these."""
        kind = type(value)
        if kind in (list, tuple, set):
            return all(map(self._is_plain, value))
        if kind in (dict, OrderedDict):
            return all(map(self._is_plain, (*value.keys(), *value.values())))
        if kind is Tensor:
            return value.untyped_storage().data_ptr() not in self._storages
        return kind in (*SCALARS, complex)


def _tells_its_state(callback: Callback) -> bool:
    return any(getattr(type(callback), name) is not getattr(Callback, name) for name in ("state_dict", "on_save_checkpoint"))


class _Hash:
    """A file that keeps only a hash of what is written to it."""

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
    """A hash of a value's content; None if it can't be pickled (open files, locks)."""
    content = _Hash()
    try:
        _Pickler(content, shared).dump(value)
    except Exception:  # pickling calls methods of any class, which may raise anything
        return None
    return content.hash.digest()
