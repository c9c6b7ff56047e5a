"""What is scored, what is missing, and what is learned for the floors."""

from dataclasses import replace

import numpy as np
import pytest

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.evaluate import evaluate_volumes
from pseudo3d.engine.volumes.module import Goal
from pseudo3d.engine.volumes.ready import Ready
from pseudo3d.models import create_model


def broken(part, count, folder):
    """The part with files that are no scans in the place of its first ones."""
    items = []
    for i, item in enumerate(part.items):
        bad = folder / f"broken{i}.nii"
        bad.write_bytes(b"no scan")
        items.append(replace(item, path=bad, array=None, index=None) if i < count else item)
    return replace(part, items=tuple(items))


@pytest.fixture
def judged(trained, bars):
    """Evaluate the test part with floors learned on another; the store is a new one."""

    def run(learned, part=None):
        store = ScanStore(trained[0].card.preprocessing)
        part = bars.split("test") if part is None else part
        return evaluate_volumes(trained[0], part, store=store, learned=learned)

    return run


def floors(found):
    return {floor.name: floor for floor in found.scores.floors}


def test_training_scans_that_cannot_be_read_are_left_out_of_the_floors(judged, bars, tmp_path):
    pytest.importorskip("sklearn", reason="the floor of sizes needs the extra `eval`")
    learned = bars.split("train")
    found = judged(broken(learned, 4, tmp_path))
    rest = replace(learned, items=learned.items[4:])
    assert floors(found)["size features"] == floors(judged(rest))["size features"]
    assert found.missing == {}  # of the scans that are scored none


def test_without_a_readable_training_scan_a_floor_is_left_out_and_it_is_said(
    judged, bars, tmp_path, caplog
):
    found = judged(broken(bars.split("train"), 36, tmp_path))
    assert list(floors(found)) == ["majority class"]
    assert "the floor of sizes, learned on the training part, is left out" in caplog.text
    assert "none of the 36 scans can be read" in caplog.text


def test_scores_of_one_class_have_no_floor_of_sizes(judged, bars, caplog):
    pytest.importorskip("sklearn", reason="the floor of sizes needs the extra `eval`")
    part = bars.split("train")
    one = replace(part, items=tuple(item for item in part.items if item.label == "0"))
    assert list(floors(judged(one))) == ["majority class"]
    assert "one class in the training or scored part" in caplog.text


def test_a_scan_that_cannot_be_read_is_missing_and_not_counted(judged, bars, tmp_path):
    part = broken(bars.split("test"), 1, tmp_path)
    found = judged(None, part)
    assert len(found.items) == 11
    assert "11 scans" in found.protocol
    assert list(found.missing) == [part.items[0].name]


def test_a_mask_that_is_missing_is_not_counted(blobs, tmp_path):
    part = broken(read_scans(blobs).split("train"), 2, tmp_path)
    net = create_model(
        "p3d_unet", widths=(4, 8), depths=(1, 1), strides=((1, 2, 2),), num_classes=2
    )
    pre = ScanPreprocessing(size=(8, 12, 12), view="patch", layout="SAR", window="none")
    run = Ready(net=net.eval(), pre=pre, goal=Goal(task="segment", classes=part.classes))
    found = evaluate_volumes(run, part)
    assert len(found.missing) == 2
    assert "4 scans" in found.protocol
    assert found.items == part.items[2:]


def test_volumes_of_one_file_are_drawn_together(trained, tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (8, 8, 8, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values)
    rows = [f"{name}.npy,{i},{i % 2}" for name in "ab" for i in range(4)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,index,label", *rows]) + "\n")
    found = evaluate_volumes(trained[0], read_scans(tmp_path))
    assert found.scores.units == 2
    assert len(set(found.predictions(("0", "1")).units)) == 2


def test_masks_of_one_file_are_drawn_together(fresh, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8, 8), np.float32))
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    np.save(tmp_path / "m.npy", mask)
    rows = [f"a.npy,{i},m.npy" for i in range(3)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,index,mask", *rows]) + "\n")
    part = read_scans(tmp_path)
    small = {"widths": (4, 8), "depths": (1, 1), "strides": ((1, 2, 2),), "num_classes": 2}
    pre = ScanPreprocessing(size=(8, 8, 8), view="patch")
    goal = Goal(task="segment", classes=part.classes)
    run = Ready(net=create_model("p3d_unet", **small).eval(), pre=pre, goal=goal)
    found = evaluate_volumes(run, part)
    assert "1 units of 3 scans" in found.scores.labels[0].dice.method


def test_a_scan_with_voxels_that_are_not_finite_is_missing(judged, bars, tmp_path):
    part = bars.split("test")
    values = np.zeros((8, 8, 8), np.float32)
    values[0, 0, 0] = np.nan
    np.save(tmp_path / "hole.npy", values)
    hole = replace(part.items[0], path=tmp_path / "hole.npy", array=None, index=None)
    found = judged(None, replace(part, items=(hole, *part.items[1:])))
    assert list(found.missing) == [hole.name]
    assert len(found.items) == len(part.items) - 1
