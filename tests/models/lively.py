"""Networks whose every weight and statistic matters, and matters by its name only."""

from zlib import crc32

import torch
from torch import nn


def lively(net):
    """Give every weight and statistic a random value that depends on nothing but its name."""
    norms = {name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm3d)}
    for name, value in net.state_dict().items():
        draw = torch.Generator().manual_seed(crc32(name.encode()))
        owner, _, leaf = name.rpartition(".")
        if value.ndim > 1:
            nn.init.kaiming_normal_(value, generator=draw)
        elif leaf == "running_var" or (leaf == "weight" and owner in norms):
            nn.init.uniform_(value, 0.5, 1.5, generator=draw)
        elif value.is_floating_point():
            nn.init.normal_(value, std=0.2, generator=draw)
    return net.eval()


def told_apart(build, field, change, size, *, training=False):
    """Whether changing a field of a config changes the weights' names and shapes or the output."""
    nets = [build(), build(**{field: change})]
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in nets]
    if shapes[0] != shapes[1]:
        return True
    clip = torch.randn(
        2, nets[0].cfg.in_channels, *size, generator=torch.Generator().manual_seed(3)
    )
    outputs = []
    for net in nets:
        torch.manual_seed(1)  # the same draw of dropout
        outputs.append(net.train(training)(clip))
    return bool((outputs[0] - outputs[1]).norm() > 1e-3 * outputs[0].norm())
