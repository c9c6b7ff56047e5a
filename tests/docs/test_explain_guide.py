"""The code of the guide to explanations runs, and its figures are those of the code."""

import re
from pathlib import Path

import pytest
import torch

import pseudo3d
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.explain.attribution import METHODS, How
from pseudo3d.explain.whole import MOST

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/explain.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.S)


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("captum", reason="gradients need the extra `explain`")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    small = {"widths": (4, 8, 8, 8), "stem_width": 4, "num_classes": 2}
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    net = pseudo3d.create_model("p3d_nano", **small)
    pseudo3d.save(net, "weights.safetensors", classes=("a", "b"), preprocessing=pre)
    write_video("video.mp4", torch.randint(0, 256, (3, 12, 18, 24), dtype=torch.uint8), fps=10)
    for code in blocks("python"):
        exec(compile(code, str(GUIDE), "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[0] in ("a", "b")
    assert said[1].startswith("most of it at ")
    assert said[-1].startswith("the map ")
    assert {p.name for p in (tmp_path / "seen").iterdir()} == {
        "film.mp4", "video.gif", "video_strip.png", "video_importance.png",
    }  # fmt: skip


def test_the_figures_of_the_guide_are_those_of_the_code():
    text, how = GUIDE.read_text("utf-8"), How()
    t, h, w = how.cells
    assert f"{(t + 1) * (h + 1) * (w + 1)} | cells, {t} x {h} x {w} of them" in text
    assert f"{how.steps} to {how.steps * (1 + 2 + 4)}, with gradients" in text
    assert f"{how.controls} copies of it" in text
    assert f"({MOST} of them at most" in text
    assert set(re.findall(r"^\| `(\w+)`", text, re.M)) >= set(METHODS) - {"gradcam"}
