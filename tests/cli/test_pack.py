"""`p3d pack` on real files, and the commands that use what it leaves."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pseudo3d.cli.main import app


def labels(table):
    """What stands beside the paths."""
    rows = csv.DictReader(Path(table).read_text().splitlines())
    return [(row["label"], row["group"], row["split"]) for row in rows]


def test_pack_leaves_a_data_set_the_other_commands_take(p3d, films, trained, tmp_path):
    out = tmp_path / "packed"
    done = p3d("pack", films, out, "--size", 24, "--transcode", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["manifest"] == str(out / "manifest.csv")
    assert (found["videos"], found["encoded"], found["kept"]) == (36, 36, 0)
    assert found["bytes"]["after"] == sum(p.stat().st_size for p in out.rglob("*.mp4"))
    for rates in found["clips_per_cpu_second"].values():
        assert min(rates.values()) > 0
    old, new = (
        list(csv.DictReader(Path(p).read_text().splitlines()))
        for p in (films, out / "manifest.csv")
    )
    assert [(r["label"], r["group"], r["split"]) for r in new] == [
        (r["label"], r["group"], r["split"]) for r in old
    ]
    again = p3d("pack", films, out, "--size", 24, "--transcode")
    assert again.returncode == 0, again.stderr
    assert "36 (0 encoded, 0 copied, 36 kept), 0 unreadable left out" in again.stdout
    assert "clips per CPU second" in again.stdout
    scores = json.loads(p3d("evaluate", trained, out, "--cache", "none", "--json").stdout)
    assert scores["videos"] == 12


def test_pack_leaves_out_what_cannot_be_read_and_says_so(p3d, films, tmp_path):
    rows = films.read_text().splitlines()
    few = films.parent / "few.csv"
    (films.parent / "broken.mp4").write_bytes(b"no video")
    few.write_text("\n".join([*rows[:3], rows[-1], "broken.mp4,approach,nobody,train"]) + "\n")
    done = p3d("pack", few, tmp_path / "out", "--size", 24, "--fps", 8)
    assert done.returncode == 1
    assert "left out" in done.stderr
    assert "broken.mp4" in done.stderr
    assert "1 unreadable left out" in done.stdout
    assert "Traceback" not in done.stderr
    odd = p3d("pack", few, tmp_path / "odd", "--size", 25)
    assert odd.returncode == 2
    assert "even number" in odd.stderr


def test_shards_take_the_place_of_a_manifest(p3d, films, trained, tmp_path):
    out = tmp_path / "shards"
    line = ("pack", films, out, "--size", 24, "--shard-size", "100KB", "--workers", 0, "--verify")
    done = p3d(*line)
    assert done.returncode == 0, done.stderr
    assert f"manifest\t{out / 'index.json'}" in done.stdout
    assert "36 (36 packed, 0 kept), 0 unreadable left out" in done.stdout
    assert "damaged\tnothing" in done.stdout
    assert labels_of_shards(out) == sorted(labels(films), key=str)
    scores = p3d("evaluate", trained, out, "--cache", "none", "--json")
    assert json.loads(scores.stdout)["videos"] == 12, scores.stderr
    tar = next(out.glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-2000])
    found = CliRunner().invoke(app, ["pack", str(out), "--verify"])
    assert found.exit_code == 1
    assert f"  {tar.name}\t" in found.stdout
    wrong = CliRunner().invoke(app, ["pack", str(films), str(out), "--verify"])
    assert wrong.exit_code == 2
    assert CliRunner().invoke(app, ["pack", str(films)]).exit_code == 2


@pytest.mark.slow
def test_training_reads_shards_and_its_manifest_leads_back_to_them(p3d, films, tmp_path):
    out, run = tmp_path / "shards", tmp_path / "run"
    done = p3d("pack", films, out, "--size", 24, "--shard-size", "100KB", "--frames")
    assert done.returncode == 0, done.stderr
    done = p3d(
        "train", out, "--model", "p3d_nano", "--frames", 4, "--size", 16, "--epochs", 1,
        "--out", run, "--threads", 1, "--cache", "none", "--workers", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = p3d("evaluate", run / "weights.safetensors", run / "manifest.csv", "--json")
    assert json.loads(scores.stdout)["videos"] == 12, scores.stderr


def labels_of_shards(folder):
    """What stands beside the samples."""
    found = []
    for note in folder.glob("part-*.json"):
        table = json.loads(note.read_text())["samples"]
        found += zip(table["label"], table["group"], table["split"], strict=True)
    return sorted(found, key=str)
