"""The gradient of a step is the mean over its clips, however they are cut into batches."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.testing import assert_close

from pseudo3d.data.dataset import EpochSampler
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import Augment, center_crop
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.module import ClipTraining
from pseudo3d.engine.training.train import train

PRE = Preprocessing(frames=2, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


class Steps(Callback):
    """Compares the gradient of every step with that of the mean loss of its clips."""

    def __init__(self):
        self.batches, self.clips = [], []

    def on_train_start(self, trainer, module):
        for layer in module.net.modules():
            if isinstance(layer, nn.BatchNorm3d | nn.Dropout):
                layer.eval()  # else a clip's gradient depends on the rest of its batch

    def on_train_batch_start(self, trainer, module, batch, _):
        self.batches.append(batch)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        clips, _, labels = (torch.cat(parts) for parts in zip(*self.batches, strict=True))
        self.batches.clear()
        self.clips.append(len(clips))
        given = module.pre.normalize(center_crop(clips.float(), module.pre.size))
        loss = F.cross_entropy(module.net(given), labels)
        weights = list(module.net.parameters())
        wanted = torch.autograd.grad(loss, weights)
        for p, grad in zip(weights, wanted, strict=True):
            assert_close(p.grad, grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("batch", "accumulate", "clips"),
    [(4, 2, [8, 1]), (3, 8, [9]), (2, 3, [6, 3]), (4, 1, [4, 4, 1])],
)
def test_a_step_takes_the_mean_over_its_clips(
    tmp_path, films, store, small, fresh, batch, accumulate, clips
):
    part = films.split("train")
    parts = Parts(train=replace(part, items=part.items[::2]))
    how = small.but(epochs=2, batch=batch, accumulate=accumulate, clip_norm=0.0, augment=Augment())
    steps = Steps()
    train(fresh(), parts, store, Job(recipe=how, out=tmp_path / "run"), [steps])
    assert steps.clips == 2 * clips


def test_the_loss_that_is_told_is_that_of_the_clips(small, fresh):
    module = module_of(fresh(), small.but(batch=4, accumulate=4), items=9)
    module.batches = 2  # one clip, which Lightning will divide by 4
    loss = module.step_done(torch.tensor(3.0), module.sampler.share(2))
    assert float(loss) == pytest.approx(3.0 * 4 / 9)
    assert module.sums.tolist() == [3.0, 0.0, 1.0]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_clips_weigh_the_same_in_every_process_and_after_every_number_of_batches(
    small, fresh, ranks
):
    how, net = small.but(batch=4, accumulate=8), fresh()
    for rank in range(ranks):
        module = module_of(net, how, items=9, rank=rank, ranks=ranks)
        found = []
        for module.batches in range(6):  # two epochs of one step, of 4 + 4 + 1 clips
            share = module.sampler.share(module.batches % 3)
            own = share.stop - share.start
            # a clip's share in the step: its process's mean, by all processes and by `accumulate`
            found.append(share.weight * module.weight() / ranks / 8 / own if own else None)
        wanted = [1 / 9, 1 / 9, None if rank else 1 / 9]
        for ours, right in zip(found, 2 * wanted, strict=True):
            assert ours == (None if right is None else pytest.approx(right))


def module_of(net, how, *, items, **place):
    sampler = EpochSampler(items, how.batch, 0, **place)
    return ClipTraining(net, how, PRE, sampler, steps=10, swap=torch.arange(3))
