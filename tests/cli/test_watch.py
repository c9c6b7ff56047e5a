"""`p3d watch` as a user runs it: text, JSON lines, Ctrl-C, a reader that leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d.cli import watch
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import read_video
from pseudo3d.data.writer import write_video
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.watch.camera import Camera
from pseudo3d.weights import save

PROGRAM = "import typer; from pseudo3d.cli import watch; a = typer.Typer(); watch.add_to(a); a()"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A network that knows nothing, and a film of 1.2 s."""
    home = tmp_path_factory.mktemp("watch")
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=2)
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    save(net, home / "weights.safetensors", classes=("idle", "wave"), preprocessing=pre,
         training={"clip_seconds": 0.4})  # fmt: skip
    frames = torch.randint(0, 256, (3, 30, 48, 64), dtype=torch.uint8)
    write_video(home / "film.mp4", frames, fps=25)
    return home


def run(*words):
    app = typer.Typer()
    watch.add_to(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def begun(home, *words):
    """The command in a process of its own."""
    line = [sys.executable, "-c", PROGRAM, home / "weights.safetensors", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [str(word) for word in line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )


def group(number):
    """Processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, in_group = path.read_text().rpartition(") ")[2].split()[:3]
            if int(in_group) == number and state != "Z":
                found.append((path.parent / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def camera():
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with Camera(lambda: ((i / 25, noise) for i in range(100_000))) as served:
        yield served


def test_a_file_is_watched_to_its_end(home, tmp_path):
    done = run(
        home / "weights.safetensors", f"cam={home / 'film.mp4'}", "--event", "wave:0:0",
        "--events", tmp_path / "e.jsonl", "--clips", tmp_path / "clips", "--threads", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1:4] for row in rows] == [
        ["cam", "start", "wave"],
        ["cam", "end", "wave"],
        ["cam", "clip", "wave"],
    ]
    assert rows[0][4].endswith("%")
    assert read_video(rows[2][4]).problem is None
    told = [json.loads(line)["event"] for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert told == ["live", "start", "end", "ended", "clip"]
    assert "cam: 30 frames" in done.stderr
    assert "latency" in done.stderr


def test_json_tells_everything_and_decisions_on_demand(home):
    film = home / "film.mp4"
    done = run(home / "weights.safetensors", film, "--json", "--decisions", "--every", 0.1,
               "--quiet", "idle", "--on", 0, "--off", 0, "--threads", 1)  # fmt: skip
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [report["event"] for report in reports]
    assert kinds[0] == "live"
    assert kinds[-1] == "ended"
    assert kinds.count("decision") >= 5
    assert {r["label"] for r in reports if r["event"] == "start"} == {"wave"}
    assert {len(r["top"]) for r in reports if r["event"] == "decision"} == {2}


def test_a_watch_that_saw_no_frame_has_failed_and_says_why(home, tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "notes.mp4").write_bytes(b"no video")
    bad = [f"v={tmp_path / 'empty.mp4'}", f"w={tmp_path / 'notes.mp4'}"]
    done = run(home / "weights.safetensors", *bad, "--seconds", 60, "--threads", 1)
    assert done.exit_code == 1
    assert isinstance(done.exception, Pseudo3dError)
    assert "no frame came from v, w, so nothing was watched" in str(done.exception)
    told = done.stderr.splitlines()
    assert "v: ended: its data make no sense (not a video, or damaged)" in told
    assert "v: 0 frames, no decision" in told


def test_a_watch_succeeds_where_one_source_of_two_gave_frames(home, tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    sources = [f"v={tmp_path / 'empty.mp4'}", f"cam={home / 'film.mp4'}"]
    done = run(home / "weights.safetensors", *sources, "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "v: 0 frames, no decision" in done.stderr.splitlines()
    assert "cam: 30 frames" in done.stderr


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["nowhere.mp4"], FileNotFoundError, "nowhere.mp4: no such file"),
        (["0", "--event", "wvae"], Pseudo3dError, "unknown class: 'wvae'. Did you mean wave"),
        (["0", "--on", "0.2"], Pseudo3dError, "--on, --off: on is 0.2, off 0.4"),
        (["0", "--keep", "much"], Pseudo3dError, "'much'; wanted an amount such as 2GB"),
        (["0", "--webhook", "ftp://x"], Pseudo3dError, "is no web address"),
        (["0", "--show"], Pseudo3dError, "there is no display"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(home, words, error, said, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = run(home / "weights.safetensors", *words)
    assert isinstance(done.exception, error)
    assert said in str(done.exception)


def test_after_ctrl_c_everything_kept_is_complete(home, tmp_path, camera):
    child = begun(
        home, f"cam={camera.url}", "--json", "--event", "wave:0:0", "--clips", tmp_path / "clips",
        "--record", tmp_path / "all", "--events", tmp_path / "e.jsonl",
    )  # fmt: skip
    for line in child.stdout:
        if json.loads(line)["event"] == "start":
            break
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the capturing process as well
    rest, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert "Traceback" not in errors
    assert "leaked" not in errors
    reports = [json.loads(line) for line in rest.splitlines()]
    end, clip = reports[-2:]
    assert (end["event"], end["why"]) == ("end", "the watch ended")
    assert read_video(clip["path"]).problem is None
    (recording,) = (tmp_path / "all").iterdir()
    assert read_video(recording).frames.shape[1] > 3
    assert json.loads((tmp_path / "e.jsonl").read_text().splitlines()[-1]) == clip
    end = time.monotonic() + 20  # what Python itself starts needs a moment
    while left := group(child.pid):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def test_a_reader_that_leaves_ends_the_watch(home, camera):
    child = begun(home, camera.url, "--json", "--decisions", "--event", "wave:0:0")
    assert child.stdout.readline()
    child.stdout.close()
    child.stdout = None
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert "Traceback" not in errors
