"""Clips of optical flow are changed as the flow of changed videos would be."""

import pytest
import torch
from torch.testing import assert_close

from pseudo3d.data.dataset import Batch, EpochSampler
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import Augment, augment, center_crop
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.training.module import ClipTraining
from pseudo3d.engine.training.train import train
from pseudo3d.errors import Pseudo3dError
from pseudo3d.features.sources import mirrored
from pseudo3d.models import create_model

FLOW = {"resize": 18, "size": (16, 16), "color": "flow", "mean": (0.5,) * 2, "std": (0.5,) * 2}
PRE = Preprocessing(frames=2, **FLOW)
SHAPES = {"rotate": 40, "zoom": (0.7, 1.4), "stretch": 0.3, "shear": 0.3}


def generator():
    return torch.Generator().manual_seed(0)


def flows(n, channels=3):
    """Noise, as read from flow videos: whose third channel says nothing."""
    return torch.randint(0, 256, (n, channels, 2, 18, 18), dtype=torch.uint8, generator=generator())


def tiny():
    torch.manual_seed(0)
    return create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=3, in_channels=2)


def test_mirror_images_move_the_other_way():
    clips = flows(32)
    out, turned = augment(clips.float(), (16, 16), Augment(flip=True), generator(), flow=True)
    plain = center_crop(clips[:, :2], (16, 16))
    wanted = torch.where(turned.view(-1, 1, 1, 1, 1), mirrored(plain, PRE), plain)
    assert 8 < int(turned.sum()) < 24
    assert_close(out, wanted.float(), rtol=0, atol=0.05)


def test_what_rests_rests_however_it_is_moved():
    rest = torch.full((50, 2, 2, 18, 18), 128.0)
    how = Augment(**SHAPES, shift=0.9, flip=True)
    out, _ = augment(rest, (16, 16), how, generator(), flow=True)
    assert_close(out, torch.full_like(out, 128.0))


def test_motion_turns_and_grows_as_the_picture_does():
    """It goes where a spot goes that lies as far from the middle as the motion is long."""
    right, down, n = 12, -9, 40
    y, x = torch.meshgrid(torch.arange(61.0) - 30, torch.arange(61.0) - 30, indexing="ij")
    spot = torch.exp(-((x - right).square() + (y - down).square()) / 4).expand(n, 1, 1, 61, 61)
    how = Augment(**SHAPES, flip=True)
    seen, turned = augment(spot, (61, 61), how, generator())
    mass = seen.sum((1, 2, 3, 4))
    found = torch.stack([(seen * axis).sum((1, 2, 3, 4)) / mass for axis in (x, y)], 1)

    motion = (
        torch.tensor([128.0 + right, 128 + down, 0]).view(1, 3, 1, 1, 1).expand(n, 3, 1, 61, 61)
    )
    out, again = augment(motion, (61, 61), how, generator(), flow=True)
    assert torch.equal(turned, again)
    assert 8 < int(turned.sum()) < 32
    assert_close(out[:, :, 0, 30, 30] - 128, found, rtol=0, atol=0.1)


def test_a_network_of_flow_is_trained_on_flow(small):
    net, seen = tiny(), {}
    module = ClipTraining(
        net,
        small.but(augment=Augment(flip=True)),
        PRE,
        EpochSampler(30, 30, 0),
        steps=1,
        swap=torch.arange(3),
    )
    net.register_forward_pre_hook(lambda _, args: seen.update(clips=args[0]))
    clips = flows(30)
    module.training_step(Batch(clips, torch.arange(30), torch.arange(30) % 3), 0)
    plain = center_crop(clips[:, :2], PRE.size)
    kinds = [PRE.normalize(plain), PRE.normalize(mirrored(plain, PRE))]
    near = [(seen["clips"] - kind).abs().amax((1, 2, 3, 4)) < 1e-2 for kind in kinds]
    assert all(sum(kind) > 5 for kind in near)
    assert bool((near[0] ^ near[1]).all())


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_light_is_refused_before_anything_is_written(tmp_path, parts, store, small, name):
    how = small.but(augment=Augment(**{name: 0.25}), input={**small.input, **FLOW})
    with pytest.raises(Pseudo3dError, match=rf"{name}=0\.25.*--set augment\.{name}=0"):
        train(tiny(), parts, store, Job(recipe=how, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("known", [True, False])
def test_a_run_on_flow_comes_to_its_end(tmp_path, parts, store, small, known):
    flow = FLOW if known else {k: v for k, v in FLOW.items() if k not in ("mean", "std")}
    how = small.but(steps=1, input={**small.input, **flow}, augment=Augment(flip=True, rotate=5))
    train(net := tiny(), parts, store, Job(recipe=how, out=tmp_path / "run"))
    pre = net.card.preprocessing
    assert pre.color == "flow"
    assert (pre.mean == FLOW["mean"]) == known
