"""The 2-D form on frames computes what the network does, on tensors of at most four axes."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pseudo3d.errors import Pseudo3dError
from pseudo3d.nn.conv import Conv3d
from pseudo3d.runtime.flat import flatten, to_frames
from runtime.cases import CASES


class MostAxes(TorchDispatchMode):
    """Remembers the largest number of axes of any result."""

    axes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.axes = max(self.axes, result.ndim)
        return result


@pytest.mark.parametrize("shape", [(2, 3, 8, 32, 40), (1, 3, 5, 33, 29), (3, 3, 1, 24, 24)])
@pytest.mark.parametrize("case", CASES)
def test_flat_form_equals_the_network(trained, case, shape):
    net = trained(CASES[case][0], **CASES[case][1])
    clip = torch.randn(shape)
    frames, flat = to_frames(clip), flatten(net, shape[2])
    with torch.inference_mode(), MostAxes() as most:
        logits = flat(frames)
    with torch.inference_mode():
        want = net(clip)
    assert float((logits - want).norm() / want.norm()) < 3e-6
    assert most.axes == 4


def test_a_clip_without_frames_is_refused(trained):
    with pytest.raises(ValueError, match="frames is 0"):
        flatten(trained("p3d_nano"), 0)


def test_an_operator_without_a_flat_form_is_named(trained):
    net = trained("p3d_nano")
    net.stem.conv = Conv3d(3, 16, (3, 5, 5), padding=(1, 2, 2))
    net.stem.act = torch.nn.Softsign()
    with pytest.raises(Pseudo3dError, match=r"stem_act.*OpenVINO"):
        flatten(net, 8)
