"""A file of weights is read, or refused by an error that names it; nothing in it is run."""

import builtins
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from al_lightning.errors import UserError
from al_lightning.states import read_state, refuse_other_weights
from tools.stress.mutated_weights import mutate_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "current_model_state": {"a.weight": torch.zeros(2, 3)}, "epoch": 3},
        {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        {"model": {"model_state_dict": STATE}},
        {**STATE, "version": 2},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_beside_other_things(tmp_path, content, zipped):
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    found = read_state(tmp_path / "weights.pth", "weights")
    assert found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "weights.safetensors")
    assert read_state(tmp_path / "weights.safetensors", "weights").keys() == STATE.keys()


def test_weights_without_checksums(tmp_path):
    computed = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "weights.pth")
    finally:
        torch.serialization.set_crc32_options(computed)
    assert torch.equal(read_state(tmp_path / "weights.pth", "weights")["a.weight"], STATE["a.weight"])


def _compressed(path: Path) -> None:
    torch.save({"zeros": torch.zeros(100_000)}, path)
    parts = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def _flipped(path: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(4000)) + 1234] ^= 0x40
    path.write_bytes(content)


BAD = {
    "missing": (lambda path: None, "there is no such file"),
    "a folder": (lambda path: path.mkdir(), "that is no file"),
    "a pipe, which would wait for ever": (os.mkfifo, "that is no file"),
    "empty": (lambda path: path.touch(), "EOFError"),
    "a web page": (lambda path: path.write_text("<!DOCTYPE html>\n<html>"), "It is text and begins with '<!DOCTYPE html>'"),
    "a number": (lambda path: torch.save(3, path), "it holds int instead of tensors by name"),
    "no tensor": (lambda path: torch.save({"epoch": 3}, path), "there is no tensor in it"),
    "not a number": (lambda path: torch.save({"w": torch.tensor([1, float("nan")])}, path), "w in it is not a tensor of numbers"),
    "without values": (lambda path: torch.save({"w": torch.ones(2, device="meta")}, path), "w in it is not a tensor of numbers"),
    "sparse": (lambda path: torch.save({"w": torch.eye(2).to_sparse()}, path), "w in it is not a tensor of numbers"),
    "two lists": (lambda path: torch.save({"model": STATE, "model_state_dict": STATE}, path), "several lists of weights"),
    "a module": (lambda path: torch.save(torch.nn.Linear(1, 1), path), "more than tensors"),
    "a flipped bit": (_flipped, "data/0 in it is damaged"),
    "a bomb of zeros": (_compressed, "its parts are compressed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_holds_no_weights_is_named(tmp_path, kind):
    make, said = BAD[kind]
    make(tmp_path / "bad.pth")
    with pytest.raises(UserError, match=r"Expected a net in .*bad.pth, but ") as error:
        read_state(tmp_path / "bad.pth", "a net")
    assert said in str(error.value) and "\n" not in str(error.value)


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def bombs(target):
    """Pickles that would make a file if anybody ran them."""
    touch = f"open({str(target)!r}, 'w').close()"
    yield Runs(os.system, f"touch {target}")
    yield Runs(eval, touch)
    yield Runs(exec, touch)
    yield Runs(os.mkdir, str(target))
    yield Runs(Path.touch, target)
    yield Runs(getattr(builtins, "open"), str(target), "w")  # noqa: B009
    yield Runs(torch.save, {}, str(target))
    yield Runs(torch.serialization.add_safe_globals, [os.system])
    yield Runs(Runs, Runs(os.system, f"touch {target}"))


@pytest.mark.parametrize("number", range(9))
def test_no_pickle_is_run(tmp_path, number):
    allowed = torch.serialization.get_safe_globals()
    for writing in ("zip", "legacy", "bare", "last"):
        bomb = list(bombs(tmp_path / "ran"))[number]
        path = tmp_path / f"{writing}.pth"
        if writing == "bare":
            path.write_bytes(pickle.dumps(bomb))
        else:
            torch.save({**STATE, "x": bomb} if writing == "last" else bomb, path, _use_new_zipfile_serialization=writing == "zip")
        with pytest.raises(UserError, match="more than tensors; such a file could run code"):
            read_state(path, "weights")
    assert not (tmp_path / "ran").exists()
    assert torch.serialization.get_safe_globals() == allowed


def test_damaged_files_are_read_or_refused():
    summary = mutate_weights(60, seed=3)
    assert not summary.wrong
    assert summary.outcomes.total() == 60


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": torch.zeros(2, 5)}, "weight is 2x5 there and 2x3 here"),
        ({"bias": None}, "bias is missing there and 2 here"),
        ({"scale": torch.tensor(1.0)}, "scale is a number there and missing here"),
    ],
)
def test_weights_of_another_network_are_named(change, said):
    module = torch.nn.Linear(3, 2)
    state = dict(module.state_dict())
    refuse_other_weights(state, module, "a.ckpt")
    state = {name: value for name, value in {**state, **change}.items() if value is not None}
    with pytest.raises(UserError, match=f"Expected weights of this run's Linear in a.ckpt, but .* another network: {said}"):
        refuse_other_weights(state, module, "a.ckpt")
