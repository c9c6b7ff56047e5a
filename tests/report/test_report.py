"""Pictures, annotated videos and pages: right content, safe text, whole files or none."""

import errno
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from pseudo3d.data.video import probe, read_video, write_video
from pseudo3d.errors import Pseudo3dError, VideoError
from pseudo3d.report import plots
from pseudo3d.report.annotate import _fitted, annotate
from pseudo3d.report.html import Media, Section, Table, write_page
from pseudo3d.report.plots import bars_png, confusion_png, timeline_png, winning_segments

CLASSES = ("clap", "sit", "wave")
TIMES = np.array([0.5, 1.0, 1.5, 2.0])
PROBS = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.1, 0.0, 0.9]])


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def share_of(image: np.ndarray, color: str) -> float:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return float((np.abs(image.astype(int) - rgb).max(-1) <= 8).mean())


@pytest.fixture
def small_video(tmp_path: Path) -> Path:
    frames = torch.full((3, 25, 60, 80), 128, dtype=torch.uint8)
    write_video(tmp_path / "small.mp4", frames, fps=10)
    return tmp_path / "small.mp4"


def test_neighboring_windows_with_one_winner_become_one_segment():
    assert winning_segments(TIMES, PROBS, CLASSES) == [(0.25, 1.25, "sit"), (1.25, 2.25, "wave")]


def test_windows_may_come_in_any_order():
    order = [2, 0, 3, 1]
    shuffled = winning_segments(TIMES[order], PROBS[order], CLASSES)
    assert shuffled == winning_segments(TIMES, PROBS, CLASSES)


def test_one_window_is_a_segment():
    ((start, end, label),) = winning_segments([3.0], PROBS[:1], CLASSES)
    assert start < 3.0 < end
    assert label == "sit"


def test_the_timeline_shows_the_winners_and_the_truth(tmp_path):
    alone = picture(timeline_png(TIMES, PROBS, CLASSES, tmp_path / "a.png"))
    truth = [(0.3, 1.0, "clap"), (1.2, 2.0, "of no class")]
    both = picture(timeline_png(TIMES, PROBS, CLASSES, tmp_path / "b.png", truth, "Title"))
    clap, sit, wave = (plots.class_color(i) for i in range(3))
    assert min(share_of(alone, sit), share_of(alone, wave)) > 0.02
    assert share_of(alone, clap) == 0
    assert share_of(both, clap) > 0.01
    assert both.shape[0] > alone.shape[0]


@pytest.mark.usefixtures("unchecked")
def test_a_timeline_of_one_window_and_of_hundreds_of_classes_is_drawn(tmp_path):
    names = [f"class {i} with a rather long name" for i in range(300)]
    probs = np.random.default_rng(0).dirichlet(np.ones(300), size=1)
    assert picture(timeline_png([0.0], probs, names, tmp_path / "t.png")).size


def test_pictures_leave_the_settings_of_matplotlib_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "font.size", 11.5)

    def state():
        rest = {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}
        return mpl.get_backend(auto_select=False), rest

    before = state()
    timeline_png(TIMES, PROBS, CLASSES, tmp_path / "t.png")
    confusion_png(np.eye(3, dtype=int), CLASSES, tmp_path / "c.png")
    bars_png(["a"], {"P3D": [1.0]}, tmp_path / "b.png")
    assert state() == before


def test_the_confusion_matrix_is_dark_where_the_counts_are(tmp_path):
    right = picture(confusion_png(np.eye(3, dtype=int) * 5, CLASSES, tmp_path / "c.png", "T"))
    none = picture(confusion_png(np.zeros((3, 3), dtype=int), CLASSES, tmp_path / "n.png"))
    dark = "#08306b"
    assert share_of(right, dark) > 0.1
    assert share_of(none, dark) < 0.001


