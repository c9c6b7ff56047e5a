"""Maps find what is known to decide, frame by frame, and say so of the right class."""

import json

import numpy as np
import pytest
import torch

from explain.known_nets import MOMENT, Spotter, bright, inside
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.errors import Pseudo3dError, VideoError
from pseudo3d.explain.attribution import (
    METHODS,
    Attribution,
    How,
    explain,
    explain_span,
    explain_video,
)
from pseudo3d.models import create_model
from pseudo3d.weights import save

pytest.importorskip("captum", reason="gradients need the extra `explain`")

FINE = How(cells=(8, 4, 4), check=True)


@pytest.mark.parametrize("method", ["gradcam", "integrated", "occlusion"])
def test_a_map_points_at_the_cell_and_the_frame_that_decide(method):
    found = explain(Spotter(), bright(), method=method, how=FINE)
    assert found.target == "seen"
    assert found.answer == pytest.approx(torch.tensor(8.0).sigmoid().item(), abs=1e-4)
    # blocks of two cells hide the neighbors, too, and a coarse layer is spread between its places
    assert inside(found.heat) > {"gradcam": 0.3, "integrated": 0.8, "occlusion": 0.06}[method]
    assert found.heat[MOMENT, 4:8, 8:12].max() == found.heat.max() == 1
    assert int(found.importance.argmax()) == MOMENT
    assert found.importance.sum() == pytest.approx(1)
    assert found.faithfulness.verdict == "faithful"
    assert found.verdict.startswith("the map shows what the answer rests on")
    if method != "occlusion":
        assert found.importance[MOMENT] == pytest.approx(1)


def test_a_wrong_map_is_caught():
    for seed in range(5):
        found = explain(Spotter(), bright(), method="random", seed=seed, how=FINE)
        if inside(found.heat) < 0.01:  # chance may hit
            assert found.faithfulness.verdict == "random"
            assert found.verdict.startswith("the map is no better than random")
            return
    pytest.fail("five random maps all point at the cell")


def test_the_class_decides_what_is_evidence():
    seen = explain(Spotter(), bright(), target="seen", method="integrated")
    other = explain(Spotter(), bright(), target=0, method="integrated")
    assert (other.target, other.answer) == ("no", pytest.approx(1 - seen.answer, abs=1e-6))
    assert np.allclose(other.evidence, -seen.evidence, atol=1e-5)
    assert other.heat.max() == 0
    assert other.importance == pytest.approx(np.full(8, 1 / 8))
    assert any("nothing in the clip speaks for no" in note for note in other.notes)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("p3d_tiny", {}),
        ("p3d_tiny", {"causal": True}),
        ("r3d_tiny", {}),
        ("tsm_tiny", {"shift": "online"}),
        ("c3d_tiny", {}),
        ("p3d_light_s", {}),
        ("resnet_tiny", {}),
    ],
)
def test_every_family_has_a_map_that_differs_from_frame_to_frame(name, options):
    torch.manual_seed(0)
    net = create_model(name, num_classes=3, in_channels=1, **options)
    clip = torch.randn(1, 8, 32, 32)
    for method in ("gradcam", "occlusion"):
        found = explain(net, clip, method=method, how=How(cells=(4, 3, 3)))
        assert found.heat.shape == (8, 32, 32)
        assert found.importance.std() > 1e-4
        assert 0 <= found.heat.min() <= found.heat.max() <= 1
    assert all(p.grad is None for p in net.parameters())


def test_time_that_is_pooled_away_is_taken_from_an_earlier_layer():
    torch.manual_seed(0)
    net = create_model("p3d_tiny", num_classes=3, in_channels=1, semantics="release",
                       time_pools=(2, 2, 2, 2))  # fmt: skip
    clip = torch.randn(1, 16, 32, 32)
    with torch.no_grad():
        assert net.feature_map(clip[None]).shape[2] == 1
    found = explain(net, clip)
    assert found.places[0] == 4
    assert len({frame.tobytes() for frame in found.heat}) > 4
    assert "4 moments are told apart in 16 frames" in found.notes[0]
    late = explain(net, clip, how=How(layer="res5"))
    assert late.places[0] == 1
    assert len({frame.tobytes() for frame in late.heat}) == 1


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("gradcam", {"layer": "stem"}),
        ("integrated", {"baseline": "blur"}),
        ("integrated", {"baseline": "still"}),
        ("occlusion", {"cells": (2, 2, 2)}),
        ("random", {"seed": 1}),
    ],
)
def test_every_option_changes_the_map(method, change):
    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=3, in_channels=1)
    clip = torch.randn(1, 4, 24, 24)
    first, again = (explain(net, clip, method=method, how=How(cells=(3, 3, 3))) for _ in range(2))
    other = explain(net, clip, method=method, how=How(**{"cells": (3, 3, 3), **change}))
    assert np.array_equal(first.heat, again.heat)
    assert not np.allclose(first.heat, other.heat)
    assert first.faithfulness is None
    assert first.deletion is first.insertion is None
    assert first.verdict == "the map was not tested"


