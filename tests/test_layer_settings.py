"""What layers keep besides weights is put back."""

import torch
from torch import nn

from al_lightning.layer_settings import LayerSettings, unchanged


class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Dropout(0.3), nn.BatchNorm1d(3))
        self.register_buffer("seen", torch.zeros(2), persistent=False)
        self.register_buffer("sums", torch.zeros(4))
        self.name, self.list = "a", [1]


def change(module):
    module.name, module.inner[0].p = "b", 0.9
    module.list.append(2)
    module.inner[1].running_mean += 1
    module.sums += 1
    module.seen += 1


def test_numbers_texts_and_buffers_of_all_layers():
    module = Keeps()
    seen, sums = module.seen, module.sums
    kept = LayerSettings(module, persistent=False)
    for _ in range(2):
        change(module)
        kept.restore()
        assert (module.name, module.inner[0].p) == ("a", 0.3) and module.seen is seen and not module.seen.any()
    assert module.sums.tolist() == [2] * 4 and module.inner[1].running_mean.tolist() == [2] * 3  # which a checkpoint has
    assert module.list == [1, 2, 2]  # it might be shared
    with unchanged(module):
        change(module)
        module.seen = torch.ones(7)
    assert module.sums is sums and module.sums.tolist() == [2] * 4 and module.inner[1].running_mean.tolist() == [2] * 3
    assert module.seen.tolist() == [0, 0] and {*dict(module.named_buffers())} > {"seen", "sums"}


class Fills(nn.Module):
    """Fills a buffer in its first pass, and gives up another."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", None)
        self.register_buffer("grid", None, persistent=False)
        self.register_buffer("once", torch.zeros(2), persistent=False)

    def forward(self):
        self.scale, self.grid = torch.ones(3), torch.ones(4)
        del self.once


def test_buffers_that_come_and_go():
    module = Fills()
    kept, state = LayerSettings(module, persistent=False), [*module.state_dict()]
    for restore in (kept.restore, kept.restore):
        module()
        assert [*module.state_dict()] == ["scale"]
        restore()
        assert module.scale is None and module.grid is None and module.once.tolist() == [0, 0]
        assert [*module.state_dict()] == state == []
        module.load_state_dict(Fills().state_dict())
    with unchanged(module):
        module()
        module.once = 3  # no buffer any more
    assert [*dict(module.named_buffers())] == ["once"] and module.once.tolist() == [0, 0]
