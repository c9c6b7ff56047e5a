"""Frames in pieces are the frames."""

import torch

from pseudo3d.runtime.streaming.rope import drop, entire, length, own, singles, take
from pseudo3d.runtime.views import dense, frames


def test_ropes():
    rope = tuple(torch.arange(n, dtype=torch.float32).view(1, 1, n, 1, 1) for n in (2, 1, 3))
    whole = torch.cat(rope, 2)
    assert length(rope) == 6
    assert entire(()) is None
    for count in range(7):
        taken, left = entire(take(rope, count)), entire(drop(rope, count))
        assert torch.equal(whole[:, :, :count], taken if taken is not None else whole[:, :, :0])
        assert torch.equal(whole[:, :, count:], left if left is not None else whole[:, :, :0])
    assert [x.shape[2] for x in singles(rope)] == [1] * 6
    (part,) = own((whole[:, :, 2:3],))
    assert part.untyped_storage().nbytes() == part.nbytes
    (rest,) = drop((whole,), 4)
    assert rest.untyped_storage().nbytes() == rest.nbytes


def test_frames_of_one_pixel_are_joined_in_channels_last_memory():
    rope = tuple(dense(torch.randn(2, 3, 1, 1, 1)) for _ in range(4))
    images = torch.stack([x[:, :, 0] for x in rope], 1).flatten(0, 1)
    assert torch.equal(frames(entire(rope)), images)
