"""What is seen in one scan: an answer that its map and its curve add up to, in the file's grid."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pseudo3d.cli.scans.predict import write_outputs
from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.grid import orient
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing, middle
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import scan_of
from pseudo3d.data.scans.write import write_like
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.volumes.evaluate import evaluate_volumes
from pseudo3d.engine.volumes.module import Goal
from pseudo3d.engine.volumes.predict import NOTE, doubts, evidence_of, predict_scan
from pseudo3d.engine.volumes.ready import Ready, ready
from pseudo3d.engine.volumes.train import ScanParts, train_volumes
from pseudo3d.errors import ManifestError, Pseudo3dError, WeightsError
from pseudo3d.models import create_model
from pseudo3d.weights import load

pytest.importorskip("nibabel", reason="reading NIfTI needs the extra `scans`")
UNET = {"widths": (4, 8), "depths": (1, 1), "strides": ((1, 2, 2),), "num_classes": 2}


def bar(along, affine=None):
    """A scan with a bar along depth or width, and noise."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 30, (8, 8, 8)).astype(np.int16)
    if along == "depth":
        x[:, 2:4, 5:7] += 180
    else:
        x[2:4, 5:7, :] += 180
    return scan_of(
        torch.from_numpy(x)[None], np.eye(4) if affine is None else affine, source="bar.nii",
        kind="nifti",
    )  # fmt: skip


@pytest.fixture(scope="module")
def segmenter(blobs, quick, tmp_path_factory):
    """A U-Net that finds the balls."""
    manifest, out = read_scans(blobs), tmp_path_factory.mktemp("segment") / "run"
    pre = ScanPreprocessing(size=(8, 12, 12), view="patch", layout="SAR", window="none")
    store = ScanStore(pre)
    torch.manual_seed(0)
    net = create_model("p3d_unet", **UNET)
    recipe = quick(epochs=25, batch=3, near=0.7)
    parts = ScanParts(train=manifest.split("train"), val=manifest.split("val"))
    train_volumes(net, parts, store, Job(recipe=recipe, out=out))
    return out / "weights.safetensors"


def test_the_answer_is_that_of_the_network(trained):
    run, scan = ready(trained[0]), bar("depth")
    found = predict_scan(run, scan)
    assert found.label == "1"
    wanted = run.answers(scan.array[None])[0]
    np.testing.assert_allclose(found.probs, wanted, atol=1e-5)


def test_the_evidence_of_all_places_is_the_answer(trained):
    run, volume = ready(trained[0]), bar("depth").array[None]
    with torch.inference_mode():
        logits = run.net(run.pre.normalize(volume))
    mean = evidence_of(run, volume).mean((2, 3, 4))
    torch.testing.assert_close(mean, logits, rtol=1e-4, atol=1e-5)


def test_the_same_patient_in_any_grid_gets_the_same_answer_at_the_same_place(trained):
    """All 48 orientations of a file, through a network that knows one."""
    run = ready(trained[0])
    run = replace(run, pre=replace(run.pre, layout="RAS"))
    first = predict_scan(run, bar("depth"))
    for letters in itertools.product("RL", "AP", "SI"):
        for code in itertools.permutations(letters):
            found = predict_scan(run, orient(bar("depth"), "".join(code)))
            assert found.label == first.label
            np.testing.assert_allclose(found.hottest_mm, first.hottest_mm, atol=1e-6)
            heat = orient(found.scan.with_array(torch.from_numpy(found.heat)[None]), "RAS")
            np.testing.assert_allclose(heat.array[0], first.heat, atol=1e-4)
            curve = found.curve if "R" in code else found.curve[::-1]
            np.testing.assert_allclose(curve, first.curve, atol=1e-5)
            assert code[found.depth_axis] in "RL"


def test_it_says_where_what_and_what_for(trained):
    told = json.loads(json.dumps(predict_scan(trained[0], bar("width")).to_dict()))
    assert told["use"] == NOTE == "research use only"
    assert told["orientation"] == "RAS"
    assert len(told["hottest_mm"]) == 3
    assert len(told["curve"]) == 8


def test_a_saved_network_says_the_same(trained):
    again = load(trained[1] / "weights.safetensors")
    assert again.card.preprocessing == trained[0].card.preprocessing
    one, two = (predict_scan(net, bar("depth")) for net in (trained[0], again))
    np.testing.assert_allclose(one.probs, two.probs, atol=1e-5)


def test_masks_are_learned_and_found_in_the_files_own_grid(segmenter, blobs):
    found = evaluate_volumes(segmenter, read_scans(blobs).split("test"))
    assert found.scores.to_dict()["mean_dice"] > 0.8


