"""Damages files of weights at random, and reads them: python -m tools.stress.mutated_weights [COUNT] [SEED].

Each file must be read, or be refused by an error that names it. Anything else is wrong: another exception, a crash, more than 20 seconds
or 4 GiB, and above all, if code in a file is run.
"""

import functools
import io
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from al_lightning.errors import UserError
from al_lightning.models.weights import load_encoder

_SECONDS, _BYTES = 20, 4 * 2**30


@dataclass
class Summary:
    """The outcomes of reading damaged files.

    Attributes:
        outcomes: how many files were ``read``, how many ``refused``, and how many had another outcome, which is ``wrong``.
        wrong: a line for each wrong outcome.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = [f"{self.outcomes[outcome]:,} {outcome}" for outcome in ("read", "refused", "wrong")]
        return f"{self.outcomes.total():,} damaged files of weights: {', '.join(counts)}"


def mutate_weights(count: int, seed: int) -> Summary:
    """Damages files of weights, and reads them in child processes. After a crash a new process continues with the next file.

    Args:
        count: the number of files.
        seed: seed of the damage. File n does not depend on the count.
    """
    summary = Summary()
    with tempfile.TemporaryDirectory() as folder:
        done = 0
        while done < count:
            lines, status = _in_child(Path(folder), range(done, count), seed)
            for line in lines:
                outcome, _, said = line.partition(" ")
                summary.outcomes[outcome] += 1
                if outcome == "wrong":
                    summary.wrong.append(f"file {done} of seed {seed}: {said}")
                done += 1
            if status != 0:
                summary.outcomes["wrong"] += 1
                summary.wrong.append(f"file {done} of seed {seed} ended the process with status {status}")
                done += 1
    return summary


def _in_child(folder: Path, numbers: range, seed: int) -> tuple[list[str], int]:
    """Reads files in a child process. Returns a line for each file until one crashed the process, and the exit status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + _BYTES, used + _BYTES))
            for number in numbers:
                signal.alarm(_SECONDS)
                os.write(writing, " ".join(_outcome(folder, number, seed).split()).encode()[:2000] + b"\n")
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as lines:
        said = lines.read().splitlines()
    return said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _outcome(folder: Path, number: int, seed: int) -> str:
    draw, touched = random.Random(f"{seed}/{number}"), folder / "touched"
    name, content = draw.choice([*_whole_files(touched).items()])
    for _ in range(draw.choice([0, 1, 1, 1, 2, 5])):
        content = draw.choice(_DAMAGES)(content, draw)
    path = folder / name
    path.write_bytes(content)
    try:
        load_encoder(_encoder(), path)
        outcome = "read"
    except UserError as error:
        outcome = "refused" if str(path) in str(error) and "\n" not in str(error) else f"wrong {name}: not a line that names it: {error}"
    except BaseException as error:  # any other exception is a fault, and these are searched for
        outcome = f"wrong {name}: {type(error).__name__}: {error}"
    if touched.exists():
        touched.unlink()
        return f"wrong {name}: code in it was run"
    return outcome


def _encoder() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.path}",)


@functools.cache
def _whole_files(touched: Path) -> dict[str, bytes]:
    """Returns files in every format. The ones named bomb create the file ``touched`` if the code in them is run."""
    torch.manual_seed(0)
    state = dict(_encoder().state_dict())
    contents = {
        "flat": state,
        "nested": {"epoch": 3, "model": {f"module.{k}": v for k, v in state.items()}},
        "bomb": {**state, "x": _Bomb(touched)},
    }
    files = {"weights.safetensors": save(state), "bomb.pkl.pth": pickle.dumps(_Bomb(touched))}
    for name, content in contents.items():
        for kind, zipped in (("zip", True), ("legacy", False)):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            files[f"{name}-{kind}.pth"] = file.getvalue()
    return files


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 3, 30]) if content else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(content) + 1), draw.randrange(1, 64)
    return content[:start] + draw.choice([draw.randbytes(length), b"\0" * length, b"\xff" * length]) + content[start + length :]


def _insert(content: bytes, draw: random.Random) -> bytes:
    start, source = draw.randrange(len(content) + 1), draw.randrange(len(content) + 1)
    return content[:start] + draw.choice([draw.randbytes(9), content[source : source + 200]]) + content[start:]


def _inside(content: bytes, draw: random.Random) -> bytes:
    """Damages one part of an archive and packs it again, so that the checksums are right."""
    packed = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
            names = old.namelist()
            chosen = draw.choice(names) if draw.random() < 0.5 else next((name for name in names if name.endswith("data.pkl")), "")
            for name in names:
                part = old.read(name)
                new.writestr(name, draw.choice([_flip, _cut, _overwrite, _insert])(part, draw) if name == chosen else part)
    except Exception:  # zipfile may raise anything if the content is not an archive, or was damaged before
        return _flip(content, draw)
    return packed.getvalue()


_DAMAGES = (_cut, _flip, _flip, _overwrite, _insert, _inside, _inside, _inside)


if __name__ == "__main__":
    found = mutate_weights(int(sys.argv[1]) if len(sys.argv) > 1 else 1500, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(*found.wrong, found, sep="\n")
    sys.exit(bool(found.wrong))
