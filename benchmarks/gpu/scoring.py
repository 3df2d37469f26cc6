"""Compares scoring of pixels with forward passes alone: time, memory, and what happens if a batch does not fit into memory."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from al_lightning.acquisition import BALD, CountAbove, Entropy, Odin, VoteEntropy
from al_lightning.callbacks.scoring import PeakMemory, score_batches
from benchmarks.common import ratio, seconds
from benchmarks.gpu.rows import Part, Row, at_least, at_most
from benchmarks.gpu.sizes import Size, rounds_within
from benchmarks.segmentation import DEVICE, network, scorer, wait

PASSES = 10
TOO_MANY = 8  # images in a batch, while two or three fit into memory


def forwards(net: torch.nn.Module, images: Tensor, count: int) -> float:
    """Returns the seconds of plain forward passes."""

    def work() -> None:
        with torch.inference_mode():
            for _ in range(count):
                net(images)
        wait()

    return seconds(work)


def throughput(size: Size, name: str, autocast: Callable[[], Any]) -> list[Row]:
    """Compares each strategy with plain passes in one precision."""
    net, images = network(size.encoder), torch.randn(1, 3, *size.image, device=DEVICE)
    cheap = {"entropy, mean": Entropy(), "entropy, count": Entropy(CountAbove(0.6931))}
    dropout = {"BALD": BALD(PASSES, 0.5), "vote entropy": VoteEntropy(PASSES, 0.5)}
    odin = {"ODIN, epsilon 0.0014": Odin(1000.0, 0.0014)}
    strategies = {**cheap, **dropout, **odin}
    with autocast():
        works = [partial(forwards, net, images, size.images)]
        works += [partial(scorer, net, images, strategy, size.images) for strategy in strategies.values()]
        for work in works:
            work()
        base, *times = rounds_within(size, *works)
    by_name = dict(zip(strategies, times, strict=True))
    shown = f"{size.image[0]}x{size.image[1]}, {name}"
    note = f"a pass: {1e3 * statistics.median(base) / size.images:.1f} ms"
    return [
        *(at_least(f"scoring, {key}, {shown}: of the passes' throughput", ratio(base, by_name[key]), 0.9, note) for key in cheap),
        *(at_most(f"scoring, {key}, K = {PASSES}, {shown}: in passes", ratio(by_name[key], base), 2.0, note) for key in dropout),
        *(Row(f"scoring, {key}, {shown}: in passes", ratio(by_name[key], base), note=note) for key in odin),
    ]


def peaks(size: Size) -> list[Row]:
    """Measures peak memory, which should not grow with the number of dropout passes."""
    net, images = network(size.encoder), torch.randn(1, 3, *size.image, device=DEVICE)

    def peak(work: Callable[[], Any]) -> float:
        work()
        record = PeakMemory(DEVICE)
        work()
        return record.bytes() / 2**20

    plain = peak(lambda: forwards(net, images, 1))
    few, many = (peak(lambda passes=passes: scorer(net, images, BALD(passes, 0.5), 2)) for passes in (2, 20))
    return [
        Row("peak memory, a plain pass", plain, "MiB"),
        Row("peak memory, BALD, K = 2", few, "MiB"),
        at_most("peak memory, BALD, K = 20 / K = 2", many / few, 1.05, f"{many:,.0f} MiB"),
    ]


@contextmanager
def little_memory(net: Any, image: Tensor) -> Iterator[list[int]]:
    """Limits memory to two or three images; a CPU only pretends to. Yields a list that collects the sizes of the batches that are tried."""
    tried: list[int] = []

    def note(module: Any, arguments: tuple[Tensor, ...]) -> None:
        tried.append(len(arguments[0]))
        if DEVICE.type == "cpu" and len(arguments[0]) > 2:
            raise torch.OutOfMemoryError("Pretended on a processor.")

    if DEVICE.type == "cuda":
        before, record = torch.cuda.memory_allocated(DEVICE), PeakMemory(DEVICE)
        scorer(net, image, Entropy())
        one = record.bytes() - before
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(DEVICE).total_memory
        # The images themselves are in memory already, and are not part of the 3.3.
        torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved(DEVICE) + 3.3 * one) / total), DEVICE)
    hook = net.encoder.register_forward_pre_hook(note)
    try:
        yield tried
    finally:
        hook.remove()
        if DEVICE.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


def too_large(size: Size) -> list[Row]:
    """Checks that a batch that does not fit is scored in parts, with the same scores as single images."""
    net, images = network(size.encoder), torch.randn(TOO_MANY, 3, *size.image, device=DEVICE)

    def keys(batches: list[Tensor]) -> Tensor:
        load = lambda wanted: ((images[batch], batch) for batch in wanted)  # noqa: E731
        return score_batches([Entropy()], net, batches, load, 0, lambda items: None)[1][0]

    alone = keys(list(torch.arange(TOO_MANY).split(1)))
    with little_memory(net, images[:1]) as tried:
        together = keys([torch.arange(TOO_MANY)])
    off = float((together - alone).abs().max() / alone.abs().max())
    note = f"tried {', '.join(map(str, tried))}; scores differ by {off:.0e}"
    return [Row("a batch that does not fit: images in a part", tried[-1], "", f"< {TOO_MANY}", tried[-1] < TOO_MANY and off < 1e-3, note)]


def odin_memory(size: Size) -> list[Row]:
    """Measures the peak memory of ODIN, which computes a gradient with respect to the image."""
    net, images = network(size.encoder), torch.randn(1, 3, *size.image, device=DEVICE)
    record = PeakMemory(DEVICE)
    scorer(net, images, Odin(1000.0, 0.0014))
    return [Row("peak memory, ODIN, epsilon 0.0014", record.bytes() / 2**20, "MiB")]


def scoring(size: Size) -> dict[str, Part]:
    """Returns the parts of the section: first time, then memory."""
    half = partial(torch.autocast, DEVICE.type, torch.bfloat16)
    return {
        **{f"scoring, {name}": partial(throughput, size, name, mode) for name, mode in (("32", nullcontext), ("bf16-mixed", half))},
        "peak memory": partial(peaks, size),
        "a batch that does not fit": partial(too_large, size),
        "peak memory, ODIN": partial(odin_memory, size),
    }