def test_the_heat_lies_where_the_crop_was():
    found = explain(Spotter(), bright(), method="occlusion", how=How(cells=(8, 4, 4)))
    placed = Attribution(**{**vars(found), "box": (0.25, 0.5, 0.75, 1.0)})
    framed = placed.framed(32, 32)
    assert framed.shape == (8, 32, 32)
    assert np.allclose(framed[:, 8:24, 16:], found.heat, atol=1e-5)
    outside = framed.copy()
    outside[:, 8:24, 16:] = 0
    assert outside.max() == 0
    assert np.allclose(found.framed(16, 16), found.heat, atol=1e-5)


@pytest.fixture(scope="module")
def spot(tmp_path_factory):
    """A network for videos of 24 x 16 pixels, and one that is long and dark but for a while."""
    home = tmp_path_factory.mktemp("spot")
    pre = Preprocessing(frames=8, resize=16, size=(16, 16), color="gray", scale=255.0,
                        mean=(0.0,), std=(1.0,))  # fmt: skip
    net = Spotter(preprocessing=pre, training={"clip_seconds": 1.0, "longest_seconds": 1.0})
    film = torch.zeros(3, 60, 16, 24, dtype=torch.uint8)
    film[:, 20:30] = 255  # 2 to 3 s
    write_video(home / "film.mp4", film, fps=10)
    return net, home / "film.mp4"


def test_the_window_that_is_surest_is_explained_in_the_time_of_the_video(spot):
    net, film = spot
    seen, found = explain_video(net, film, target="seen", how=FINE)
    assert len(seen.starts) > 10
    best = int(seen.window_probs[:, 1].argmax())
    assert found.span == (seen.starts[best], seen.ends[best])
    assert 2 <= found.times[MOMENT] < 3
    assert np.all(np.diff(found.times) > 0)
    assert found.answer > 0.9
    assert found.box == pytest.approx((0, 4 / 24, 1, 20 / 24))
    assert found.framed(16, 24)[:, :, :4].max() == 0
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["target"] == "seen"
    assert plain["test"]["verdict"] == "faithful"
    assert len(plain["times"]) == len(plain["importance"]) == 8


def test_another_window_can_be_asked_for_by_number_or_by_time(spot):
    net, film = spot
    seen, first = explain_video(net, film, target=1, window=0)
    assert first.span == (seen.starts[0], seen.ends[0])
    _, later = explain_video(net, film, target="seen", window=4.5)
    assert later.span[0] <= 4.5 < later.span[1]
    assert later.answer < 0.1
    again = explain_span(net, film, later.span, target="seen")
    assert np.array_equal(again.heat, later.heat)


def test_a_map_that_is_not_tested_makes_no_program(monkeypatch):
    def refuse(net):
        raise AssertionError("packed for a pass or two")

    monkeypatch.setattr("pseudo3d.explain.asking.optimize", refuse)
    net = create_model("p3d_nano", num_classes=3, in_channels=1)
    assert explain(net, torch.randn(1, 4, 24, 24)).faithfulness is None
    with pytest.raises(AssertionError, match="packed"):
        explain(net, torch.randn(1, 4, 24, 24), how=How(check=True))


def test_what_cannot_be_explained_is_refused(spot, tmp_path, unchecked):
    net, film = spot
    with pytest.raises(Pseudo3dError, match="numbered 0 to"):
        explain_video(net, film, window=99)
    with pytest.raises(Pseudo3dError, match="'maybe'"):
        explain_video(net, film, target="maybe")
    with pytest.raises(Pseudo3dError, match="wanted 0 to 1"):
        explain(net, bright(), target=2)
    with pytest.raises(Pseudo3dError, match="no batch axis"):
        explain(net, bright()[None])
    with pytest.raises(Pseudo3dError, match="nowhere"):
        explain(net, bright(), how=How(layer="nowhere"))
    with pytest.raises(TypeError, match="lime"):
        explain(net, bright(), method="lime")
    with pytest.raises(TypeError, match="black"):
        How(baseline="black")
    with pytest.raises(ValueError, match="wanted 1 or"):
        How(cells=(0, 1, 1))
    (tmp_path / "no.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match="0 bytes"):
        explain_video(net, tmp_path / "no.mp4")


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"pseudo3d\[explain\]"):
        explain(Spotter(), bright())
    assert explain(Spotter(), bright(), method="occlusion").target == "seen"


def test_a_checkpoint_is_opened_by_its_path(tmp_path):
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=2, in_channels=1)
    save(net, tmp_path / "w.safetensors", classes=("a", "b"))
    clip = torch.randn(1, 4, 16, 16)
    ours, theirs = explain(tmp_path / "w.safetensors", clip), explain(net, clip)
    assert ours.target in ("a", "b")
    assert np.allclose(ours.heat, theirs.heat, atol=1e-5)
    assert set(METHODS) == {"gradcam", "integrated", "occlusion", "random"}
