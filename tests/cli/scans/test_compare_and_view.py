"""`p3d compare` and `p3d view`, as an app of their own: right answers, right refusals."""

import json

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d.cli.scans import compare, view
from pseudo3d.data.scans.scan import scan_of
from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.predictions import Predictions
from report.scans import oriented

app = typer.Typer()
compare.add_to(app)
view.add_to(app)


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)


def predictions(shift, seeds=(0, 1, 2), n=120):
    labels = np.arange(n) % 2
    p = [
        1 / (1 + np.exp(-(np.random.default_rng(s).normal(size=n) + shift * (labels - 0.5))))
        for s in seeds
    ]
    names = tuple(f"s{i:03d}" for i in range(n))
    return Predictions(
        classes=("healthy", "ill"),
        scans=names,
        units=names,
        labels=labels,
        seeds=tuple(seeds),
        probs=np.stack([1 - np.array(p), np.array(p)], axis=-1),
    )


@pytest.fixture
def files(tmp_path):
    (tmp_path / "p3d.csv").write_text(predictions(3.0).to_csv())
    (tmp_path / "flat.csv").write_text(predictions(0.5).to_csv())
    return tmp_path


@pytest.mark.parametrize("score", ["auc", "accuracy", "brier"])
def test_the_better_network_is_named(files, score):
    done = run("compare", files / "p3d.csv", files / "flat.csv", "--score", score)
    assert done.exit_code == 0
    assert "p3d is better than flat" in done.stdout
    assert "3 seeds" in done.stdout
    assert "paired bootstrap over 120 scans and 3 seeds" in done.stderr


def test_json_and_draws(files):
    words = ("compare", files / "flat.csv", files / "p3d.csv", "--json")
    found = json.loads(run(*words, "--draws", 300).stdout)
    assert found["score"] == "auc"
    assert found["difference"]["high"] < 0
    assert "300 draws" in found["difference"]["method"]
    other = json.loads(run(*words, "--draws", 300, "--seed", 1).stdout)
    assert other["difference"]["low"] != found["difference"]["low"]


def test_seeds_may_lie_in_files_of_their_own(files):
    for seed in range(3):
        (files / f"net_{seed}.csv").write_text(predictions(3.0, [seed]).to_csv())
    done = run("compare", files / "net_*.csv", files / "flat.csv", "--json")
    assert json.loads(done.stdout)["seeds"] == [3, 3]
    whole = json.loads(run("compare", files / "p3d.csv", files / "flat.csv", "--json").stdout)
    assert json.loads(done.stdout)["first"]["value"] == pytest.approx(whole["first"]["value"])
    with pytest.raises(Pseudo3dError, match="wanted each once"):
        run("compare", files / "[np]*.csv", files / "flat.csv")


def test_one_seed_is_a_caution_and_other_scans_are_refused(files):
    (files / "one.csv").write_text(predictions(3.0, [0]).to_csv())
    assert "caution: one" in run("compare", files / "one.csv", files / "flat.csv").stderr
    (files / "few.csv").write_text(predictions(3.0, n=100).to_csv())
    with pytest.raises(Pseudo3dError, match="different scans"):
        run("compare", files / "few.csv", files / "flat.csv")
    with pytest.raises(Pseudo3dError, match="no predictions"):
        run("compare", files / "none.csv", files / "flat.csv")


@pytest.fixture
def scans(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    scan, heat = oriented()
    affine = scan.affine[:, [2, 1, 0, 3]]
    for name, array in (
        ("scan", scan.array[0].numpy()),
        ("heat", heat),
        ("mask", (heat > 0.5).astype(np.uint8)),
    ):
        image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine)
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    shifted = affine.copy()
    shifted[0, 3] += 5
    image = nibabel.Nifti1Image(heat.transpose(2, 1, 0), shifted)
    nibabel.save(image, tmp_path / "elsewhere.nii.gz")
    return tmp_path


@pytest.mark.parametrize("over", [[], ["--heat", "heat"], ["--mask", "mask"]])
@pytest.mark.parametrize("suffix", ["html", "png"])
def test_a_scan_becomes_a_page_or_a_picture(scans, over, suffix):
    words = [w if w.startswith("--") else scans / f"{w}.nii.gz" for w in over]
    out = scans / f"out.{suffix}"
    done = run("view", scans / "scan.nii.gz", "--out", out, *words, "--window", "0,300")
    assert done.exit_code == 0
    assert done.stdout.strip() == str(out)
    assert "4 x 10 x 24 voxels of 4 x 2 x 1 mm" in done.stderr
    assert out.stat().st_size > 5000
    if suffix == "html":
        text = out.read_text("utf-8")
        assert '"window": [0.0, 300.0]' in text
        assert ('"curve": null' in text) == (not over)


def test_the_librarys_own_heat_and_masks_stored_as_floats_are_shown(scans):
    nibabel = pytest.importorskip("nibabel")
    stored = nibabel.load(scans / "heat.nii.gz")
    heat = np.asarray(stored.dataobj)
    for name, array in (("logits", heat - 0.5), ("floats", (heat > 0.5).astype(np.float32))):
        nibabel.save(nibabel.Nifti1Image(array, stored.affine), scans / f"{name}.nii.gz")
    words = ("view", scans / "scan.nii.gz", "--out", scans / "o.html")
    done = run(*words, "--heat", scans / "logits.nii.gz")
    assert done.exit_code == 0
    assert "the heat map goes down to -0.5: shown from 0 on" in done.stderr
    assert "shown from 0 on" in (scans / "o.html").read_text("utf-8")
    assert run(*words, "--mask", scans / "floats.nii.gz").exit_code == 0
    with pytest.raises(Pseudo3dError, match="wanted whole labels 0 to 255"):
        run(*words, "--mask", scans / "logits.nii.gz")


def test_what_lies_elsewhere_is_not_laid_over(scans):
    words = ("view", scans / "scan.nii.gz", "--out", scans / "o.html")
    with pytest.raises(Pseudo3dError, match="lies 5 mm away"):
        run(*words, "--heat", scans / "elsewhere.nii.gz")
    small = scan_of(torch.zeros(1, 2, 2, 2), np.eye(4), source="small", kind="nifti")
    with pytest.raises(Pseudo3dError, match="wanted the same grid"):
        view.overlay_of(scans / "heat.nii.gz", small)


@pytest.mark.parametrize(
    "words",
    [
        ("--out", "x.gif"),
        ("--out", "x.html", "--mask", "a", "--heat", "b"),
        ("--out", "x.html", "--window", "a,b"),
    ],
)
def test_misuse_is_told(scans, words):
    assert run("view", scans / "scan.nii.gz", *words).exit_code == 2
