"""Networks: plain ``nn.Module`` classes that know nothing of Lightning or of active learning."""

from al_lightning.models.convnet import ConvNet
from al_lightning.models.deeplab import DeepLabV3Plus
from al_lightning.models.fcn import FCN
from al_lightning.models.mlp import MLP
from al_lightning.models.segnet import SegNet

__all__ = ["FCN", "MLP", "ConvNet", "DeepLabV3Plus", "SegNet"]
