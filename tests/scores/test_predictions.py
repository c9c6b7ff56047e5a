"""The file of predictions: back as it was, and refused where it would mislead."""

from dataclasses import replace

import numpy as np
import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.predictions import Predictions, check_same, read_predictions


def made():
    rng = np.random.default_rng(0)
    return Predictions(
        classes=("healthy", "ill, maybe"),
        scans=("a.nii.gz", "b.nii.gz", "c.nii.gz"),
        units=("p1", "p1", "p2"),
        labels=np.array([0, 1, 0]),
        seeds=(3, 4),
        probs=rng.dirichlet(np.ones(2), (2, 3)).astype(np.float32).astype(np.float64),
    )


def test_what_is_written_is_read_back(tmp_path):
    first = made()
    path = tmp_path / "p.csv"
    path.write_text(first.to_csv(), encoding="utf-8")
    again = read_predictions(path)
    assert (again.classes, again.scans, again.units) == (first.classes, first.scans, first.units)
    assert again.seeds == (3, 4)
    assert (again.labels == first.labels).all()
    assert (again.probs.astype(np.float32) == first.probs.astype(np.float32)).all()
    check_same(first, again)


def test_the_order_of_rows_does_not_matter_and_units_may_be_missing(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("label,scan,prob:x,prob:y\nx,b,0.9,0.1\ny,a,0.2,0.8\n")
    found = read_predictions(path)
    assert found.scans == found.units == ("a", "b")
    assert found.labels.tolist() == [1, 0]
    assert found.seeds == (0,)


HEAD = "scan,unit,label,seed,prob:x,prob:y\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "columns"),
        ("scan,label\na,x\n", "columns"),
        (HEAD + "a,,z,0,0.5,0.5\n", "line 2: label 'z'"),
        (HEAD + "a,,x,0,0.5,high\n", "line 2"),
        (HEAD + "a,,x,one,0.5,0.5\n", "line 2"),
        (HEAD + "a,,x,0,0.5,0.5\na,,x,0,0.5,0.5\n", "twice"),
        (HEAD + "a,,x,0,0.5,0.5\nb,,x,1,0.5,0.5\n", "seed 1 has other scans"),
    ],
)
def test_a_file_that_would_mislead_is_refused(tmp_path, text, why):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(Pseudo3dError, match=why):
        read_predictions(path)
    with pytest.raises(Pseudo3dError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "other",
    [
        {"classes": ("healthy", "ill")},
        {"scans": ("a.nii.gz", "b.nii.gz", "d.nii.gz")},
        {"labels": np.array([0, 0, 0])},
        {"units": ("p1", "p2", "p2")},
    ],
)
def test_networks_scored_on_other_scans_are_not_compared(other):
    with pytest.raises(Pseudo3dError, match=f"different {next(iter(other))}"):
        check_same(made(), replace(made(), **other))
