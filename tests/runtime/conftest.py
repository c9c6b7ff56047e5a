"""Networks as training leaves them: batch norm with statistics, temporal kernels that move."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pseudo3d import create_model
from pseudo3d.models.network import Network


def shaken(name: str, **config: Any) -> Network:
    """A network in eval mode whose every weight and statistic matters."""
    torch.manual_seed(0)
    net = create_model(name, num_classes=5, **config).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:
            nn.init.normal_(module.weight, std=0.05)
    return net


@pytest.fixture(scope="session")
def trained() -> Callable[..., Network]:
    """Builds networks by name and options."""
    return shaken
