"""Compares the cost of choosing a batch with its lower bound, and with a plain version: python -m benchmarks.batches [ITEMS PICKS]."""

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from al_lightning.acquisition.batches import badge, k_center
from al_lightning.callbacks.scoring import PeakMemory
from benchmarks.common import prepare

_FEATURES = 512
_MIB = 2**20


def processor_seconds(work: Callable[[], Any]) -> float:
    """Returns the processor time of a call on one core. Other programs do not count."""
    started = time.process_time()
    work()
    return time.process_time() - started


def grown(work: Callable[[], Any]) -> int:
    """Returns by how many bytes a call makes the process grow."""
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # else the call could use memory that earlier work left, which would not count
    before = PeakMemory(torch.device("cpu")).bytes()  # the present use, as a new PeakMemory resets the peak
    record = PeakMemory(torch.device("cpu"))
    work()
    return record.bytes() - before


def features_like(items: int, independent: int, generator: torch.Generator) -> Tensor:
    """Returns half-precision features after a ReLU, which vary in ``independent`` directions."""
    directions = torch.randn(independent, _FEATURES, generator=generator) / independent**0.5
    features = torch.empty(items, _FEATURES, dtype=torch.float16)
    for part in features.split(10_000):
        part.copy_((torch.randn(len(part), independent, generator=generator) @ directions).relu())
    return features


def core_set(items: int, picks: int, independent: int) -> list[tuple[str, str, str]]:
    """(a) Measures k_center on a pool of ``items`` items."""
    features = features_like(items, independent, torch.Generator().manual_seed(0))
    k_center(features[:1000], features[:0], 10)

    def read() -> float:
        return processor_seconds(lambda: features.view(torch.int64).sum())

    reads = [read() for _ in range(3)]
    seconds: list[float] = []
    memory = grown(lambda: seconds.append(processor_seconds(lambda: k_center(features, features[:0], picks))))
    floor = min(reads + [read() for _ in range(3)])
    matrix = features.numel() * features.element_size()
    name = f"k_center, {picks:,} of {items:,} x {_FEATURES} in half precision, {independent} directions"
    return [
        (f"{name}: reads of the matrix a pick; {seconds[0]:.1f} s", f"{seconds[0] / picks / floor:.2f}", "1.5"),
        (f"{name}: memory over the matrix", f"{100 * memory / matrix:.1f} %", "10 %"),
    ]


def multiplied_out(probabilities: Tensor, features: Tensor, size: int, generator: torch.Generator) -> None:
    """BADGE as it is usually written: k-means++ on embeddings that are in memory."""
    errors = probabilities.clone()
    errors[torch.arange(len(errors)), probabilities.argmax(1)] -= 1
    embeddings = (errors.unsqueeze(2) * features.unsqueeze(1)).flatten(1)
    norms = embeddings.norm(dim=1).square()
    squared, chosen = norms, int(norms.argmax())
    for step in range(size - 1):
        from_chosen = (norms + norms[chosen] - 2 * (embeddings @ embeddings[chosen])).clamp_min(0)
        squared = torch.minimum(squared, from_chosen) if step else from_chosen
        sums = squared.double().cumsum(0)
        chosen = int(torch.searchsorted(sums, torch.rand(1, generator=generator, dtype=torch.float64) * sums[-1]))


def gradients(items: int, classes: int, features: int, picks: int) -> list[tuple[str, str, str]]:
    """(b) Measures BADGE and its multiplied-out form, whose embeddings take ``4 C D`` bytes for each item."""
    generator = torch.Generator().manual_seed(0)
    probabilities = (3 * torch.randn(items, classes, generator=generator)).softmax(1)
    values = torch.randn(items, features, generator=generator).relu()
    badge(probabilities, values, 2, generator)
    times: dict[str, float] = {}

    def timed(name: str, choose: Callable[..., Any]) -> Callable[[], None]:
        def work() -> None:
            times[name] = processor_seconds(lambda: choose(probabilities, values, picks, generator))

        return work

    rows = []
    for name, choose in (("BADGE", badge), ("the multiplied-out form", multiplied_out)):
        memory = grown(timed(name, choose))
        label = f"{name}, {picks} of {items:,} x {classes} classes x {features}"
        rows.append((f"{label}: memory; {times[name]:.2f} s, {1e3 * times[name] / picks:.1f} ms a pick", f"{memory / _MIB:,.0f} MiB", ""))
    rows.append(("BADGE / the multiplied-out form, time", f"{times['BADGE'] / times['the multiplied-out form']:.4f}", ""))
    return rows


def main() -> None:
    """Measures, and prints the table."""
    prepare()
    torch.set_num_threads(1)
    items, picks = map(int, sys.argv[1:] or ("1000000", "1000"))
    print("| measured | value | wanted |\n|---|---|---|")
    rows = [lambda: core_set(items, picks, 64), lambda: core_set(items, picks, 8), lambda: gradients(items // 50, 100, 768, picks // 50)]
    for made in rows:
        for row in made():
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
