"""Scans: an answer, a curve and a page; headers that name other files are refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.predict import predict_scan
from pseudo3d.engine.volumes.ready import ready
from pseudo3d.models import create_model
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.scans import look
from pseudo3d.serve.schema import Prediction
from pseudo3d.serve.settings import Settings
from pseudo3d.weights import save
from serve.serving import refused, serving

LONG = 70_000 * "x"


@pytest.fixture(scope="module")
def scan_weights(tmp_path_factory):
    torch.manual_seed(0)
    net = create_model("p3d_volume", widths=(4, 4, 8), stem_width=4, num_classes=2).eval()
    pre = ScanPreprocessing(size=(12, 16, 16), mean=(100.0,), std=(50.0,))
    path = tmp_path_factory.mktemp("net") / "scans.safetensors"
    save(net, path, classes=("well", "ill"), preprocessing=pre, training={"task": "classify"})
    return path


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "one.npz"
    rng = np.random.default_rng(0)
    np.savez(path, image=rng.integers(0, 200, (12, 16, 16)).astype(np.uint8))
    return path


def asked(path, **more):
    return {"path": str(path), "name": "mine" + path.suffix, "top": 5, **more}


def test_a_scan_gets_the_answer_of_predict_scan_a_curve_and_a_page(scan_weights, volume):
    run = ready(scan_weights)
    (message,) = look(volume, run, asked(volume), 2**30)
    found, expected = message.facts["answer"], predict_scan(run, volume)
    assert (found["kind"], found["source"]) == ("scan", "mine.npz")
    assert found["label"] == expected.label
    assert found["score"] == pytest.approx(float(expected.probs.max()), abs=1e-5)
    assert [e["label"] for e in found["top"]] in (["well", "ill"], ["ill", "well"])
    best = expected.classes.index(expected.label)
    assert found["curve"] == pytest.approx(expected.curve[:, best].tolist(), abs=1e-4)
    json.dumps(found)
    page = message.data.decode()
    assert page.startswith("<!doctype html>")
    assert "mine" in page
    assert str(volume.parent) not in page + json.dumps(found)
    assert list(volume.parent.iterdir()) == [volume]


def test_slices_that_the_network_did_not_look_at_have_no_value(scan_weights, tmp_path):
    """It looks at 12 of 20."""
    np.savez(tmp_path / "tall.npz", image=np.ones((20, 16, 16), np.uint8))
    (message,) = look(
        tmp_path / "tall.npz", ready(scan_weights), asked(tmp_path / "tall.npz"), 2**30
    )
    told = json.loads(json.dumps(message.facts["answer"], allow_nan=False))
    assert [v is None for v in told["curve"]] == [True] * 4 + [False] * 12 + [True] * 4
    assert Prediction.model_validate(told).curve == told["curve"]


def test_one_scan_of_a_file_with_several_is_chosen(scan_weights, tmp_path):
    path = tmp_path / "many.npz"
    np.savez(path, image=np.stack([np.full((12, 16, 16), v, np.uint8) for v in (0, 90)] * 20))
    run = ready(scan_weights)
    answers = [next(look(path, run, asked(path, index=i), 2**30)).facts["answer"] for i in (0, 1)]
    assert answers[0]["score"] != answers[1]["score"]
    with pytest.raises(ValueError, match="index"):
        next(look(path, run, asked(path), 2**30))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.mhd", "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementDataFile = {other}\n"),
        ("b.mha", "ObjectType = Image\nNDims = 3\nelementdatafile:{other}\n"),
        ("c.mha", "ObjectType = Image\nNDims = 3\nElementDataFile = LIST\n{other}\n"),
        (
            "d.mha",
            f"ObjectType = Image\nComment = {LONG}\nElementDataFile = {{other}}\n",
        ),
        ("e.nhdr", "NRRD0004\ntype: uint8\ndimension: 3\ndata file: {other}\n\n"),
        ("f.nrrd", "NRRD0004\r\ntype: uint8\r\ndatafile: {other}\r\n\r\n"),
        ("g.nrrd", f"NRRD0004\n#{LONG}\ndata file: {{other}}\n\n"),
    ],
)
def test_a_header_that_names_another_file_is_refused(scan_weights, tmp_path, name, head):
    other = tmp_path / "private.raw"
    other.write_bytes(bytes(64))
    path = tmp_path / name
    path.write_bytes(head.format(other=other).encode())
    with pytest.raises(Problem, match="another file"):
        next(look(path, ready(scan_weights), asked(path), 2**30))


def test_scans_in_one_file_are_read(scan_weights, tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK of the extra `scans` is absent")
    image = sitk.GetImageFromArray(np.full((12, 16, 16), 90, np.uint8))
    for name in ("a.mha", "b.nrrd", "c.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
        (message,) = look(tmp_path / name, ready(scan_weights), asked(tmp_path / name), 2**30)
        assert message.facts["answer"]["label"] in ("well", "ill")


def test_a_vast_scan_is_refused_before_it_is_read(scan_weights, tmp_path):
    path = tmp_path / "vast.npy"
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1, 1), np.uint8))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (2000, 2000, 2000)})
        file.truncate(8_000_001_000)  # holes: nothing is written
    with pytest.raises(Problem, match="8000000000 voxels"):
        next(look(path, ready(scan_weights), asked(path), 2**30))


def test_the_service_answers_scans_and_refuses_videos(scan_weights, volume, films):
    with serving(Settings(weights=scan_weights, port=0, decoders=1)) as running:
        card = running.client.get("/model").json()
        assert (card["input"], card["frames"], card["size"]) == ("scan", None, [12, 16, 16])
        answer = running.post(volume, explain=True, segments=True)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["viewer"].startswith("<!doctype html>")
        assert len(found["curve"]) == 12
        assert not re.search(r"p3d-serve", answer.text)
        refused(running.post(films[0]), 422, "unreadable", "no scan")
        refused(running.post(volume, "/features"), 400, "bad_request", "/predict")
        refused(running.post(volume, "/segments"), 400, "bad_request", "/predict")
        broken = Path(volume.parent) / "broken.nii.gz"
        broken.write_bytes(b"\x1f\x8b" + bytes(50))
        assert running.post(broken).status_code == 422
        assert running.empty()
