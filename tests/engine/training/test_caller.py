"""What training leaves to its caller: a network that knows what it learned, and random numbers."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from pseudo3d.engine.predict import predict
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.train import train
from pseudo3d.errors import WeightsError
from pseudo3d.weights import load

NEW = {"bright": "lamp", "dark": "cave", "middle": "room"}


def renamed(part):
    """The same videos under other names."""
    items = tuple(replace(item, label=NEW[item.label]) for item in part.items)
    return replace(part, items=items, classes=tuple(NEW.values()))


def test_a_network_knows_the_classes_and_the_input_it_was_trained_with_last(
    tmp_path, trained, films, store, small
):
    net = load(trained / "weights.safetensors")
    given = {**small.input, "frames": 2, "mean": (0.4,) * 3, "std": (0.4,) * 3}
    job = Job(recipe=small.but(steps=1, input=given), out=tmp_path / "run")
    again = load(train(net, Parts(train=renamed(films.split("train"))), store, job))
    assert net.card == again.card
    assert (net.card.preprocessing.frames, net.card.preprocessing.mean) == (2, (0.4,) * 3)
    ours, theirs = (predict(model, films.items[0].path) for model in (net, again))
    assert ours.classes == theirs.classes == ("lamp", "cave", "room")
    np.testing.assert_allclose(ours.probs, theirs.probs, atol=1e-6)


class Stop(Callback):
    """Ends a run after its first batch."""

    def on_train_batch_end(self, *_):
        raise RuntimeError


@pytest.mark.parametrize("callbacks", [[], [Stop()]])
def test_random_numbers_go_on_as_if_nothing_had_been_trained(
    tmp_path, parts, store, small, fresh, callbacks
):
    net = fresh()
    before = torch.get_rng_state(), random.getstate()
    job = Job(recipe=small.but(steps=1), out=tmp_path / "run")
    try:
        train(net, parts, store, job, callbacks)
    except RuntimeError:
        assert callbacks
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def by_hand(net):
    """A head put in without the config."""
    net.head = nn.Linear(net.head.in_features, 3)
    return net


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda fresh: fresh(classes=2), "gives 2 answers, and its config says 2"),
        (lambda fresh: fresh(classes=7), "gives 7 answers, and its config says 7"),
        (lambda fresh: by_hand(fresh(classes=7)), "gives 3 answers, and its config says 7"),
    ],
)
def test_a_head_of_another_size_is_refused_before_anything_is_written(
    tmp_path, parts, store, small, fresh, make, told
):
    wanted = rf"{told}; the data have 3 \(bright, dark, middle\).*create_model\(.*num_classes=3\)"
    with pytest.raises(WeightsError, match=wanted):
        train(make(fresh), parts, store, Job(recipe=small, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
