"""`p3d inspect` says what a scan holds, and lists what there is to choose from."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from data.scans.dicoms import image, save, series
from pseudo3d.cli.scans import inspect as command
from pseudo3d.data.scans.scan import ScanError


@pytest.fixture
def inspect():
    app = typer.Typer()
    command.add_to(app)

    def run(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def rows(done):
    assert done.exception is None, done.exception
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return {line[0]: line[1:] for line in lines}


def test_a_nifti_is_described(inspect, shared_data):
    found = rows(inspect(shared_data / "volumes/formats/FLAIR.nii.gz"))
    assert found["kind"] == ["nifti"]
    assert found["size"] == ["140 x 160 x 124 voxels (depth x height x width)"]
    assert found["spacing"] == ["1 x 1 x 1 mm"]
    assert found["orientation"] == ["SAR: depth leads up, height to the front, width to the right"]
    assert found["depth"][0].startswith("axis 0 (head-foot): spacing is 1 mm along every axis")
    assert found["type"] == ["uint8"]
    assert "percentiles" in found["window"][0]


def test_json_says_the_same_and_names_no_patient(inspect, tmp_path):
    done = inspect(series(tmp_path), "--json", "--window", "lung")
    found = json.loads(done.stdout)
    assert found["kind"] == "dicom"
    assert found["series"][0]["images"] == 6
    assert found["scan"]["size"] == [6, 6, 5]
    assert found["scan"]["spacing_mm"] == [2.5, 0.75, 0.5]
    assert found["scan"]["affine"][3] == [0, 0, 0, 1]
    assert found["scan"]["units"] == "HU"
    assert found["scan"]["values"]["min"] == -1024
    assert found["scan"]["window"] == "lung window: -1350 to 150 HU become 0 to 1"
    assert "Nobody" not in done.stdout


def test_several_series_are_listed_and_one_is_shown(inspect, tmp_path):
    series(tmp_path / "a")
    save(tmp_path / "b", [image(n, uid="1.2.3.777777", SeriesNumber=9) for n in (0, 1, 3)])
    done = inspect(tmp_path)
    lines = done.stdout.splitlines()
    assert lines[1].startswith("series\tdescription\tmodality\timages")
    assert lines[2].split("\t") == [
        "3", "thorax", "CT", "6", "1", "2.5 x 0.75 x 0.5", "SPL", "1.2.3.4"]  # fmt: skip
    assert lines[3].split("\t")[:7] == ["9", "thorax", "CT", "3", "1", "refused", "-"]
    assert len(lines) == 4
    assert "choose one with --series" in done.stderr
    assert "missing slice" in done.stderr
    assert rows(inspect(tmp_path, "--series", 3))["spacing"] == ["2.5 x 0.75 x 0.5 mm"]


def test_a_refused_series_is_listed_and_fails(inspect, tmp_path):
    save(tmp_path, [image(n) for n in (0, 1, 3)])
    done = inspect(tmp_path)
    assert isinstance(done.exception, ScanError)
    assert "refused" in done.stdout
    done = inspect(tmp_path, "--allow-nonuniform")
    assert "interpolated" in rows(done)["note"][0]


def test_arrays_of_an_npz_are_listed(inspect, tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, train_images=np.zeros((5, 2, 3, 4), np.uint8), test_images=np.ones((2, 2, 3, 4)))
    done = inspect(path)
    assert "array\ttrain_images\t5 x 2 x 3 x 4\tuint8" in done.stdout
    assert "choose one" in done.stderr
    found = rows(inspect(path, "--series", "test", "--index", 1))
    assert found["size"] == ["2 x 3 x 4 voxels (depth x height x width)"]
    assert "assumptions" in found["note"][0]


def test_values_that_are_no_numbers_are_counted(inspect, tmp_path):
    values = np.zeros((2, 3, 4))
    values[0, 0, :2] = np.nan, np.inf
    np.save(tmp_path / "f.npy", values)
    assert rows(inspect(tmp_path / "f.npy"))["not finite"] == ["2 voxels"]


def test_an_unknown_window_is_told(inspect, tmp_path):
    done = inspect(series(tmp_path), "--window", "lungs")
    assert "Did you mean lung" in str(done.exception)
