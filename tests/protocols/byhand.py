"""What a network says about a video, in a few plain lines that share nothing with the protocols."""

from pathlib import Path

import numpy as np
import torch

from pseudo3d.data.video import read_video
from pseudo3d.models.network import Network


def clips_of(path: Path, net: Network, count: int) -> torch.Tensor:
    """Evenly spread clips, cut and normalized in a few plain lines."""
    frames = read_video(path).frames.float()
    if net.card.preprocessing.color == "flow":
        frames = frames[:2]
    last = frames.shape[1] - 4
    starts = [round(last * i / (count - 1)) if count > 1 else round(last / 2) for i in range(count)]
    return torch.stack([(frames[:, s : s + 4] / 255 - 0.4) / 0.2 for s in starts])


def probs_by_hand(path: Path, net: Network, count: int) -> np.ndarray:
    """(clips, K)."""
    with torch.no_grad():
        return net(clips_of(path, net, count)).softmax(1).double().numpy()


def pool5_by_hand(path: Path, net: Network, count: int, mirror: bool = False) -> np.ndarray:
    """Mean over the clips, signed square root, length 1."""
    clips = clips_of(path, net, count)
    with torch.no_grad():
        rows = net.features(clips)
        if mirror:
            rows = (rows + net.features(clips.flip(-1))) / 2
    row = rows.double().mean(0).numpy()
    row = np.sign(row) * np.sqrt(np.abs(row))
    return row / np.linalg.norm(row)
