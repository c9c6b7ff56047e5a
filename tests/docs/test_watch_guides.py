"""The guides to watching run as written, on rendered video and with less of it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d.cli import train, watch
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.rendered.motions import CLASSES
from pseudo3d.data.video import read_video
from pseudo3d.models import create_model
from pseudo3d.weights import save

GUIDES = Path(__file__).resolve().parents[2] / "docs/guides"


def blocks(guide, language):
    return re.findall(rf"```{language}\n(.*?)```", (GUIDES / guide).read_text("utf-8"), re.S)


def commands(guide):
    lines = "".join(blocks(guide, "bash")).replace("\\\n", "").splitlines()
    return [shlex.split(line) for line in lines]


def p3d(words):
    """Run a command; what it printed on stdout."""
    app = typer.Typer()
    train.add_to(app)
    watch.add_to(app)
    assert words[0] == "p3d"
    done = CliRunner().invoke(app, words[1:])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_surveillance_raises_an_event_and_saves_its_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    render, read, own = blocks("surveillance.md", "python")
    settings = "FPS, SIZE, QUIET, VIDEOS = 15, 64, 4.0, 40"
    assert settings in render
    exec(
        compile(render.replace(settings, "FPS, SIZE, QUIET, VIDEOS = 15, 48, 2.0, 8"), "", "exec"),
        {},
    )
    to_train, to_watch = commands("surveillance.md")
    p3d([*to_train, "--threads", "1", "--epochs", "24", "--set", "batch=4"])
    printed = [line.split("\t") for line in p3d(to_watch).splitlines()]
    assert [words[2] for words in printed if words[2] != "clip"][:2] == ["start", "end"]
    assert {(words[1], words[3]) for words in printed} == {("yard", "person")}
    reports = [json.loads(line) for line in Path("events.jsonl").read_text("utf-8").splitlines()]
    start = next(report for report in reports if report["event"] == "start")
    assert 1.8 < start["at"] < 4.0  # the person is there from 2 to 4 s
    clip = next(report for report in reports if report["event"] == "clip")
    video = read_video(clip["path"])
    assert video.problem is None
    assert float(video.times[-1]) > 2.0
    (recording,) = Path("recordings").iterdir()
    assert read_video(recording).frames.shape[1] > 60
    capsys.readouterr()
    exec(compile(read, "", "exec"), {})
    assert capsys.readouterr().out.startswith("yard person 20")
    exec(compile(own.replace("seconds=5", "seconds=3"), "", "exec"), {})
    assert "'event': 'live'" in capsys.readouterr().out


def test_gestures_drive_a_program(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=len(CLASSES))
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    save(net, "demo/runs/p3d_nano/weights.safetensors", classes=CLASSES, preprocessing=pre,
         training={"clip_seconds": 0.6})  # fmt: skip
    somebody, slides = blocks("gestures.md", "python")
    exec(compile(somebody.replace("seconds=30, size=72", "seconds=3, size=32"), "", "exec"), {})
    assert capsys.readouterr().out.split()[-1] in CLASSES
    Path("slides.py").write_text(slides)
    demo, both = commands("gestures.md")
    assert demo == ["p3d", "demo"]
    pipe = both.index("|")
    assert both[pipe + 1 :] == ["python", "slides.py"]
    # a network that knows nothing: every gesture begins at once and goes on
    words = [word.replace(":0.7", ":0:0") for word in both[:pipe]]
    lines = p3d(words)
    starts = [r["label"] for r in map(json.loads, lines.splitlines()) if r["event"] == "start"]
    assert starts == ["wave_left", "wave_right"]
    lines += json.dumps({"event": "lost", "source": "x", "why": "unplugged"}) + "\n"
    line = [sys.executable, "slides.py"]
    done = subprocess.run(line, input=lines, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert [text.split(" (")[0] for text in said[:2]] == ["slide 2", "slide 1"]
    assert said[2:] == ["no picture: unplugged"]


@pytest.mark.parametrize("guide", ["surveillance.md", "gestures.md"])
def test_every_option_a_guide_names_exists(guide):
    app = typer.Typer()
    watch.add_to(app)
    known = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    text = (GUIDES / guide).read_text("utf-8")
    named = {
        word for line in re.findall(r"p3d watch.*", text) for word in re.findall(r"--[a-z]+", line)
    }
    named |= set(re.findall(r"`(--[a-z]+)", text))
    assert named
    assert {name for name in named if name not in known} == set()
