"""What a network says of a picture, for the people who label it."""

import numpy as np
import torch
from torch import nn

from al_lightning.callbacks.predictions import predicted
from al_lightning.data import FolderSegmentationDataModule


class Bright(nn.Module):
    """Class 1 where the first channel is above its mean."""

    def forward(self, inputs):
        return torch.stack([inputs[:, 0] * 0, inputs[:, 0]], dim=1)


def test_a_prediction_has_the_size_of_its_picture_also_where_the_network_sees_another():
    picture = np.zeros((12, 30, 3), np.uint8)
    picture[3:9, 10:25] = 255
    for square in (None, 60):
        data = FolderSegmentationDataModule("data", {"ground": 0, "cell": 7}, square=square)
        found = predicted(Bright(), data, picture)
        assert found.dtype == np.uint8 and np.array_equal(found, picture[:, :, 0] // 255)
