"""What every network with a prefix and a tail must do."""

import torch
from torch import nn

from al_lightning.acquisition.inference import Batch, dropout_passes
from al_lightning.tasks.fitting import depends_on_others


def padding_is_outside(network: nn.Module, stride: int) -> None:
    """An image of any size has the logits of the image that was padded with zeros to multiples of the stride."""
    height, width = 2 * stride + 2, 2 * stride - 3
    images = torch.rand(2, 3, height, width)
    with torch.no_grad():
        logits = network(images)
        padded = network(torch.nn.functional.pad(images, (0, 3, 0, stride - 2)))
    assert logits.shape == (2, 5, height, width)
    torch.testing.assert_close(logits, padded[:, :, :height, :width])


def cached_equals_naive(network: nn.Module, images: torch.Tensor, passes: int = 3) -> None:
    """Passes over the cached prefix equal whole passes through the network that use the very masks that the cached ones drew.

    What a plain pass says of an image does not depend on the other images.
    """
    assert not depends_on_others(network, images[:1])
    indices = torch.tensor([7, 3, 11, 2])[: len(images)]
    layers = [m for m in network.modules() if isinstance(m, nn.Dropout)]
    masks = {layer: [] for layer in layers}
    with torch.no_grad(), dropout_passes(network, passes, 0.5, seed=2) as logits_of:
        handles = [layer.register_forward_hook(lambda m, args, output: masks[m].append(output / args[0])) for layer in layers]
        cached = torch.cat(list(logits_of(Batch(network, images, indices))))
        for handle in handles:
            handle.remove()
    # The first ones are of a look at other numbers of rows.
    drawn = {layer: torch.cat([mask.unflatten(0, (-1, len(images))) for mask in its[1:]]) for layer, its in masks.items()}
    with torch.no_grad():
        for number in range(passes):
            handles = [
                layer.register_forward_hook(lambda m, args, output, number=number: torch.where(drawn[m][number] > 0, output * 2, 0))
                for layer in layers
            ]
            torch.testing.assert_close(cached[number], network(images), rtol=1e-4, atol=1e-4)
            for handle in handles:
                handle.remove()
    assert not torch.equal(cached[0], cached[1])
