"""`p3d explain` on small videos and scans: what it prints, and what it leaves behind."""

import json
import re
from dataclasses import replace
from shutil import copyfile

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d.cli import saliency
from pseudo3d.data import video
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.data.video import probe
from pseudo3d.data.writer import write_video
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain import overlay, scan_attribution
from pseudo3d.models import create_model
from pseudo3d.weights import save

pytest.importorskip("captum", reason="gradients need the extra `explain`")


QUICK = ("--method", "random", "--no-check")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A network with random weights and two videos; one for scans, and a scan without geometry."""
    home = tmp_path_factory.mktemp("saliency")
    torch.manual_seed(0)
    small = {"widths": (4, 8, 8, 8), "stem_width": 4, "num_classes": 2}
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    save(create_model("p3d_nano", **small), home / "net.safetensors", classes=("a", "b"),
         preprocessing=pre)  # fmt: skip
    (home / "films").mkdir()
    for name in ("one", "two"):
        noise = torch.randint(0, 256, (3, 12, 18, 24), dtype=torch.uint8)
        write_video(home / "films" / f"{name}.mp4", noise, fps=10)
    volumes = create_model("p3d_volume", widths=(4, 8, 8), stem_width=4, num_classes=2)
    scans = ScanPreprocessing(size=(8, 8, 8), mean=(0.0,), std=(1.0,))
    save(volumes, home / "scan.safetensors", classes=("well", "ill"), preprocessing=scans,
         training={"task": "classify"})  # fmt: skip
    np.save(home / "scan.npy", np.random.default_rng(0).normal(size=(8, 9, 10)).astype("f4"))
    return home


@pytest.fixture
def run():
    """Run a command and return its result; what it raises is raised."""
    app = typer.Typer()
    saliency.add_to(app)

    def call(*words, code=0):
        line = [str(word) for word in words]
        done = CliRunner().invoke(app, line, catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done

    return call


def test_a_video_gets_film_gif_strip_curve_arrays_and_json(run, home, tmp_path):
    film = home / "films" / "one.mp4"
    done = run(home / "net.safetensors", film, "--out", tmp_path / "new", "--class", "b")
    source, target, answer, verdict = done.stdout.strip().split("\t")
    assert (source, target) == (str(film), "b")
    assert 0 <= float(answer) <= 1
    assert verdict.startswith("the map ")
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {
        "one.mp4", "one.gif", "one_strip.png", "one_importance.png", "one.npz", "one.json",
    }  # fmt: skip
    assert probe(tmp_path / "new" / "one.mp4").width == 320
    told = json.loads((tmp_path / "new" / "one.json").read_text())
    assert told["target"] == "b"
    assert told["label"] in "ab"
    assert told["test"]["sentence"] == verdict
    with np.load(tmp_path / "new" / "one.npz") as arrays:
        assert arrays["heat"].shape == (4, 16, 16)
        assert arrays["importance"].sum() == pytest.approx(1)
        assert arrays["times"].tolist() == told["times"]


def test_a_folder_is_summed_up_and_a_broken_file_does_not_stop_it(run, home, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for path in (home / "films").iterdir():
        (films / path.name).write_bytes(path.read_bytes())
    (films / "broken.mp4").write_bytes(b"no video")
    words = (home / "net.safetensors", films, "--method", "occlusion", "--at", "0.3")
    done = run(*words, "--json", code=1)
    told = json.loads(done.stdout)
    assert [set(row) >= {"target", "verdict", "importance"} for row in told] == [True, True, False]
    assert "broken.mp4" in told[2]["source"]
    assert told[2]["error"]
    assert "of 2 maps show what the answer rests on" in done.stderr
    assert [row["layer"] for row in told[:2]] == [None, None]


def test_options_reach_the_map(run, home):
    words = (home / "net.safetensors", home / "films" / "one.mp4", "--no-check", "--json")

    def of(*more):
        (row,) = json.loads(run(*words, *more).stdout)
        return row

    plain = of()
    assert plain["test"] is None
    assert plain["verdict"] == "the map was not tested"
    assert of("--layer", "stem")["layer"] == "stem"
    ways = [
        of("--method", "integrated"),
        of("--method", "integrated", "--baseline", "blur"),
        of("--method", "random"),
        of("--method", "random", "--seed", "1"),
    ]
    curves = [tuple(row["importance"]) for row in (plain, *ways)]
    assert len(set(curves)) == len(curves)
    assert ways[0]["completeness"] < 0.1


def test_all_of_a_video_can_be_asked_for(run, home):
    words = (home / "net.safetensors", home / "films" / "one.mp4", "--no-check", "--json")
    (row,) = json.loads(run(*words, "--whole").stdout)
    assert row["span"][0] == 0
    assert sum(row["importance"]) == pytest.approx(1, abs=1e-4)
    assert "not both" in run(*words, "--whole", "--at", "1", code=2).stderr


def test_a_scan_goes_through_the_same_command(run, home, tmp_path):
    pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")
    words = (home / "scan.safetensors", home / "scan.npy", "--out", tmp_path)
    (row,) = json.loads(run(*words, "--no-check", "--json").stdout)
    assert row["use"] == "research use only"
    assert row["target"] in ("well", "ill")
    assert len(row["importance"]) == 8
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"scan_heat.nii.gz", "scan_planes.png", "scan.html", "scan.json", "scan.npz"}
    assert "--at is for videos" in run(*words, "--at", "1", code=2).stderr


def test_inputs_with_the_same_name_get_files_of_their_own(run, home, tmp_path):
    films = [tmp_path / day / "cam.mp4" for day in ("day1", "day2")]
    for film in films:
        film.parent.mkdir()
        copyfile(home / "films" / "one.mp4", film)
    run(home / "net.safetensors", *films, *QUICK, "--out", tmp_path / "seen")
    told = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "seen").glob("*.json")}
    assert {name: row["source"] for name, row in told.items()} == {
        "day1_cam": str(films[0]), "day2_cam": str(films[1]),
    }  # fmt: skip


def test_a_film_is_never_written_over_the_video(run, home, tmp_path):
    copyfile(home / "films" / "one.mp4", tmp_path / "one.mp4")
    before = (tmp_path / "one.mp4").read_bytes()
    words = (home / "net.safetensors", tmp_path / "one.mp4", *QUICK, "--out", tmp_path, "--json")
    (row,) = json.loads(run(*words, code=1).stdout)
    assert "is an input and would be written over" in row["error"]
    assert (tmp_path / "one.mp4").read_bytes() == before


@pytest.mark.parametrize("declared", [True, False])
def test_a_moment_after_the_end_is_refused(run, home, monkeypatch, declared):
    if not declared:
        monkeypatch.setattr(video, "probe", lambda path: replace(probe(path), duration=0.0))
    words = (home / "net.safetensors", home / "films" / "one.mp4", *QUICK, "--json")
    (row,) = json.loads(run(*words, "--at", "500", code=1).stdout)
    assert re.search(r"--at is 500 s, .*one.mp4 ends at 1\.[12]00 s", row["error"])
    (row,) = json.loads(run(*words, "--at", "1.1").stdout)
    assert row["span"][1] >= 1.1


def test_nothing_to_explain_is_said(run, home, tmp_path):
    with pytest.raises(Pseudo3dError, match="no video and no scan"):
        run(home / "net.safetensors", tmp_path)


def test_what_somebody_else_wrote_is_not_replaced(run, home, tmp_path):
    pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")
    film = (home / "net.safetensors", home / "films" / "one.mp4", "--no-check", "--out", tmp_path)
    scan = (home / "scan.safetensors", home / "scan.npy", "--no-check", "--out", tmp_path)
    for name, words in (
        ("one.json", film), ("one_strip.png", film), ("one.gif", film),
        ("scan.json", scan), ("scan.html", scan), ("scan.npz", scan),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(b"{}")
        assert f"{name} was not written by p3d" in run(*words, code=1).stderr
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()
    for words in (film, scan) * 2:  # its own files may be
        run(*words)


@pytest.mark.parametrize(
    ("module", "writer", "words"),
    [
        (overlay, "write_pictures", ("net.safetensors", "films/one.mp4")),
        (scan_attribution, "write_scan", ("scan.safetensors", "scan.npy")),
    ],
)
def test_what_a_broken_off_run_left_may_be_replaced(
    run, home, tmp_path, monkeypatch, module, writer, words
):
    pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")

    write = getattr(module, writer)

    def stop(*about):
        write(*about)
        raise OSError("no space left")

    line = (*(home / word for word in words), "--no-check", "--out", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, writer, stop)
        run(*line, code=1)
    assert list(tmp_path.iterdir())
    run(*line)
