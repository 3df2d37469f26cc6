"""Compares the README's experiment with a plain loop that does the same work: python -m benchmarks.headline [FOLDER_OF_FASHION_MNIST]."""

import sys

import torch

from al_lightning.acquisition import Entropy, functional
from al_lightning.data import FashionMNISTDataModule, PoolDataModule
from benchmarks.common import Repeated, alternating, experiment, plain_training, prepare, ratio, seconds

CYCLES, QUERY, EPOCHS, ROUNDS = 20, 300, 20, 3


def plain(data: FashionMNISTDataModule) -> None:
    """Does the work by hand: 20 trainings from scratch on growing sets, each with an evaluation, all but the last with a query."""
    device = torch.device("cpu")
    everything = torch.arange(len(data._train))
    inputs, targets = data._train.inputs(everything, device), data._train.labels
    eval_inputs, eval_targets = data._eval.inputs(torch.arange(len(data._eval)), device), data._eval.labels
    labeled = torch.zeros(len(inputs), dtype=torch.bool)
    labeled[torch.randperm(len(inputs))[:QUERY]] = True
    for cycle in range(CYCLES):
        network = plain_training(inputs[labeled], targets[labeled], EPOCHS)
        with torch.inference_mode():
            (network(eval_inputs).argmax(1) == eval_targets).float().mean().item()
            if cycle == CYCLES - 1:
                break
            pool = (~labeled).nonzero().flatten()
            entropies = torch.cat([functional.entropy(network(inputs[batch])) for batch in pool.split(2000)])
        labeled[pool[entropies.topk(QUERY).indices]] = True


def main() -> None:
    """Runs both alternately, and prints the table."""
    prepare()
    root = sys.argv[1] if len(sys.argv) > 1 else None

    def make_data() -> PoolDataModule:
        arguments = {"initial_size": QUERY}
        return FashionMNISTDataModule(root=root, **arguments) if root else Repeated(pool=60_000, **arguments)

    def ours(block: int) -> float:
        with experiment(make_data(), epochs=EPOCHS, cycles=CYCLES, block=block, query_size=QUERY, strategy=Entropy()) as run:
            return seconds(run)

    baseline_data = make_data()
    baseline_data.setup("fit")
    blocks, ordinary, base = alternating(ROUNDS, lambda: ours(50), lambda: ours(1), lambda: seconds(lambda: plain(baseline_data)))
    print("| 20 cycles, 300 labels a query, 20 epochs, MLP-16, pool of 60,000 | seconds (fastest) | ratio to the plain loop (median) |")
    print("|---|---|---|")
    for name, times in (("`fit`, blocks of 50", blocks), ("`fit`, ordinary mode", ordinary), ("plain PyTorch loop", base)):
        print(f"| {name} | {min(times):.1f} | {ratio(times, base):.2f} |")


if __name__ == "__main__":
    main()
