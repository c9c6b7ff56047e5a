"""Scores are log-odds of what is asked, the fast way agrees, and wrong targets are named."""

import pytest
import torch
from torch import nn

from explain.known_nets import Spotter, bright
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.asking import BATCH, ask
from pseudo3d.explain.attribution import explain
from pseudo3d.models import create_model


class Says(nn.Module):
    """Answers what it was told, times the brightness of the clip."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return x.mean((1, 2, 3, 4)).view(-1, *[1] * (self.answer.ndim - 1)) * self.answer


def test_the_score_is_the_odds_of_the_probability():
    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=5, in_channels=1).eval()
    clips = torch.randn(BATCH + 3, 1, 4, 16, 16)
    question = ask(net, clips[0], 3)
    fast = question.scores(iter(clips))
    with torch.no_grad():
        probs = net(clips).softmax(1)[:, 3]
        assert torch.allclose(question.score(clips), fast, atol=1e-4)
    assert torch.allclose(question.answer(fast), probs, atol=1e-5)
    assert fast.shape == (BATCH + 3,)


def test_none_asks_for_the_answer():
    assert ask(Spotter(), bright(), None).name == "seen"
    assert ask(Spotter(), 0 * bright(), None).name == "no"
    assert ask(Says(torch.tensor([[0.0, 1.0, 3.0]])), bright(), None).name == "2"


def test_a_number_is_its_own_score():
    question = ask(Says(torch.tensor([[3.0]])), bright(), None)
    assert (question.kind, question.name) == ("value", "value")
    assert question.answer(question.scores([2 * bright()])).tolist() == [6.0]
    with pytest.raises(Pseudo3dError, match="one number"):
        ask(Says(torch.tensor([[3.0]])), bright(), "cat")


def test_of_a_mask_the_voxels_are_asked_that_got_the_label():
    odds = torch.zeros(1, 3, 2, 2, 2)
    odds[0, 1, 0], odds[0, 2, 1, 1] = 2.0, 5.0
    question = ask(Says(odds), torch.ones(1, 2, 2, 2), None)
    assert (question.kind, question.index) == ("label", 1)  # four voxels; the other label has two
    assert question.where.sum() == 4
    share = torch.tensor([2.0, 0.0, 0.0]).softmax(0)[0]
    assert question.scores([torch.ones(1, 2, 2, 2)])[0] == pytest.approx(float(share.logit()))
    third = ask(Says(odds - 9 * torch.eye(3)[2].view(1, 3, 1, 1, 1)), torch.ones(1, 2, 2, 2), 2)
    assert third.where is None


def test_frames_that_answer_one_by_one_are_averaged():
    answers = torch.tensor([[[0.0, 2.0], [0.0, 4.0]]])
    question = ask(Says(answers), bright(), 1)
    assert question.scores([bright()]).tolist() == [3.0]


def test_a_network_in_training_or_in_halves_is_left_as_it_is():
    """A loop of training that asks what it looks at went on with its batch norms frozen."""
    net = create_model("p3d_nano", num_classes=2, in_channels=1).train().bfloat16()
    found = explain(net, torch.randn(1, 4, 16, 16), target=1, method="occlusion")
    assert found.target == "1"
    assert net.training
    assert net.head.weight.dtype == torch.bfloat16