def test_bars_grow_with_the_score_and_chance_is_a_line(tmp_path):
    blue = plots.class_color(0)
    low = picture(bars_png(["a"], {"P3D": [0.2]}, tmp_path / "l.png"))
    high = picture(bars_png(["a"], {"P3D": [0.8]}, tmp_path / "h.png"))
    line = picture(bars_png(["a"], {"P3D": [0.8]}, tmp_path / "c.png", chance=0.5))
    assert share_of(high, blue) > 3 * share_of(low, blue)
    assert not np.array_equal(line, high)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "call",
    [
        lambda path: timeline_png(TIMES[:2], PROBS, CLASSES, path),
        lambda path: timeline_png(TIMES, PROBS, CLASSES[:2], path),
        lambda path: timeline_png([], np.zeros((0, 3)), CLASSES, path),
        lambda path: confusion_png(np.zeros((2, 3), dtype=int), CLASSES, path),
        lambda path: confusion_png(np.full((3, 3), -1), CLASSES, path),
        lambda path: bars_png(["a", "b"], {"P3D": [1.0]}, path),
        lambda path: bars_png([], {}, path),
        lambda path: bars_png([], {"P3D": []}, path),
    ],
)
def test_sizes_that_do_not_fit_are_refused(call, tmp_path):
    with pytest.raises(ValueError, match="wanted"):
        call(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_an_annotated_small_video_is_enlarged_and_keeps_its_frames(small_video, tmp_path):
    seen = []
    out = annotate(small_video, TIMES, PROBS, CLASSES, tmp_path / "out.mp4", seen.append)
    info, frames = probe(out), read_video(out).frames
    assert frames.shape[1] == 25
    assert info.fps == pytest.approx(10)
    assert info.height >= 240
    assert info.width == 320
    assert seen[-1] == 25
    assert seen == sorted(seen)


def test_each_frame_shows_the_window_nearest_in_time(small_video, tmp_path):
    frames = read_video(annotate(small_video, TIMES, PROBS, CLASSES, tmp_path / "o.mp4")).frames
    images = frames.permute(1, 2, 3, 0).numpy().astype(int)
    bar = images[:, 240:][:, -12:-8, 20:40].mean((1, 2))  # the bar's left end, filled in any window
    colors = [[int(plots.class_color(i)[j : j + 2], 16) for j in (1, 3, 5)] for i in (1, 2)]
    nearest = np.abs(bar[:, None] - np.array(colors)).sum(-1).argmin(1)
    assert nearest.tolist() == [int(t > 12.5) for t in range(25)]


def test_a_large_video_is_not_enlarged(tmp_path):
    write_video(tmp_path / "in.mp4", torch.zeros(3, 3, 260, 300, dtype=torch.uint8), fps=5)
    out = annotate(tmp_path / "in.mp4", TIMES, PROBS, CLASSES, tmp_path / "out.mp4")
    assert probe(out).width == 300
    assert probe(out).height > 260


def test_a_video_that_cannot_be_read_leaves_no_copy(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        annotate(tmp_path / "bad.mp4", TIMES, PROBS, CLASSES, tmp_path / "out.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.mp4"]


def test_a_long_label_is_cut_to_the_width():
    from PIL import ImageDraw

    draw = ImageDraw.Draw(Image.new("RGB", (10, 10)))
    text, size = _fitted(draw, "a label of many, many, many words " * 5, 120, 20)
    assert text.endswith("…")
    assert size == 9
    assert _fitted(draw, "sit", 120, 20) == ("sit", 20)


class _Reader(HTMLParser):
    """Collects tags, addresses and text; tags must close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.seen, self.sources, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_page_is_one_file_that_needs_nothing_else(small_video, tmp_path):
    media = [
        Media(bars_png(["a"], {"P3D": [1.0]}, tmp_path / "b.png"), "A <i>picture"),
        Media(small_video, "A video"),
    ]
    table = Table(("class", "n", "%"), [("sit <i> stand", 3, 99.25)], "<i>Counts")
    section = Section(
        title="Scores <i>",
        text="One.\n\nTwo <script>alert(1)</script>.",
        cards=[("98 %", "<i>P3D")],
        media=media,
        tables=[table],
        code="p3d <i>code",
    )
    page = write_page(tmp_path / "new" / "page.html", "A <i>title", [section], "<i>Lead", "<i>Foot")
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    assert not {"script", "i"} & set(reader.seen)
    assert {"img", "video", "table", "h1", "h2", "pre", "footer"} <= set(reader.seen)
    assert [s.split(",")[0] for s in reader.sources] == [
        "data:image/png;base64",
        "data:video/mp4;base64",
    ]
    for words in ("title", "picture", "P3D", "Counts", "code", "Lead", "Foot"):
        assert f"<i>{words}" in reader.text
    for words in ("Scores <i>", "Two <script>alert(1)</script>.", "sit <i> stand", "99.2"):
        assert words in reader.text
    assert "width=device-width" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["missing.png", "notes.txt"])
def test_a_file_that_cannot_be_embedded_is_named(name, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    section = Section(title="T", media=[Media(tmp_path / name)])
    with pytest.raises(Pseudo3dError, match=f"{name}.*cannot be embedded"):
        write_page(tmp_path / "page.html", "T", [section])
    assert not (tmp_path / "page.html").exists()


def test_a_table_row_of_another_length_is_refused(tmp_path):
    section = Section(title="T", tables=[Table(("a", "b"), [(1,)])])
    with pytest.raises(ValueError, match="wanted 2 cells"):
        write_page(tmp_path / "page.html", "T", [section])


def test_a_full_disk_leaves_the_old_page_and_no_rest(tmp_path, monkeypatch):
    page = write_page(tmp_path / "page.html", "Old", [])
    old = page.read_text(encoding="utf-8")

    def refuse(self, data):
        self.write_text("half a p")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(Pseudo3dError, match=r"page\.html cannot be written: the disk is full"):
        write_page(page, "New", [])
    assert page.read_text(encoding="utf-8") == old
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
