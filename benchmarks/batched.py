"""How much faster several small MLPs train as one batched model than one by one: a prototype, not a part of the package.

python -m benchmarks.batched
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.models import MLP
from benchmarks.common import BATCH, alternating, prepare, ratio, seconds

LABELED, EPOCHS, ROUNDS = 1_000, 3, 3


def one_by_one(networks: list[MLP], sets: list[tuple[Tensor, Tensor]], orders: Tensor) -> None:
    """Trains each network on its own set, one after the other, as an experiment does."""
    for network, (inputs, targets), order in zip(networks, sets, orders, strict=True):
        optimizer = torch.optim.Adam(network.parameters())
        for epoch in order:
            for indices in epoch.split(BATCH):
                optimizer.zero_grad()
                cross_entropy(network(inputs[indices]), targets[indices]).backward()
                optimizer.step()


def together(networks: list[MLP], sets: list[tuple[Tensor, Tensor]], orders: Tensor) -> list[Tensor]:
    """Makes the same trainings together: each step is one matrix multiplication for all, with one optimizer over stacked weights."""
    layers = [[network.hidden for network in networks], [network.output for network in networks]]
    weights = [nn.Parameter(torch.stack([one.weight.detach().T for one in layer])) for layer in layers]
    biases = [nn.Parameter(torch.stack([one.bias.detach() for one in layer]).unsqueeze(1)) for layer in layers]
    inputs, targets = (torch.stack(each) for each in zip(*sets, strict=True))
    inputs = inputs.flatten(2)
    optimizer = torch.optim.Adam([*weights, *biases])
    member = torch.arange(len(networks)).unsqueeze(1)
    for epoch in orders.unbind(1):
        for indices in epoch.split(BATCH, dim=1):
            optimizer.zero_grad()
            hidden = torch.baddbmm(biases[0], inputs[member, indices], weights[0]).relu()
            logits = torch.baddbmm(biases[1], hidden, weights[1])
            # The sum of the members' mean losses gives each member the gradient that it would have alone.
            cross_entropy(logits.flatten(0, 1), targets[member, indices].flatten(), reduction="sum").div(indices.shape[1]).backward()
            optimizer.step()
    return [parameter.detach() for parameter in (weights[0], biases[0], weights[1], biases[1])]


def measure(inputs: Tensor, labels: Tensor, members: int) -> str:
    """Measures one row of the table."""
    generator = torch.Generator().manual_seed(members)
    chosen = [torch.randperm(len(inputs), generator=generator)[:LABELED] for _ in range(members)]
    sets = [(inputs[indices], labels[indices]) for indices in chosen]
    shuffles = [torch.randperm(LABELED, generator=generator) for _ in range(members * EPOCHS)]
    orders = torch.stack(shuffles).view(members, EPOCHS, LABELED)
    starts = [MLP(16) for _ in range(members)]
    alone: list[MLP] = []
    stacked: list[Tensor] = []

    def separately() -> float:
        alone[:] = copy.deepcopy(starts)
        return seconds(lambda: one_by_one(alone, sets, orders))

    def jointly() -> float:
        return seconds(lambda: stacked.__setitem__(slice(None), together(starts, sets, orders)))

    base, joint = alternating(ROUNDS, separately, jointly)
    first, first_bias, second, second_bias = stacked
    with torch.inference_mode():
        logits = torch.baddbmm(second_bias, torch.baddbmm(first_bias, inputs.flatten(1).expand(members, -1, -1), first).relu(), second)
        expected = torch.stack([network(inputs) for network in alone])
    changed = int(logits.argmax(2).ne(expected.argmax(2)).sum())
    return (
        f"| {members} | {ratio(joint, base):.2f} | {float((logits - expected).abs().max()):.1e} | {changed} of {expected[..., 0].numel()} |"
    )


def main() -> None:
    """Runs both alternately for several numbers of members, and prints the table."""
    prepare()
    data = FashionMNISTSampleDataModule()
    data.setup("fit")
    inputs, labels = data._train.inputs(torch.arange(len(data._train)), torch.device("cpu")), data._train.labels
    print("| MLP-16 trained together | time / one by one | largest difference of a logit | other predictions |")
    print("|---|---|---|---|")
    for members in (4, 16, 64):
        print(measure(inputs, labels, members))


if __name__ == "__main__":
    main()
