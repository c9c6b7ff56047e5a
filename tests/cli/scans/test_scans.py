"""Scans from the command line: trained, scored, looked at; every option does something."""

import json

import numpy as np
import pytest
import torch
from typer import BadParameter

from pseudo3d.cli.common import chosen, memory_bytes, start_from
from pseudo3d.cli.main import app
from pseudo3d.cli.scans.among import holds_scans, is_scan, scans_among
from pseudo3d.cli.scans.evaluate import ScanScoring, evaluate_scans
from pseudo3d.cli.scans.predict import predict_scans
from pseudo3d.cli.scans.train import ScanTraining, divide, recipe_for, train_scans
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.scan import ScanError, scan_of
from pseudo3d.data.scans.write import write_like
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.models import create_model
from pseudo3d.runtime.export import export
from pseudo3d.scores.predictions import read_all
from pseudo3d.weights import load
from recycle import foreign_nets as nets

pytest.importorskip("nibabel", reason="reading NIfTI needs the extra `scans`")
QUICK = {"epochs": 2, "batch": 4, "precision": "fp32"}
SMALL = {"widths": (4, 8, 8), "stem_width": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Twelve NIfTI scans of two classes, each of its own person; label and mask lists beside."""
    home = tmp_path_factory.mktemp("scans")
    classes, masks = ["path,label,group"], ["path,mask,group"]
    for i in range(12):
        rng = torch.Generator().manual_seed(i)
        mask = torch.zeros(6, 10, 10, dtype=torch.uint8)
        mask[2:4, 3:6, 3 + i % 4 : 6 + i % 4] = 1
        values = torch.randn(6, 10, 10, generator=rng) * 5 + 60 * mask * (1 + i % 2)
        scan = scan_of(values[None], np.diag([3.0, 1, 1, 1]), source="x.nii", kind="nifti")
        write_like(home / f"{i}.nii.gz", values, scan)
        write_like(home / f"{i}_mask.nii.gz", mask, scan)
        classes.append(f"{i}.nii.gz,{'ill' if i % 2 else 'well'},p{i}")
        masks.append(f"{i}.nii.gz,{i}_mask.nii.gz,p{i}")
    (home / "classes.csv").write_text("\n".join(classes) + "\n")
    (home / "masks.csv").write_text("\n".join(masks) + "\n")
    return home


@pytest.fixture(scope="module")
def weights(home, tmp_path_factory):
    """A classifier."""
    out = tmp_path_factory.mktemp("runs") / "classify"
    how = ScanTraining(data=home / "classes.csv", out=out, changes=dict(QUICK), net=SMALL)
    return train_scans(how)


@pytest.fixture(scope="module")
def masker(home, tmp_path_factory):
    """A segmenter."""
    out = tmp_path_factory.mktemp("runs") / "segment"
    net = {"widths": (4, 8), "depths": (1, 1), "strides": ((1, 2, 2),)}
    how = ScanTraining(data=home / "masks.csv", out=out, changes=dict(QUICK), net=net)
    return train_scans(how)


def test_what_was_planned_and_held_out_is_said(home, tmp_path, capsys):
    how = ScanTraining(
        data=home / "classes.csv",
        out=tmp_path / "run",
        changes=dict(QUICK),
        net=SMALL,
        report=False,
    )
    path = train_scans(how)
    assert not (tmp_path / "run" / "report.html").exists()
    said = capsys.readouterr()
    assert said.out.strip() == str(path)
    assert "depth is axis 0" in said.err
    assert "no splits in the data: 2 of 12 scans held out" in said.err
    assert "training p3d_volume on 10 scans, to classify" in said.err


def test_a_training_ends_with_a_page_of_its_scores(weights, masker):
    run = weights.parent
    page = (run / "report.html").read_text()
    for text in (
        "p3d_volume: 2 classes", "2 test, 10 train", "8x12x12 voxels of 3 x 1 x 1 mm",
        "floor: majority class", "Protocol: split test, 2 scans", "order of slices?",
        "--out seen", "Research use only",
    ):  # fmt: skip
        assert text in page
    assert {p.name for p in run.glob("*.png")} == {"curves.png", "confusion.png", "timecheck.png"}
    page = (masker.parent / "report.html").read_text()
    assert "Dice of 1" in page
    assert "median HD95, mm" in page
    assert "order of slices?" not in page
    (run / "report.html").unlink()
    app(["report", str(run)], standalone_mode=False)
    assert "floor: majority class" in (run / "report.html").read_text()


def test_options_reach_the_recipe(home):
    changes = {"lr": 0.5, "input.window": "unit", "augment.rotate": 3}
    how = ScanTraining(data=home, out=home, size=12, recipe="sides", changes=changes)
    recipe = recipe_for(read_scans(home / "classes.csv"), how)
    assert (recipe.lr, recipe.input["window"], recipe.augment.rotate) == (0.5, "unit", 3)
    assert recipe.input["size"] == (12, 12, 12)
    assert not recipe.augment.flip
    wrong = ScanTraining(data=home, out=home, changes={"augment.rotat": 3})
    with pytest.raises(TypeError):
        recipe_for(read_scans(home / "classes.csv"), wrong)


def test_scores_stand_beside_the_floors(weights, home, capsys):
    evaluate_scans(weights, weights.parent / "manifest.csv")
    said = capsys.readouterr().out
    assert "auc\t" in said
    assert "floor: majority class" in said
    assert "protocol\tsplit test, 2 scans" in said


def test_scores_as_json_and_by_group(weights, home, capsys):
    how = ScanScoring(group=("p0", "p1"))
    evaluate_scans(weights, home / "classes.csv", how, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "classify"
    assert told["scans"] == 2


def test_predictions_of_every_scan_are_kept_for_a_comparison(weights, masker, home, tmp_path):
    file = tmp_path / "said.csv"
    how = ScanScoring(split="all", predictions=file)
    found = evaluate_scans(weights, home / "classes.csv", how)
    kept = read_all(file)
    assert kept.classes == ("ill", "well")
    assert kept.seeds == (0,)
    order = np.argsort([item.name for item in found.items])
    np.testing.assert_allclose(kept.probs[0], found.answers.numpy()[order], rtol=1e-6)
    assert sorted(kept.units) == sorted(f"p{i}" for i in range(12))
    with pytest.raises(Pseudo3dError, match="was trained to segment"):
        evaluate_scans(masker, home / "masks.csv", how)


def test_masks_are_scored_by_label(masker, capsys):
    evaluate_scans(masker, masker.parent / "manifest.csv")
    said = capsys.readouterr().out
    assert "dice 1\t" in said
    assert "hd95_mm 1\t" in said


def test_a_scan_gets_an_answer_and_files_to_judge_it_by(weights, home, tmp_path, capsys):
    failed = predict_scans(weights, [home / "1.nii.gz"], out=tmp_path)
    said = capsys.readouterr()
    assert failed == {}
    assert "mm RAS+" in said.out
    assert {p.name for p in tmp_path.iterdir()} == {
        "1_heat.nii.gz", "1_planes.png", "1_slices.csv", "1_slices.png", "1.html", "1.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "1.json").read_text())["use"] == "research use only"
    page = (tmp_path / "1.html").read_text()
    assert "research use only" in page.lower()
    assert all(f'["{name}", 0.' in page for name in ("ill", "well"))  # bars of both classes


def test_a_mask_is_written_in_the_files_own_grid(masker, home, tmp_path):
    predict_scans(masker, [home / "2.nii.gz"], out=tmp_path, memory="2GB", overlap=0.25)
    import nibabel

    mask, scan = (nibabel.load(p) for p in (tmp_path / "2_mask.nii.gz", home / "2.nii.gz"))
    assert mask.shape == scan.shape
    np.testing.assert_array_equal(mask.affine, scan.affine)


def test_a_mask_drawn_by_hand_is_not_replaced(masker, home, tmp_path):
    import nibabel

    predict_scans(masker, [home / "2.nii.gz"], out=tmp_path)
    predict_scans(masker, [home / "2.nii.gz"], out=tmp_path)  # its own files may be
    ours = nibabel.load(tmp_path / "2_mask.nii.gz")
    nibabel.save(nibabel.Nifti1Image(ours.get_fdata(), ours.affine), tmp_path / "2_mask.nii.gz")
    before = (tmp_path / "2_mask.nii.gz").read_bytes()
    with pytest.raises(ScanError, match=r"2_mask\.nii\.gz was not written by p3d"):
        predict_scans(masker, [home / "2.nii.gz"], out=tmp_path)
    assert (tmp_path / "2_mask.nii.gz").read_bytes() == before


def test_a_broken_file_does_not_stop_the_others(weights, home, tmp_path, capsys):
    (tmp_path / "broken.nii").write_bytes(b"no scan at all")
    failed = predict_scans(weights, [tmp_path / "broken.nii", home / "0.nii.gz"], json=True)
    told = json.loads(capsys.readouterr().out)
    assert list(failed) == [tmp_path / "broken.nii"]
    assert [("error" in row) for row in told] == [True, False]  # as they were given


def test_scans_are_told_from_videos(home, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"x" * 500)
    assert holds_scans(home / "classes.csv")
    assert is_scan(home / "0.nii.gz")
    assert not is_scan(tmp_path / "film.mp4")
    assert not is_scan(tmp_path / "gone.nii")


@pytest.mark.parametrize(
    ("text", "count"), [("2GB", 2 << 30), ("500M", 500 << 20), ("1.5GiB", 3 << 29), ("4096", 4096)]
)
def test_memory_is_read_as_people_write_it(text, count):
    assert memory_bytes(text) == count


@pytest.mark.parametrize("text", ["much", "-1GB", "0", "2XB", ""])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(Pseudo3dError, match="wanted an amount such as 2GB"):
        memory_bytes(text)


def test_scans_of_one_name_do_not_overwrite_each_other(weights, home, tmp_path):
    paths = [tmp_path / name for name in ("p0/ct.nii.gz", "p1/ct.nii.gz", "p1/ct.nii")]
    scan = scan_of(torch.randn(1, 6, 10, 10), np.eye(4), source="x", kind="nifti")
    for path in paths:  # whose folders are made
        write_like(path, scan.array[0], scan)
    predict_scans(weights, paths, out=tmp_path / "out")
    told = {p.stem: json.loads(p.read_text())["source"] for p in (tmp_path / "out").glob("*.json")}
    assert told == dict(zip(["p0_ct", "p1_ct", "p1_ct_2"], map(str, paths), strict=True))


def test_options_without_use_for_the_task_are_not_ignored(masker, weights, home, capsys):
    with pytest.raises(Pseudo3dError, match="--mirrors is for classes and numbers"):
        evaluate_scans(masker, home / "masks.csv", ScanScoring(mirrors=True))
    predict_scans(weights, [home / "0.nii.gz"], memory="2GB")
    assert "--memory bounds masks; the network was trained to classify" in capsys.readouterr().err


def test_folders_of_scans_are_opened_and_videos_among_them_are_not_ours(home, tmp_path):
    assert len(scans_among([home])) == 12  # the masks say that p3d wrote them
    (tmp_path / "film.mp4").write_bytes(b"x" * 500)
    assert scans_among([home / "0.nii.gz", tmp_path / "film.mp4"]) == []


def test_the_order_of_slices_is_checked(weights, home, tmp_path, capsys):
    words = ["timecheck", str(weights), str(home / "classes.csv"), "--split", "all"]
    app([*words, "--shuffles", "1", "--out", str(tmp_path / "t.png")], standalone_mode=False)
    said = capsys.readouterr()
    assert "condition\tscan_hit@1" in said.out
    assert "2x speed" not in said.out
    assert "12 scans, slices across the depth axis, 1 shuffles" in said.out
    assert (tmp_path / "t.png").exists()


def test_features_of_scans_and_of_a_scan_alone(weights, home, tmp_path, capsys):
    for data, count, labels in (
        (home / "classes.csv", 12, {"ill", "well"}),
        (home / "3.nii.gz", 1, {None}),
        (home, 12, {None}),
    ):
        out = tmp_path / f"{data.name}.npz"
        app(["features", str(weights), str(data), "--out", str(out)], standalone_mode=False)
        assert f"scans\t{count}" in capsys.readouterr().out
        found = FeatureSet.load(out)
        assert len(found) == count
        assert set(found.labels) == labels


def test_options_of_scans_are_refused_with_videos(weights, tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.mp4,x\n")
    words = ["evaluate", str(weights), str(tmp_path / "list.csv")]
    with pytest.raises(BadParameter, match="--predictions is for scans"):
        app([*words, "--predictions", "said.csv"], standalone_mode=False)


def test_a_two_dimensional_network_starts_one_for_scans_of_one_channel(home, tmp_path, capsys):
    torch.manual_seed(0)
    torch.save(dict(nets.resnet_state(widths=(4, 8, 8, 8))), tmp_path / "flat.pth")
    small = {"widths": (4, 8, 8, 8), "stem_width": nets.STEM}
    how = ScanTraining(
        data=home / "classes.csv",
        out=tmp_path / "run",
        model="p3d18",
        weights=tmp_path / "flat.pth",
        changes={**QUICK, "epochs": 1},
        net=small,
        report=False,
    )
    net = load(train_scans(how))
    told = capsys.readouterr().err
    assert "equal to the 2-D network on single frames" in told
    assert "3 to 1" in told or "channels" in told
    assert net.cfg.in_channels == 1
    assert net.card.classes == ("ill", "well")


def test_medicalnets_network_is_taken_over_with_its_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(nets, "STEM", 64)
    monkeypatch.setattr(nets, "WIDTHS", (64, 128, 256, 512))
    torch.manual_seed(0)
    state = nets.hara_state(shortcut="A")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "med.pth")
    name, options = chosen(None, tmp_path / "med.pth")
    assert (name, options["shortcut"], options["dilations"]) == ("r3d18", "A", (1, 1, 2, 4))
    assert chosen("p3d_volume", tmp_path / "med.pth") == ("p3d_volume", {})
    net = create_model(name, **{**options, "num_classes": 2, "in_channels": 1})
    start_from(net, tmp_path / "med.pth", ("ill", "well"))
    assert torch.equal(net.stem.conv.weight, state["conv1.weight"])


def test_a_network_for_scans_is_exported_at_the_size_it_was_trained_on(weights, tmp_path):
    pytest.importorskip("onnxruntime", reason="the file is run: extra `export`")
    found = export(weights, tmp_path / "scan.onnx", "onnx")
    net = load(weights)
    assert found.spec.clip == (1, *net.card.preprocessing.size)
    assert found.parity < 1e-5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("2.json", b'{"Modality": "MR"}'),  # of BIDS
        ("2.json", b"\xff\xfe no JSON"),
        ("2.html", b"<p>made by hand</p>"),
        ("2_planes.png", b"a figure"),
        ("2_slices.csv", b"a,table"),
    ],
)
def test_what_somebody_else_wrote_is_not_replaced(weights, home, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Pseudo3dError, match=f"{name} was not written by p3d, as far as 2.json"):
        predict_scans(weights, [home / "1.nii.gz", home / "2.nii.gz"], out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]  # before anything is computed
    assert (tmp_path / name).read_bytes() == content


def test_a_result_is_replaced_by_a_newer_one_even_of_a_run_that_was_cut_off(
    weights, home, tmp_path, monkeypatch
):
    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr("pseudo3d.report.viewer.write_viewer", stop)
        with pytest.raises(KeyboardInterrupt):
            predict_scans(weights, [home / "2.nii.gz"], out=tmp_path)
    assert (tmp_path / "2_heat.nii.gz").exists()
    for _ in range(2):
        assert predict_scans(weights, [home / "2.nii.gz"], out=tmp_path) == {}


def test_results_beside_the_scans_are_not_taken_for_patients(masker, home, tmp_path, capsys):
    (tmp_path / "2.nii.gz").write_bytes((home / "2.nii.gz").read_bytes())
    predict_scans(masker, scans_among([tmp_path]), out=tmp_path)
    import nibabel

    theirs = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    nibabel.save(theirs, tmp_path / "3_mask.nii.gz")
    (tmp_path / "4_heat.nii.gz").write_bytes(b"damaged")
    capsys.readouterr()
    names = [path.name for path in scans_among([tmp_path])]
    assert names == ["2.nii.gz", "3_mask.nii.gz", "4_heat.nii.gz"]
    told = capsys.readouterr().err
    assert "2_heat.nii.gz" in told
    assert "2_mask.nii.gz" in told


def test_a_folder_of_nothing_but_results_is_named_as_such(masker, home, tmp_path):
    results = tmp_path / "results"
    predict_scans(masker, [home / "2.nii.gz"], out=results)
    said = r"results holds no scans, only results of p3d \(2: 2_heat.nii.gz, 2_mask.nii.gz\); give"
    with pytest.raises(Pseudo3dError, match=said):
        app(["predict", str(masker), str(results), "--out", str(tmp_path / "x")],
            standalone_mode=False)  # fmt: skip
    assert scans_among([results, home / "2.nii.gz"]) == [home / "2.nii.gz"]
    (results / "deeper").mkdir()  # folders may be classes
    assert scans_among([results]) == []
    (results / "deeper").rmdir()
    (results / "film.mp4").write_bytes(b"")  # the folder may be one of videos
    assert scans_among([results]) == []
    (results / "film.mp4").unlink()
    (results / "2.nii.gz").write_bytes((home / "2.nii.gz").read_bytes())
    assert scans_among([results]) == [results / "2.nii.gz"]


def test_scans_without_a_split_beside_others_are_named(home, capsys):
    rows = ["path,label,split", "0.nii.gz,well,train", "1.nii.gz,ill,train", "2.nii.gz,well,"]
    (home / "parts.csv").write_text("\n".join(rows) + "\n")
    how = ScanTraining(data=home / "parts.csv", out=home / "run")
    assert len(divide(read_scans(how.data), how).train.items) == 2
    told = capsys.readouterr().err
    assert "1 of 3 scans name no split and are left out: " in told
    assert "2.nii.gz" in told
    (home / "parts.csv").write_text("\n".join(rows[:3]) + "\n")
    divide(read_scans(how.data), how)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["net.onnx", "net.XML"])
def test_an_exported_network_is_named_as_such(home, tmp_path, name):
    (tmp_path / name).write_bytes(b"exported")
    with pytest.raises(WeightsError, match=f"{name} is an exported network; scans take the chec"):
        predict_scans(tmp_path / name, [home / "0.nii.gz"])
