"""A network that learns what another says."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.teacher import Teacher
from pseudo3d.engine.training.train import train
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.weights import load, save

NET = {"widths": (4, 4, 8, 8), "stem_width": 4}
PRE = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.4,) * 3, std=(0.2,) * 3)
CLASSES = ("bright", "dark", "middle")


@pytest.fixture
def taught(tmp_path):
    """A teacher of random weights whose classes are in another order, and its network."""

    def make(pre=PRE, classes=CLASSES[::-1]):
        torch.manual_seed(3)
        net = create_model("p3d_nano", **NET, num_classes=len(classes), in_channels=pre.channels)
        torch.nn.init.normal_(net.head.weight)
        path = tmp_path / "teacher.safetensors"
        save(net.eval(), path, classes=classes, preprocessing=pre)
        return path, net.eval()

    return make


def test_a_teacher_speaks_in_its_pupils_order_of_classes(taught):
    path, net = taught()
    clips = torch.randint(0, 256, (2, 3, 4, 16, 16)).float()
    with torch.no_grad():
        logits = net(PRE.normalize(clips))
    told = Teacher(path, CLASSES, PRE, 2.0)
    assert torch.allclose(told(clips), (logits.flip(1) / 2).softmax(1), atol=1e-6)
    assert not any(p.requires_grad for p in told.net.parameters())


def test_the_loss_is_the_divergence_times_the_squared_temperature(taught):
    told = Teacher(taught()[0], CLASSES, PRE, 2.0)
    probs, logits = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[1.0, -1.0, 0.5]])
    own = (logits / 2).softmax(1)
    assert torch.allclose(told.loss(logits, probs), 4 * (probs * (probs / own).log()).sum())
    assert float(told.loss((2 * probs).log() * 2, probs)) == pytest.approx(0.0, abs=1e-6)


def test_a_teacher_may_look_at_other_frames_and_another_size(taught):
    pre = replace(PRE, frames=2, size=(8, 12), resize=12)
    path, net = taught(pre)
    clips = torch.randint(0, 256, (1, 3, 4, 16, 16)).float()
    small = F.interpolate(clips[0, :, [0, 3]], (8, 12), mode="bilinear", align_corners=False)
    with torch.no_grad():
        logits = net(pre.normalize(small[None]))
    told = Teacher(path, CLASSES, PRE, 1.0)(clips)
    assert torch.allclose(told, logits.flip(1).softmax(1), atol=1e-6)


def test_teachers_that_cannot_teach_are_refused(taught):
    path, _ = taught(classes=("bright", "dark"))
    with pytest.raises(Pseudo3dError, match="only in one of them: middle"):
        Teacher(path, CLASSES, PRE, 1.0)
    flow = replace(PRE, color="flow", mean=(0.5,) * 2, std=(0.2,) * 2)
    path, _ = taught(flow)
    with pytest.raises(Pseudo3dError, match="the teacher sees flow, its pupil rgb"):
        Teacher(path, CLASSES, PRE, 1.0)


def test_a_pupil_comes_to_say_what_its_teacher_says(taught, films, store, tmp_path):
    path, _ = taught(replace(PRE, mean=(0.5,) * 3, std=(0.3,) * 3))
    given = {"frames": 4, "resize": 18, "size": (16, 16)}
    told = {}
    for distill in (0.01, 1.0):
        recipe = Recipe(
            epochs=40, batch=6, lr=1e-2, precision="fp32", distill=distill, temperature=1.0,
            label_smoothing=0.0, ema=0.0, weight_decay=0.0, input=given,
        )  # fmt: skip
        torch.manual_seed(0)
        pupil = create_model("p3d_nano", **NET, num_classes=3)
        job = Job(recipe=recipe, out=tmp_path / str(distill), teacher=path)
        weights = train(pupil, Parts(train=films), store, job)
        clips = torch.randint(30, 220, (64, 3, 1, 1, 1)).expand(-1, -1, 4, 16, 16).float()
        told[distill] = Teacher(weights, CLASSES, PRE, 1.0)(clips).argmax(1)
    assert load(weights).card.training["teacher"] == "teacher.safetensors"
    right = Teacher(path, CLASSES, PRE, 1.0)(clips).argmax(1)
    agree = {distill: float((said == right).float().mean()) for distill, said in told.items()}
    assert agree[1.0] > agree[0.01]


@pytest.mark.parametrize("wrong", [{"distill": 0.0}, {"distill": 1.1}, {"temperature": 0.0}])
def test_shares_and_temperatures_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="distill is"):
        Recipe(**wrong)
