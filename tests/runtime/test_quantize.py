"""int8: calibration clips are drawn as said, and the copy computes nearly the same."""

import pytest
import torch

from pseudo3d import create_model
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.runtime import quantize as module
from pseudo3d.runtime.export import export
from pseudo3d.runtime.quantize import Calibration, choose
from pseudo3d.runtime.runner import open_runner

pytest.importorskip("nncf")

PRE = Preprocessing(
    frames=4, resize=16, size=(16, 16), color="gray", difference=True, mean=(0.4,), std=(0.2,)
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    home = tmp_path_factory.mktemp("films")
    rng = torch.Generator().manual_seed(0)
    for i in range(6):
        pixels = torch.randint(256, (3, 8, 16, 16), generator=rng, dtype=torch.uint8)
        write_video(home / f"{i}.mp4", pixels, fps=10)
    return [Item(path=home / f"{i}.mp4", label="x") for i in range(6)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return FrameStore(resize=16, gray=True, folder=tmp_path_factory.mktemp("frames"))


def test_the_seed_chooses_the_videos(videos):
    assert choose(videos, 3, 0) == choose(videos, 3, 0)
    assert len({choose(videos, 3, seed) for seed in range(5)}) > 1
    assert choose(videos, 99, 0) == tuple(videos)
    kept = [videos.index(item) for item in choose(videos, 4, 1)]
    assert kept == sorted(kept)


def test_clips_are_prepared_as_the_network_wants_them(videos, store):
    clips = Calibration(videos[:2], store, PRE)
    assert len(clips) == 2
    first, again = list(clips), list(clips)
    assert [tuple(c.shape) for c in first] == [(1, 2, 4, 16, 16)] * 2
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].dtype == torch.float32
    assert float(first[0][:, 1, 0].abs().max()) == 0  # nothing moved before the first frame
    assert float(first[0][:, 1, 1:].abs().max()) > 0


def test_unreadable_videos_are_left_out(videos, store, tmp_path):
    bad = Item(path=tmp_path / "bad.mp4", label="x")
    marked = FrameStore(resize=16, gray=True, quarantined={bad.path: "broken"})
    assert Calibration([*videos[:2], bad], marked, PRE).items == videos[:2]


def small():
    torch.manual_seed(1)
    return create_model("p3d_nano", widths=(8, 8, 8, 8), stem_width=8, in_channels=2, num_classes=3)


def test_int8_is_near_and_layers_go_back_to_float_until_it_is(videos, store, tmp_path, monkeypatch):
    net, clips = small(), Calibration(videos, store, PRE)
    plain = export(net, tmp_path / "p.xml", frames=4, size=(16, 16))
    found = export(
        net, tmp_path / "q.xml", "openvino", "int8", frames=4, size=(16, 16), calibration=clips
    )
    runner = open_runner(found.path)
    assert runner.precision == "int8"
    want = open_runner(plain.path)
    difference = torch.cat([runner(c) - want(c) for c in clips]).norm()
    relative = float(difference / torch.cat([want(c) for c in clips]).norm())
    assert 1e-4 < relative < module.TOLERANCE
    assert found.parity < module.TOLERANCE
    text = found.path.read_text()
    assert "FakeQuantize" in text
    assert 'element_type="i8"' in text

    monkeypatch.setattr(module, "TOLERANCE", 1e-5)
    strict = export(
        net, tmp_path / "s.xml", "openvino", "int8", frames=4, size=(16, 16), calibration=clips
    )
    assert strict.parity < found.parity
    assert strict.path.read_text().count("FakeQuantize") < text.count("FakeQuantize")
