"""`p3d pack` on real files, and the commands that use what it leaves."""

import csv
import json
from pathlib import Path


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
