"""Measures time and memory of choosing a query by scores: python -m benchmarks.query [ITEMS ...]."""

import sys

import torch
from torch import Tensor

from al_lightning.acquisition import selection
from al_lightning.callbacks.scoring import PeakMemory
from benchmarks.common import alternating, prepare, ratio, seconds

_SIZE = 300
_ROUNDS = 5


def by_sorting(keys: Tensor, indices: Tensor, priority: Tensor) -> None:
    """The baseline: ranks the whole pool, and counts how often each score occurs."""
    selection.take(selection.rank(keys, indices, priority), _SIZE)
    counts = keys.unique(return_counts=True)[1]
    float(counts[counts > 1].sum() / len(keys))


def as_queried(keys: Tensor, indices: Tensor, priority: Tensor) -> None:
    """Does what a query does after scoring."""
    selection.choose(keys, indices, priority, _SIZE)
    selection.tied_share(keys)


def measured(items: int) -> list[tuple[str, str, str]]:
    """Measures the rows for a pool of ``items`` unlabeled items."""
    generator = torch.Generator().manual_seed(0)
    keys, indices = torch.rand(items, generator=generator), torch.arange(items)
    priority = torch.randperm(items, generator=generator)
    as_queried(keys[:1000], indices[:1000], priority)
    before = PeakMemory(torch.device("cpu")).bytes()
    record = PeakMemory(torch.device("cpu"))
    as_queried(keys, indices, priority)
    grown = record.bytes() - before
    work = [lambda: seconds(lambda: as_queried(keys, indices, priority)), lambda: seconds(lambda: by_sorting(keys, indices, priority))]
    ours, theirs = alternating(_ROUNDS, *work)
    wanted = "0.7" if items < 1_000_000 else f"in 3 s: {min(ours):.1f} s"
    return [
        (f"choosing {_SIZE} of {items:,} scores / sorting them all; {1e3 * min(ours):.1f} ms", f"{ratio(ours, theirs):.2f}", wanted),
        (f"the same, memory over the scores, an item of {items:,}", f"{grown / items:.0f} bytes", ""),
    ]


def main() -> None:
    """Measures, and prints the table."""
    prepare()
    torch.set_num_threads(1)
    print("| measured | value | wanted |\n|---|---|---|")
    for items in map(int, sys.argv[1:] or ("60000", "6000000")):
        for row in measured(items):
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
