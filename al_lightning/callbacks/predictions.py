"""A network's predictions of single images, for the people who label them."""

import cv2
import torch
from torch import nn

from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.data.scenes.image_folder import TakesPictures
from al_lightning.data.scenes.scene import Pixels


def predicted(network: nn.Module, data: object, picture: Pixels) -> Pixels | str | None:
    """The predicted class of each of the picture's pixels, uint8 ``(H, W)``, or its class's name; None if the data have no ``inputs_of``.

    Args:
        network: the network, on its device; its modules' modes are the same afterwards.
        data: the data module that it was trained on.
        picture: uint8 ``(H, W, 3)``, RGB.
    """
    if not isinstance(data, TakesPictures):
        return None
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    logits, _ = pixel_scores([], network, data.inputs_of(picture).unsqueeze(0).to(device), torch.zeros(1, dtype=torch.int64), 0)
    classes = logits[0].argmax(dim=0)
    if logits.ndim != 4:
        return data.class_names[int(classes)]
    found: Pixels = classes.byte().cpu().numpy()
    height, width = picture.shape[:2]  # inputs may have another size (data.init_args.square)
    if found.shape != (height, width):
        found = cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(found.dtype)
    return found
