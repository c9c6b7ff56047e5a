"""What is said of data is the same wherever they lie, and another when they are others."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.scans.manifest import ScanItem
from pseudo3d.report.cards import provenance as module
from pseudo3d.report.cards.provenance import command_line, describe_data, describe_file, provenance


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    for name in ("run/a.mp4", "run/b.mp4", "jump/c.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def listed(folder):
    files = sorted(folder.rglob("*.mp4"))
    items = tuple(Item(path=f, label=f.parent.name, group=f.stem, split="train") for f in files)
    return Manifest(items, ("jump", "run"))


def hashes(manifest):
    told = describe_data(manifest)
    return told["sha256"], told["content_sha256"]


def test_data_have_the_same_hashes_elsewhere_and_in_another_order(films, tmp_path):
    first = describe_data(listed(films), films)
    assert (first["items"], first["files"], first["bytes"], first["classes"]) == (3, 3, 28, 2)
    moved = shutil.copytree(films, tmp_path / "elsewhere" / "copy")
    there = listed(moved)
    assert hashes(there) == hashes(replace(there, items=there.items[::-1])) == hashes(listed(films))


@pytest.mark.parametrize("change", ["label", "group", "split", "start", "end"])
def test_each_thing_the_list_says_is_in_its_hash(films, change):
    manifest = listed(films)
    value = 0.5 if change in ("start", "end") else "other"
    other = replace(manifest.items[0], **{change: value})
    changed = replace(manifest, items=(other, *manifest.items[1:]))
    assert hashes(changed)[0] != hashes(manifest)[0]
    assert hashes(changed)[1] == hashes(manifest)[1]


def test_another_size_another_name_and_another_content_are_seen(films):
    before = hashes(listed(films))
    (films / "run/a.mp4").write_bytes(b"run/a.mp5")  # as long
    assert hashes(listed(films))[0] == before[0]
    assert hashes(listed(films))[1] != before[1]
    (films / "run/a.mp4").write_bytes(b"longer than before")
    assert hashes(listed(films))[0] != before[0]
    (films / "run/a.mp4").rename(films / "run/z.mp4")
    assert len({before[0], hashes(listed(films))[0]}) == 2


def test_much_data_and_missing_files_leave_the_content_open(films, monkeypatch):
    manifest = listed(films)
    monkeypatch.setattr(module, "_CONTENT_BYTES", 20)
    assert describe_data(manifest)["content_sha256"] is None
    monkeypatch.undo()
    (films / "run/a.mp4").unlink()
    told = describe_data(manifest)
    assert (told["items"], told["content_sha256"], told["bytes"]) == (3, None, 19)


def test_a_mask_and_a_place_in_a_stack_count(tmp_path):
    for name in ("a.nii", "m.nii", "n.nii"):
        (tmp_path / name).write_text(name)
    item = ScanItem(path=tmp_path / "a.nii", label="", mask=tmp_path / "m.nii", value=1.0)
    found = {
        describe_data(Manifest((one,), ()))["sha256"]
        for one in (
            item,
            replace(item, mask=tmp_path / "n.nii"),
            replace(item, value=2.0),
            replace(item, array="train_images", index=3),
        )
    }
    assert len(found) == 4
    assert describe_data(Manifest((), ()))["items"] == 0


def test_a_file_has_bytes_and_hash_and_another_name_only_itself(tmp_path):
    (tmp_path / "w").write_bytes(b"abc")
    told = describe_file(tmp_path / "w")
    assert told["bytes"] == 3
    assert told["sha256"].startswith("ba7816bf")
    assert describe_file("random:p3d50") == {"path": "random:p3d50"}


def test_the_command_is_there_without_its_passwords(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/bin/p3d", "train", "a b", "--token", "abc", "s3://u:p@h"])
    assert command_line() == "p3d train 'a b' --token '***' 's3://***@h'"
    told = provenance(seeds={"seed": 3}, data={"address": "http://u:p@h/x"})
    assert "abc" not in str(told)
    assert told["seeds"] == {"seed": 3}
    assert told["data"]["address"] == "http://***@h/x"


def test_code_packages_and_machine_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    told = provenance()
    assert {"torch", "numpy", "lightning", "av"} <= set(told["packages"])
    assert "pytest" not in told["packages"]
    assert told["environment"]["OMP_NUM_THREADS"] == "1"
    assert told["folder"] == str(Path.cwd())
    assert told["revision"] is None
    assert told["pseudo3d"]["version"]
    assert told["machine"]
