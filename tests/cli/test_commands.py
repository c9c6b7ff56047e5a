"""Every command through its real entry point: results on stdout, the rest on stderr."""

import csv
import json
import signal
import subprocess
import sys
import time
from functools import partial
from io import StringIO
from pathlib import Path

import pytest

from pseudo3d.cli.main import main
from pseudo3d.cli.videos import divide
from pseudo3d.data.item import Item
from pseudo3d.data.manifest import Manifest
from pseudo3d.errors import ManifestError


def test_help_lists_the_commands_without_torch(p3d):
    done = p3d("--help")
    assert done.returncode == 0
    for name in ("demo", "doctor", "models", "scan", "train", "evaluate", "predict"):
        assert name in done.stdout


def test_models_gives_parameters_macs_and_field_of_view(p3d):
    done = p3d("models", "p3d*", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["p3d50"]["parameters"] == 28_128_272
    assert rows["p3d50"]["clip"] == [16, 160, 160]
    assert rows["p3d50"]["macs"] == pytest.approx(10.323e9, rel=1e-4)
    assert len(rows["p3d_tiny"]["field_of_view"]) == 3
    text = p3d("models", "resnet18").stdout.splitlines()
    assert text[1].split("\t")[0] == "resnet18"


def test_models_forecasts_memory(p3d):
    line = ("models", "p3d_nano", "--memory", "--batch", 2, "--frames", 4, "--size", 16)
    done = p3d(*line, "--precision", "bf16", "--checkpointing")
    assert done.returncode == 0, done.stderr
    head, training, forward = (row.split("\t") for row in done.stdout.splitlines())
    assert head[0] == "MiB at 2x4x16x16, bf16"
    assert [row[0] for row in (training, forward)] == ["p3d_nano training", "p3d_nano forward"]
    assert int(training[-1]) > int(forward[-1]) > 0
    rows = json.loads(p3d(*line, "--json").stdout)
    assert rows[0]["total"] > rows[0]["weights"] > 0


def test_the_batch_may_be_as_large_as_memory_allows(p3d, films, tmp_path):
    done = p3d(
        "train", films, "--model", "p3d_nano", "--frames", 2, "--size", 16, "--batch", "auto",
        "--set", "steps=1", "--set", "batch=4", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "batch 4: the largest that" in done.stderr


def test_an_unknown_model_is_one_message_with_the_nearest_name(p3d):
    done = p3d("models", "p3d500")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown model: 'p3d500'. Did you mean p3d50")
    assert "Traceback" not in done.stderr


def test_an_unknown_option_is_misuse(p3d):
    assert p3d("models", "--nonsense").returncode == 2


def test_scan_counts_classes_and_names_bad_files(p3d, films, tmp_path):
    found = json.loads(p3d("scan", films, "--json").stdout)
    assert found["files"] == 36
    assert set(found["classes"].values()) == {3}
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    found = json.loads(p3d("scan", tmp_path, "--json").stdout)
    assert list(found["problems"]) == ["broken.mp4"] or "broken.mp4" in str(found["problems"])


def test_evaluate_prints_scores_with_their_protocol(p3d, films, trained, tmp_path):
    picture = tmp_path / "confusion.png"
    done = p3d("evaluate", trained, films, "--split", "test", "--json", "--confusion", picture)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["videos"] == 12
    assert found["views"] == 5
    assert "split test, 12 videos, 5 views" in found["protocol"]
    assert 0 <= found["video_hit@1"] <= found["video_hit@5"] <= 1
    assert sum(map(sum, found["confusion"])) == 12
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate_names_the_splits_there_are(p3d, films, trained):
    done = p3d("evaluate", trained, films, "--split", "tset")
    assert done.returncode == 1
    assert "'tset'" in done.stderr
    assert "test" in done.stderr


def test_predict_answers_with_classes_timeline_and_pictures(p3d, films, trained, tmp_path):
    video = sorted(films.parent.glob("waving/*.mp4"))[0]
    timeline, film, table = tmp_path / "t.png", tmp_path / "a.mp4", tmp_path / "w.csv"
    done = p3d(
        "predict", trained, video, "--json", "--window", 0.5, "--hop", 0.25,
        "--timeline", timeline, "--annotate", film, "--csv", table,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["source"] == str(video)
    assert found["label"] == found["top"][0]["label"]
    assert len(found["timeline"]) > 1
    assert timeline.read_bytes().startswith(b"\x89PNG")
    assert b"ftyp" in film.read_bytes()[:16]
    rows = list(csv.DictReader(StringIO(table.read_text())))
    assert len(rows) == len(found["timeline"])
    assert sum(float(rows[0][name]) for name in list(rows[0])[4:]) == pytest.approx(1, abs=1e-3)


def test_a_bad_file_does_not_stop_the_others(p3d, films, trained, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    good = sorted(films.parent.glob("waving/*.mp4"))[0]
    done = p3d("predict", trained, bad, good)
    assert done.returncode == 1
    assert str(bad) in done.stderr
    assert done.stdout.startswith(str(good))


def test_training_refuses_a_folder_that_holds_a_run(p3d, films, trained):
    done = p3d("train", films, "--out", trained.parent)
    assert done.returncode == 1
    assert "already holds a finished run" in done.stderr
    assert trained.exists()


def test_rows_without_a_split_beside_others_are_named(capsys):
    splits = ("train", "train", None, "test")
    items = [Item(path=Path(f"{i}.mp4"), label=str(i % 2), split=s) for i, s in enumerate(splits)]
    parts = divide(Manifest(tuple(items), ("0", "1")), [], [], seed=0)
    assert len(parts.train.items) == 2
    said = capsys.readouterr().err
    assert "1 of 4 videos name no split and are left out: 2.mp4" in " ".join(said.split())
    rest = Manifest(tuple(items[2:]), ("0", "1"))  # the test part was trained on
    with pytest.raises(ManifestError, match=r"unknown split: 'train'.*test"):
        divide(rest, [], [], seed=0)


def test_training_without_splits_holds_out_groups_and_writes_them_down(p3d, films, tmp_path):
    rows = list(csv.DictReader(films.read_text().splitlines()))
    bare = films.parent / "bare.csv"
    with bare.open("w", newline="") as file:
        table = csv.DictWriter(file, ["path", "label", "group"], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    done = p3d(
        "train", bare, "--model", "p3d_nano", "--frames", 2, "--size", 16, "--epochs", 1,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = list(csv.DictReader((tmp_path / "run" / "manifest.csv").read_text().splitlines()))
    parts = {name: {r["group"] for r in kept if r["split"] == name} for name in ("train", "test")}
    assert parts["test"]
    assert not parts["train"] & parts["test"]


def test_training_from_an_earlier_run_takes_its_network(p3d, films, tmp_path):
    words = ("train", films, "--frames", 4, "--size", 16, "--epochs", 1, "--no-report")
    first, second = tmp_path / "first", tmp_path / "second"
    small = ("--model", "p3d_nano", "--net", 'mixes=["B"]', "--net", "widths=[4,4,8,8]")
    assert p3d(*words, "--out", first, *small).returncode == 0
    done = p3d(*words, "--out", second, "--weights", first / "weights.safetensors")
    assert done.returncode == 0, done.stderr
    assert "loaded:" in done.stderr
    kept = json.loads((second / "run.json").read_text())
    assert (kept["model"], kept["config"]["mixes"]) == ("p3d_nano", ["B"])


def test_a_missing_file_is_named_without_the_systems_number(monkeypatch, capsys, weights, tmp_path):
    gone = tmp_path / "gone.mp4"
    monkeypatch.setattr("sys.argv", ["p3d", "predict", str(weights), str(gone)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert f"{gone}: No such file or directory" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "epcohs=3"], "Did you mean epochs"),
        (["--set", "nonsense"], "KEY=VALUE"),
        (["--net", "semantics=caffe"], "'caffe'"),
        (["--recipe", "cpuu"], "Did you mean cpu"),
        (["--model", "p3d_tinny"], "Did you mean p3d_tiny"),
        (["--hold-out", "nobody"], "nobody"),
        (["--frames", "0"], "--frames"),
    ],
)
def test_wrong_options_are_named_with_the_way_out(
    films, tmp_path, monkeypatch, capsys, words, told
):
    line = ["p3d", "train", str(films), "--out", str(tmp_path / "run"), "--cache", "none", *words]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.slow
def test_demo_leaves_a_page_that_opens_offline(tmp_path):
    from pseudo3d.cli.bars import TrainingBar
    from pseudo3d.cli.common import progress_bar
    from pseudo3d.demo import run as demo

    plan = demo.Plan(clips_per_class=10, epochs=1, views=1, size=16, frames=4)
    page = demo.run(tmp_path, plan, 0, progress=progress_bar, bar=TrainingBar, say=lambda _: None)
    html = Path(page).read_text()
    assert "2-D twin" in html
    assert "http" not in html.replace("http-equiv", "")
    assert html.count("data:image/png;base64") == 4
    assert "Does it use time?" in html
    assert "data:video/mp4;base64" in html
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert 0 <= scores["P3D"]["order_only"] <= 1


def test_the_same_command_goes_on_after_an_interruption(films, tmp_path):
    out = tmp_path / "run"
    line = [
        Path(sys.executable).with_name("p3d"), "train", films, "--model", "p3d_nano",
        "--frames", "2", "--size", "16", "--set", "steps=300", "--batch", "4", "--no-report",
        "--cache", tmp_path / "cache", "--threads", "1", "--out", out,
    ]  # fmt: skip
    # A test run in the background ignores Ctrl-C, and its children would inherit that.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as run:
        for _ in range(1200):
            if (out / "last.ckpt").exists() or run.poll() is not None:
                break
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=120)
    assert run.returncode == 130, told
    assert "interrupted" in told
    assert not (out / "weights.safetensors").exists()
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr
    assert "step 300/300" in done.stderr
    assert not (out / "last.ckpt").exists()