def test_a_mask_lies_on_its_scan_however_the_file_is_turned(segmenter, blobs, tmp_path):
    item = read_scans(blobs).split("test").items[0]
    scan, truth = read_scan(item.path), read_scan(item.mask)
    straight = predict_scan(segmenter, scan)
    for code in ("SAR", "RSA", "LPI", "ALS", "IPR"):
        turned = orient(scan, code)
        path = write_like(tmp_path / f"{code}.nii", turned.array[0], turned)
        found = predict_scan(segmenter, path)
        there = orient(truth, code).array[0].numpy()
        both = 2 * ((found.mask == 1) & (there == 1)).sum()
        assert both / ((found.mask == 1).sum() + (there == 1).sum()) > 0.75
        assert (found.mask == 1).sum() == (straight.mask == 1).sum()
        np.testing.assert_allclose(found.hottest_mm, straight.hottest_mm, atol=1e-3)
        back = read_scan(write_like(tmp_path / "mask.nii", found.mask, found.scan))
        np.testing.assert_allclose(back.affine, turned.affine, atol=1e-5)


def test_volumes_are_milliliters(segmenter, blobs):
    found = predict_scan(segmenter, read_scans(blobs).items[0].path)
    voxels = int((found.mask == 1).sum())
    assert found.to_dict()["volume_ml"]["1"] == pytest.approx(voxels * 2.0 / 1000, abs=1e-4)


def test_a_list_for_another_task_is_refused(trained, blobs, bars, segmenter):
    with pytest.raises(ManifestError, match="the list is for 'segment'"):
        evaluate_volumes(trained[0], read_scans(blobs))
    with pytest.raises(ManifestError, match="trained to 'segment'"):
        evaluate_volumes(segmenter, bars)


def test_a_network_of_videos_is_refused():
    with pytest.raises(WeightsError, match="does not say how to prepare a scan"):
        ready(create_model("p3d_nano"))


def test_a_scan_of_other_channels_is_refused(trained):
    two = scan_of(torch.zeros(2, 8, 8, 8), np.eye(4), source="two.nii", kind="nifti")
    with pytest.raises(Pseudo3dError, match=r"two\.nii: 2 channels"):
        predict_scan(trained[0], two)


def looking(fresh, **pre):
    """A network that sees a cut of 8 slices of 1 mm, of whatever it is given."""
    goal = Goal(task="classify", classes=("healthy", "ill"))
    given = {"size": (8, 8, 8), "layout": "SAR", "spacing": (1.0, 1.0, 1.0), **pre}
    net = fresh(num_classes=2, in_channels=1).eval()
    return Ready(net=net, pre=ScanPreprocessing(**given), goal=goal)


def tall(slices, step=1.0):
    """A scan of so many slices, all different."""
    values = torch.randn(1, slices, 8, 8, generator=torch.Generator().manual_seed(slices))
    affine = np.diag([1.0, 1.0, step, 1.0])[:, [2, 1, 0, 3]]
    return scan_of(values, affine, source="tall.nii", kind="nifti")


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), None])
def test_the_curve_lies_on_the_slices_that_were_looked_at(fresh, spacing):
    run, scan = looking(fresh, spacing=spacing), tall(20)
    whole = predict_scan(run, scan)
    alone = predict_scan(run, scan.with_array(scan.array[:, 6:14]))
    np.testing.assert_allclose(whole.probs, alone.probs, atol=1e-6)
    np.testing.assert_allclose(whole.curve[6:14], alone.curve, atol=1e-6)
    assert np.isnan(whole.curve[:6]).all()
    assert np.isnan(whole.curve[14:]).all()
    hottest = whole.heat.max((1, 2))
    assert 6 <= hottest.argmax() < 14


def test_a_scan_smaller_than_the_cut_has_the_middle_of_the_curve(fresh):
    run, scan = looking(fresh), tall(4)
    padded = scan.with_array(middle(scan.array, (8, 8, 8)))
    found = predict_scan(run, scan).curve
    np.testing.assert_allclose(found, predict_scan(run, padded).curve[2:6], atol=1e-6)


@pytest.mark.parametrize("step", [0.5, 2.0, 12.0])
def test_the_curve_goes_with_the_map_to_other_spacings(fresh, step):
    run, scan = looking(fresh), tall(20, step)
    found = predict_scan(run, scan)
    known = np.flatnonzero(~np.isnan(found.curve[:, 0]))
    middle_mm = (19 / 2) * step
    wanted = [i for i in range(20) if abs(i * step - middle_mm) <= 4]
    assert known.tolist() == (wanted or [9, 10])  # a cut thinner than a slice is still somewhere
    assert found.curve[known].sum(1) == pytest.approx(1, abs=1e-5)
    turned = predict_scan(run, orient(scan, "IAR"))
    np.testing.assert_allclose(turned.curve, found.curve[::-1], atol=1e-6)


def test_slices_that_were_not_looked_at_are_null_and_gaps(fresh, tmp_path):
    found = predict_scan(looking(fresh), tall(20))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row[0] is None for row in told["curve"]] == [True] * 6 + [False] * 8 + [True] * 6
    write_outputs(found, tmp_path, "a")
    rows = (tmp_path / "a_slices.csv").read_text().splitlines()[1:]
    assert [row.endswith(",") for row in rows] == [True] * 6 + [False] * 8 + [True] * 6
    assert '"values": [null' in (tmp_path / "a.html").read_text("utf-8")


