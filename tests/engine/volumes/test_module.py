"""The watched part: it is scored on the CPU, and once an epoch, however a run is interrupted."""

import os
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from pseudo3d.data.dataset import Batch, EpochSampler
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.volumes.module import Goal, VolumeTraining
from pseudo3d.engine.volumes.train import train_volumes
from pseudo3d.models import create_model


class Elsewhere(Tensor):
    """As a tensor in the memory of an accelerator: numpy cannot have it."""

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self, *_):
        return self.as_subclass(Tensor)


def elsewhere(values):
    return values.as_subclass(Elsewhere)


PATCH = ScanPreprocessing(size=(4, 8, 8), view="patch", mean=(15.0,), std=(9.0,))
WHOLE = ScanPreprocessing(size=(8, 8, 8), mean=(15.0,), std=(9.0,))


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("classify", torch.tensor([0, 1, 1, 0])),
        ("regress", torch.tensor([0.5, 2.0, 1.0, 4.0])),
        ("segment", torch.randint(0, 2, (1, 4, 8, 8))),
    ],
)
def test_answers_and_truth_are_compared_on_the_cpu(task, labels, fresh, quick):
    classes, net, pre = ("a", "b"), fresh(num_classes=1 if task == "regress" else 2), WHOLE
    if task == "segment":
        pre = PATCH
        net = create_model("p3d_unet", widths=(4, 8), depths=(1, 1), strides=((1, 2, 2),))
    sampler = EpochSampler(4, 4, 0)
    goal = Goal(task=task, classes=classes)
    module = VolumeTraining(net.eval(), quick(), pre, sampler, goal=goal, steps=1)
    clips = torch.randint(0, 30, (len(labels), 1, *pre.size), dtype=torch.uint8)
    batch = Batch(elsewhere(clips), torch.arange(len(labels)), elsewhere(labels))
    with torch.no_grad():
        module.validation_step(batch, 0)
    assert {type(x) for pair in module.seen for x in pair} == {Tensor}
    assert isinstance(module.score(), float)


class Interrupt(Callback):
    """Ctrl-C in the step after so many."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.steps:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_best_epoch_whose_last_step_was_interrupted_is_kept_all_the_same(
    parts, store, fresh, quick, tmp_path
):
    class Spoil(Callback):
        """Ruins all epochs but the first one before they are watched."""

        def on_validation_epoch_start(self, trainer, module):
            if trainer.current_epoch > 0:
                torch.nn.init.zeros_(module.net.head.weight)

    def run(out, callbacks, *, resume=False):
        job = Job(recipe=quick(lr=3e-2), out=tmp_path / out, resume=resume)  # 6 steps an epoch
        return train_volumes(fresh(), parts, store, job, [Spoil(), *callbacks])

    whole = run("whole", [])
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            run("torn", [Interrupt(6)])
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    torn = run("torn", [], resume=True)
    assert torn.read_bytes() == whole.read_bytes()
    for out in ("whole", "torn"):
        assert (tmp_path / out / "metrics.csv").read_text().count("\n") == 1 + 2 * 3
