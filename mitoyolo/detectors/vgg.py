"""VGG-16's convolutions, which three of the two-stage detectors stand on."""

from __future__ import annotations

from torch import nn
from torchvision.models.vgg import cfgs, make_layers

CONV3_3, CONV4_3, CONV5_3 = 16, 23, 30
"""How many of torchvision's layers lead to each map, its ReLU included: strides 4, 8 and 16 px."""

STD = 0.01
"""Of the normal distribution that layers without pretrained weights begin with (Girshick 2015)."""


def vgg16_layers(end: int) -> nn.Sequential:
    """The layers of VGG-16 (Simonyan and Zisserman 2015, configuration D) up to a map.

    He initialisation: where no pretrained weights replace it, N(0, 0.01) would leave an activation
    of 6e-8 after the last layer.

    Parameters
    ----------
    end : int
        :data:`CONV3_3`, :data:`CONV4_3` or :data:`CONV5_3`.

    Returns
    -------
    Sequential
        Named as torchvision numbers them, so that its weights fit.
    """
    layers: nn.Sequential = make_layers(cfgs["D"])[:end]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layers


def begin_new(*modules: nn.Module) -> None:
    """Draw the weights of new layers from N(0, 0.01), biases 0."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(layer.weight, std=STD)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