def test_volumes_of_a_tilted_scan_are_those_of_its_voxels(segmenter, blobs):
    scan = read_scan(read_scans(blobs).items[0].path)
    affine = scan.affine.copy()
    affine[1, 0] += affine[2, 0] * np.tan(np.radians(20))  # as a tilted gantry shears the stack
    plain, tilted = predict_scan(segmenter, scan), scan.with_array(scan.array, affine)
    found = predict_scan(segmenter, tilted)
    voxels = int((found.mask == 1).sum())
    assert voxels > 0
    assert found.to_dict()["volume_ml"]["1"] == pytest.approx(voxels * 2.0 / 1000, abs=1e-4)
    assert plain.to_dict()["volume_ml"]["1"] > 0


def test_a_tilted_scan_is_scored_in_its_own_volumes_with_a_warning(segmenter, blobs, tmp_path):
    item = read_scans(blobs).split("test").items[0]
    paths = {}
    for name, path in (("scan", item.path), ("mask", item.mask)):
        scan = read_scan(path)
        affine = scan.affine.copy()
        affine[1, 0] += affine[2, 0] * np.tan(np.radians(20))
        sheared = scan.with_array(scan.array, affine)
        paths[name] = write_like(
            tmp_path / f"{name}.nii", scan.array[0], replace(sheared, source=tmp_path / "new")
        )
    (tmp_path / "list.csv").write_text("path,mask\nscan.nii,mask.nii\n")
    found = evaluate_volumes(segmenter, read_scans(tmp_path / "list.csv", ("background", "1")))
    voxels = int(read_scan(paths["mask"]).array.sum())
    assert found.scores.rows[0].true_ml == pytest.approx(voxels * 2.0 / 1000, rel=1e-4)
    assert "not at right angles" in found.scores.describe()


def test_values_unlike_those_of_training_are_pointed_out(trained):
    scan = bar("depth")
    assert predict_scan(trained[0], scan).notes == ()
    bright = predict_scan(trained[0], scan.with_array(scan.array + 2000))
    assert "deviations from those of training" in bright.notes[0]
    assert bright.to_dict()["notes"] == list(bright.notes)


@pytest.mark.parametrize(("times", "told"), [(12, "vary 12 times"), (0.01, "vary 0.01 times")])
def test_values_that_spread_unlike_those_of_training_are_pointed_out(trained, times, told):
    run = ready(trained[0])
    noise = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    values = run.pre.mean[0] + noise / noise.std() * run.pre.std[0] * times
    (said,) = doubts(run, replace(bar("depth"), array=values))
    assert told in said


def test_what_shows_nothing_is_said_to_mean_nothing(trained):
    flat = replace(bar("depth"), array=torch.full((1, 8, 8, 8), 20, dtype=torch.int16))
    said = "the network sees one value everywhere; the answer means nothing"
    assert said in predict_scan(trained[0], flat).notes
    assert said not in predict_scan(trained[0], bar("depth")).notes
    beside = torch.full((1, 16, 8, 8), 20, dtype=torch.int16)
    beside[:, 0] = 90  # outside of what the network looks at
    assert said in predict_scan(trained[0], replace(flat, array=beside)).notes


def test_values_that_are_no_numbers_are_never_like_those_of_training(trained):
    holed = replace(bar("depth"), array=torch.full((1, 8, 8, 8), torch.nan))
    (told,) = doubts(ready(trained[0]), holed)
    assert "deviations from those of training" in told


def test_voxels_that_are_not_finite_are_said_with_the_answer(trained):
    values = bar("depth").array.float()
    values[0, 0, 0, 0] = torch.nan
    run = ready(trained[0])
    run = replace(run, pre=replace(run.pre, window="mri"))
    found = predict_scan(run, replace(bar("depth"), array=values))
    assert "1 of 512 voxels (0.002 of all) are not finite" in found.notes[0]
    assert np.isfinite(found.probs).all()


def test_a_number_in_a_small_unit_keeps_its_digits(fresh):
    goal = Goal(task="regress", classes=("value",), mean=1.234567e-7, std=1e-9)
    pre = ScanPreprocessing(size=(8, 8, 8), mean=(20.0,), std=(40.0,))
    found = predict_scan(Ready(net=fresh(num_classes=1).eval(), pre=pre, goal=goal), bar("depth"))
    told = found.to_dict()
    assert told["probs"]["value"] == pytest.approx(found.probs[0], rel=1e-6)
    np.testing.assert_allclose(told["curve"], found.curve, rtol=1e-6)


@pytest.mark.parametrize("name", ["net.onnx", "net.xml"])
def test_an_exported_network_is_named_as_such(tmp_path, name):
    with pytest.raises(WeightsError, match="is an exported network; scans take the checkpoint"):
        ready(tmp_path / name)
