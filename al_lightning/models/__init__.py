"""Networks: plain ``nn.Module`` classes that know nothing of Lightning or of active learning."""

from al_lightning.models.deeplab import DeepLabV3Plus
from al_lightning.models.mlp import MLP

__all__ = ["MLP", "DeepLabV3Plus"]
